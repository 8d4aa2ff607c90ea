"""`POST /v1/send`."""

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from postroad_common.schemas.submission import Client
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS, refusals
from postroad_ingress_http.dependencies import AcceptanceOf
from postroad_ingress_http.sending.accept import Once, accept
from postroad_ingress_http.sending.request import SendFields, read_send
from postroad_ingress_http.sending.submission import Origin

router = APIRouter(tags=["send"], responses=REFUSALS)
Sender = Annotated[Token, needs("send")]
_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
    "description": "The same key and body are accepted once within a day.",
}


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
    client = Client(
        ip=request.client.host if request.client else "",
        protocol="HTTPS" if request.url.scheme == "https" else "HTTP",
    )
    key = request.headers.get("idempotency-key")
    once = None if key is None else Once.of(key, await request.body())
    accepted = await accept(mail, Origin(token.account, token.id, client), once, acceptance)
    headers = {"Idempotency-Replayed": "true"} if accepted.replayed else None
    return JSONResponse(accepted.answer, accepted.status, headers)
