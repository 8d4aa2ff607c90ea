"""`/behaviour` and `/counts`: tells the sink how to misbehave, and what it did so far.

The list of requests is in `web`, what a rule looks like in `rules`.
"""

from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from postroad_sink.behaviour import ActiveRule, TooManyRulesError
from postroad_sink.rules import BehaviourRule
from postroad_sink.server import Sink

_MOST_BODY = 1024 * 1024  # bytes
_RULES: TypeAdapter[list[BehaviourRule]] = TypeAdapter(list[BehaviourRule])
_RULE: TypeAdapter[BehaviourRule] = TypeAdapter(BehaviourRule)


def routes() -> list[Route]:
    """Return the routes that are answered here."""
    return [
        Route("/behaviour", _show, methods=["GET"]),
        Route("/behaviour", _add, methods=["POST"]),
        Route("/behaviour", _replace, methods=["PUT"]),
        Route("/behaviour", _clear, methods=["DELETE"]),
        Route("/behaviour/{number:int}", _remove, methods=["DELETE"]),
        Route("/counts", _counts, methods=["GET"]),
        Route("/counts", _count_anew, methods=["DELETE"]),
    ]


def _sink(request: Request) -> Sink:
    sink: Sink = request.app.state.sink
    return sink


def _as_json(active: ActiveRule) -> dict[str, Any]:
    rule = active.rule.model_dump(mode="json", exclude_defaults=True)
    return {
        "number": active.number,
        "stage": active.rule.stage,
        **rule,
        "reply": active.rule.verdict_reply,
        "fired": active.fired,
    }


async def _show(request: Request) -> Response:
    return JSONResponse([_as_json(rule) for rule in _sink(request).behaviour.rules])


async def _add(request: Request) -> Response:
    rules = await _read_rules(request)
    try:
        added = _sink(request).behaviour.add(rules)
    except TooManyRulesError as error:
        raise HTTPException(400, str(error)) from None
    return JSONResponse([_as_json(rule) for rule in added], status_code=201)


async def _replace(request: Request) -> Response:
    rules = await _read_rules(request)
    behaviour = _sink(request).behaviour
    behaviour.clear()
    return JSONResponse([_as_json(rule) for rule in behaviour.add(rules)])


async def _clear(request: Request) -> Response:
    return JSONResponse({"deleted": _sink(request).behaviour.clear()})


async def _remove(request: Request) -> Response:
    if not _sink(request).behaviour.remove(request.path_params["number"]):
        raise HTTPException(404, "there is no rule of that number")
    return JSONResponse({"deleted": 1})


async def _counts(request: Request) -> Response:
    sink = _sink(request)
    return JSONResponse(
        {
            **sink.counts.as_json(sink.presence),
            "discard": sink.discard,
            "kept": {
                "messages": len(sink.mailbox),
                "bytes": sink.mailbox.bytes,
                "dropped": sink.mailbox.dropped,
            },
        }
    )


async def _count_anew(request: Request) -> Response:
    sink = _sink(request)
    sink.counts.reset(sink.presence)
    return JSONResponse({"reset": True})


async def _read_rules(request: Request) -> list[BehaviourRule]:
    """One rule, a list of rules, or `{"rules": […]}`."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BODY:
            raise HTTPException(413, "too many rules")
    try:
        given = _ANYTHING.validate_json(bytes(body))
        if isinstance(given, dict) and set(given) == {"rules"}:
            given = given["rules"]
        if isinstance(given, list):
            return _RULES.validate_python(given)
        return [_RULE.validate_python(given)]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or None
        message = first["msg"].removeprefix("Value error, ")
        raise HTTPException(
            400,
            {"message": message, "field": field},  # type: ignore[arg-type]  # read by web._error
        ) from None


_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
