"""`POST /v1/send`."""

import contextlib
import hashlib
import json
import re
from typing import Annotated

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from postroad_common.errors import Transient
from postroad_common.mail.identifiers import derived_id, new_id
from postroad_common.schemas.submission import Client
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.errors import ApiError, bad_field
from postroad_ingress_http.parts import Parts
from postroad_ingress_http.sendrequest import SendFields, read_send
from postroad_ingress_http.submission import Identify, Origin, prepare

_KEY = re.compile(r"[!-~]{1,255}")
STALE_CLAIM_SECONDS = 60.0
"""A request that has not answered after this time died; the same key may try again."""


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end point."""

    @app.post(
        "/v1/send",
        tags=["send"],
        summary="Hand in a message",
        response_model=dict[str, str],
        response_description="Message ids, each with its recipient.",
    )
    async def send(
        request: Request,
        token: Annotated[Token, needs(parts.authenticator, "send")],
        fields: Annotated[SendFields, body(SendFields, read_send)],
    ) -> Response:
        """The message is accepted when it is safe on the queue.

        Give a complete message in `mime`, or its parts. With an `Idempotency-Key` header the
        same request can be repeated without sending twice.
        """
        client = Client(
            ip=request.client.host if request.client else "",
            protocol="HTTPS" if request.url.scheme == "https" else "HTTP",
        )
        origin = Origin(token.account, token.id, client)
        key = request.headers.get("idempotency-key")
        if key is None:
            return JSONResponse(await _submit(parts, fields, origin, lambda _: new_id()))
        return await _submit_once(parts, fields, origin, key, await request.body())


async def _submit(
    parts: Parts, fields: SendFields, origin: Origin, identify: Identify
) -> dict[str, str]:
    prepared = prepare(fields, origin, parts.rules, parts.clock(), identify)
    await parts.handover.hand_over(prepared)
    return prepared.answer()


async def _submit_once(
    parts: Parts, fields: SendFields, origin: Origin, key: str, content: bytes
) -> Response:
    """The same key with the same body is accepted once, and answered alike every time.

    Message ids follow from the key: when a first try died between the queue and the answer, what
    the second try hands in carries the same ids and is recognised downstream.
    """
    if not _KEY.fullmatch(key):
        raise bad_field("Idempotency-Key", "1 to 255 printable ASCII characters without spaces.")
    requests = parts.database.idempotency
    fingerprint = hashlib.sha256(content).hexdigest()
    claim = await requests.begin(
        origin.account, key, fingerprint, stale_seconds=STALE_CLAIM_SECONDS
    )
    if claim.fingerprint != fingerprint:
        raise ApiError(
            409, "This Idempotency-Key was used with another request.",
            code="idempotency_mismatch", field="Idempotency-Key",
        )  # fmt: skip
    if claim.status is not None and claim.answer is not None:
        return JSONResponse(
            json.loads(claim.answer), claim.status, {"Idempotency-Replayed": "true"}
        )
    if not claim.ours:
        raise ApiError(
            409, "The request with this Idempotency-Key is still being worked on.",
            code="in_progress", field="Idempotency-Key", headers={"Retry-After": "2"},
        )  # fmt: skip
    try:
        answer = await _submit(
            parts,
            fields,
            origin,
            lambda part: derived_id(claim.created, "rest", origin.account, key, part),
        )
    except Transient:
        with contextlib.suppress(Transient):
            await requests.release(origin.account, key)
        raise
    except ApiError:
        with contextlib.suppress(Transient):
            await requests.forget(origin.account, key)
        raise
    with contextlib.suppress(Transient):  # it is accepted, whether the answer is kept or not
        await requests.finish(origin.account, key, 200, json.dumps(answer))
    return JSONResponse(answer)
