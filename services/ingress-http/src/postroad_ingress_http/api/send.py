"""`POST /v1/send` and `POST /v1/send/batch`."""

import asyncio
import json
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from postroad_common.errors import Transient
from postroad_common.mail.tracecontext import read_traceparent
from postroad_common.schemas.submission import Client
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS, ErrorDetail, refusals
from postroad_ingress_http.dependencies import AcceptanceOf
from postroad_ingress_http.http import patience
from postroad_ingress_http.http.errors import ApiError, bad_field, from_exception, unavailable
from postroad_ingress_http.http.fields import IN_THREAD, beside_the_loop
from postroad_ingress_http.sending.accept import Acceptance, Once, accept
from postroad_ingress_http.sending.files import RequestFiles, urls_of
from postroad_ingress_http.sending.request import SendFields, read_send
from postroad_ingress_http.sending.submission import RequestOrigin

router = APIRouter(tags=["send"], responses=REFUSALS)
Sender = Annotated[Token, needs("send")]
MAX_BATCH = 500
_AT_ONCE = 8  # mails of a batch that take long: large ones, with files to be fetched or keys
_MAX_KEY = 255
_AWAY = unavailable("The service is not able to do this right now; try again soon.")
_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": _MAX_KEY},
    "description": "The same key and body are accepted once within a day.",
}


class BatchFields(BaseModel):
    """Mails, each with the fields of `POST /v1/send`."""

    model_config = ConfigDict(extra="forbid")

    mails: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_BATCH)


class BatchItem(BaseModel):
    """What became of one mail: its message ids, each with its recipient, or why it is refused."""

    status: int
    messages: dict[str, str] | None = None
    error: ErrorDetail | None = None


class BatchAnswer(BaseModel):
    """The answers, in the order of the mails."""

    items: list[BatchItem]


@router.post(
    "/v1/send",
    summary="Submit a message",
    response_model=dict[str, str],
    response_description="Message ids, each with its recipient.",
    responses=refusals(422),
    openapi_extra={"parameters": [_KEY_HEADER]},
)
async def send(
    request: Request,
    token: Sender,
    mail: Annotated[SendFields, body(SendFields, read_send)],
    acceptance: AcceptanceOf,
) -> Response:
    """Accept a message; the answer comes when it is safe on the queue.

    Give a complete message in `mime`, its parts, or a stored `template`; with `data` tags are
    filled in, for each recipient by itself. With an `Idempotency-Key` header the
    same request can be repeated without sending twice.
    """
    key = request.headers.get("idempotency-key")
    once = None if key is None else Once.of(key, await request.body())
    accepted = await accept(mail, origin_of(request, token), once, acceptance)
    headers = {"Idempotency-Replayed": "true"} if accepted.replayed else None
    return JSONResponse(accepted.answer, accepted.status, headers)


@router.post(
    "/v1/send/batch",
    summary="Submit many messages",
    openapi_extra={"parameters": [_KEY_HEADER]},
)
async def batch(
    request: Request,
    token: Sender,
    fields: Annotated[BatchFields, body(BatchFields)],
    acceptance: AcceptanceOf,
) -> BatchAnswer:
    """Accept each mail by itself; one that is refused does not stop the others.

    With an `Idempotency-Key` header the same request can be repeated: what was accepted is not
    sent again, what was not sure is.
    """
    origin = origin_of(request, token)
    key = request.headers.get("idempotency-key")
    if key is not None and len(key) > _MAX_KEY:
        raise bad_field("Idempotency-Key", f"At most {_MAX_KEY} characters.")
    size = len(await request.body()) // len(fields.mails)  # of one mail, about
    slow = size > IN_THREAD or key is not None  # a key is claimed in the database
    items: list[BatchItem] = []
    waiting = patience.current()
    async with acceptance.files.of_request(token.account, fields.mails) as files:

        async def accept_one(number: int) -> BatchItem:
            mail = fields.mails[number]
            once = await beside_the_loop(size, _once, key, number, mail)
            if waiting.is_over and any(item.status == _AWAY.status for item in items):
                return _refused(_AWAY)  # what is away is not waited for once more for each
            patience.begin()
            return await _accept_one(mail, origin, once, acceptance, files)

        for start in range(0, len(fields.mails), _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, len(fields.mails)))
            # What takes long does not wait for each other; small mails keep their order.
            if slow or any(urls_of(fields.mails[number]) for number in numbers):
                items += await asyncio.gather(*map(accept_one, numbers))
            else:
                for number in numbers:
                    items.append(await accept_one(number))
    return BatchAnswer(items=items)


def _once(key: str | None, number: int, mail: dict[str, Any]) -> Once | None:
    """Return the key of one mail of a batch."""
    if key is None:
        return None
    return Once.of(
        f"{sha256(key.encode()).hexdigest()}/{number}", json.dumps(mail, sort_keys=True).encode()
    )


async def _accept_one(
    mail: dict[str, Any],
    origin: RequestOrigin,
    once: Once | None,
    acceptance: Acceptance,
    files: RequestFiles,
) -> BatchItem:
    try:
        accepted = await accept(read_send(mail), origin, once, acceptance, files)
    except (ApiError, ValidationError, Transient) as error:
        refusal = from_exception(error)
        if refusal is None:
            raise
        return _refused(refusal)
    return BatchItem(status=accepted.status, messages=accepted.answer)


def _refused(refusal: ApiError) -> BatchItem:
    return BatchItem(status=refusal.status, error=ErrorDetail(**refusal.body()["error"]))


def origin_of(request: Request, token: Token) -> RequestOrigin:
    """Return where the request came from."""
    client = Client(
        ip=request.client.host if request.client else "",
        protocol="HTTPS" if request.url.scheme == "https" else "HTTP",
    )
    traceparent = read_traceparent(request.headers.get("traceparent"))
    return RequestOrigin(
        token.account, token.id, client, token.sender_domains, traceparent, token.test
    )
