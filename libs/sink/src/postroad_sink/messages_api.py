"""`/messages`: finds, shows and forgets what the sink has kept.

The list of requests is in `web`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from postroad_sink import mime, view
from postroad_sink.mailbox import KeptMessage, MessageFilter, SinkMailbox
from postroad_sink.server import Sink

_LONGEST_WAIT = 60.0  # seconds
_QUERY = {"recipient", "envelope", "subject", "since", "limit", "wait", "at_least"}


def routes() -> list[Route]:
    """Return the routes that are answered here."""
    return [
        Route("/messages", _find, methods=["GET"]),
        Route("/messages", _forget, methods=["DELETE"]),
        Route("/messages/{number:int}", _show, methods=["GET"]),
        Route("/messages/{number:int}/raw", _raw, methods=["GET"]),
        Route("/messages/{number:int}/html", _html, methods=["GET"]),
        Route("/messages/{number:int}/text", _text, methods=["GET"]),
        Route("/messages/{number:int}/parts/{part:int}", _part, methods=["GET"]),
    ]


async def _find(request: Request) -> Response:
    query = request.query_params
    if unknown := set(query) - _QUERY:
        name = min(unknown)
        raise _bad(name, f"not known; known are {', '.join(sorted(_QUERY))}")
    wanted = MessageFilter(
        recipient=query.get("recipient"),
        envelope=query.get("envelope"),
        subject=query.get("subject"),
        since=int(_number(query, "since", 0)),
    )
    limit = int(_number(query, "limit", 0))
    wait = min(_number(query, "wait", 0), _LONGEST_WAIT)
    at_least = int(_number(query, "at_least", 1))
    found = await _await_messages(_sink(request).mailbox, wanted, at_least, wait)
    chosen = found[-limit:] if limit else found
    return JSONResponse(
        [message.as_json() for message in chosen], headers={"x-total-count": str(len(found))}
    )


async def _await_messages(
    mailbox: SinkMailbox, wanted: MessageFilter, at_least: int, seconds: float
) -> list[KeptMessage]:
    """Return the wanted messages, oldest first; wait until there are enough of them."""
    found: list[KeptMessage] = []
    try:
        async with asyncio.timeout(seconds or None):
            while True:
                seen = mailbox.last_number
                found += reversed(list(mailbox.find(wanted)))
                if len(found) >= at_least or not seconds:
                    return found
                # The next look concerns only what comes from now on.
                wanted = replace(wanted, since=max(wanted.since, seen))
                await mailbox.changed()
    except TimeoutError:
        return found


async def _forget(request: Request) -> Response:
    return JSONResponse({"deleted": _sink(request).mailbox.clear()})


async def _show(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(_details, _message(request)))


def _details(message: KeptMessage) -> dict[str, Any]:
    mail = mime.read(message.raw)
    return {
        **message.as_json(),
        "headers": mail.headers,
        "text": mail.body("text/plain"),
        "html": mail.body("text/html"),
        "bare_line_ends": mime.has_bare_line_ends(message.raw),
        "parts": [
            {
                "number": part.number,
                "content_type": part.content_type,
                "charset": part.charset,
                "filename": part.filename,
                "content_id": part.content_id,
                "attached": part.attached,
                "size": len(part.data),
            }
            for part in mail.parts
        ],
    }


async def _raw(request: Request) -> Response:
    message = _message(request)
    return _harmless(message.raw, "message/rfc822", f"{message.number}.eml")


async def _text(request: Request) -> Response:
    text = (await run_in_threadpool(mime.read, _message(request).raw)).body("text/plain")
    if text is None:
        raise HTTPException(404, "the message has no text part")
    return _harmless(text.encode("utf-8", "replace"), "text/plain; charset=utf-8")


async def _html(request: Request) -> Response:
    mail = await run_in_threadpool(mime.read, _message(request).raw)
    html = mail.body("text/html")
    if html is None:
        raise HTTPException(404, "the message has no HTML part")
    if "frame" in request.query_params:
        html = view.framed(html, mail.parts)
    return view.mail_html(html, remote_images="images" in request.query_params)


async def _part(request: Request) -> Response:
    mail = await run_in_threadpool(mime.read, _message(request).raw)
    number = request.path_params["part"]
    if number >= len(mail.parts):
        raise HTTPException(404, "the message has no such part")
    return _harmless(mail.parts[number].data, "application/octet-stream", f"part-{number}")


def _harmless(content: bytes, media_type: str, filename: str | None = None) -> Response:
    """Return an answer that a browser shows as text or saves, and never runs."""
    response = Response(content, media_type=media_type)
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["content-security-policy"] = "default-src 'none'; sandbox"
    if filename:
        response.headers["content-disposition"] = f'attachment; filename="{filename}"'
    return response


def _sink(request: Request) -> Sink:
    sink: Sink = request.app.state.sink
    return sink


def _message(request: Request) -> KeptMessage:
    message = _sink(request).mailbox.get(request.path_params["number"])
    if message is None:
        raise HTTPException(404, "there is no message of that number (any more)")
    return message


def _number(query: Mapping[str, str], name: str, default: float) -> float:
    text = query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise _bad(name, "must be a number") from None
    if not 0 <= value < 2**53:
        raise _bad(name, "must be a number from 0 on")
    return value


def _bad(field: str, message: str) -> HTTPException:
    return HTTPException(400, {"message": message, "field": field})  # type: ignore[arg-type]  # read by web._error
