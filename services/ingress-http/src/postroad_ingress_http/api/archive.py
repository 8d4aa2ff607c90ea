"""The archive: parts of a message by its id, where its body is still kept.

Bodies that travelled inline are not kept; for those only `recipient` and `envelope` answer.
"""

from enum import Enum
from typing import Annotated

from fastapi import FastAPI
from starlette.responses import JSONResponse, PlainTextResponse, Response

from postroad_common.store.tokens import Token
from postroad_ingress_http import content
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.messages import find
from postroad_ingress_http.errors import not_found
from postroad_ingress_http.parts import Parts

_PLAIN = "text/plain; charset=utf-8"


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "messages:read")
    tags: list[str | Enum] = ["archive"]

    @app.get("/v1/recipient/{message_id}", tags=tags, summary="Recipient of a message")
    async def recipient(message_id: str, token: Annotated[Token, reading]) -> Response:
        """As plain text."""
        return PlainTextResponse((await find(parts, token.account, message_id)).recipient)

    @app.get("/v1/envelope/{message_id}", tags=tags, summary="Envelope address of a message")
    async def envelope(message_id: str, token: Annotated[Token, reading]) -> Response:
        """As it was handed in; empty for the null sender."""
        return PlainTextResponse((await find(parts, token.account, message_id)).envelope)

    @app.get("/v1/headers/{message_id}", tags=tags, summary="Headers of a message")
    async def headers(message_id: str, token: Annotated[Token, reading]) -> Response:
        """As they were handed in."""
        raw = await content.fetch(parts, token.account, message_id)
        return Response(content.headers_of(raw), media_type=_PLAIN)

    @app.get("/v1/text/{message_id}", tags=tags, summary="Text version of a message")
    async def text(message_id: str, token: Annotated[Token, reading]) -> Response:
        """404 when it has none."""
        return _part(await content.fetch(parts, token.account, message_id), "plain")

    @app.get("/v1/html/{message_id}", tags=tags, summary="HTML version of a message")
    async def html(message_id: str, token: Annotated[Token, reading]) -> Response:
        """As source text, so that no browser runs it here; 404 when it has none."""
        return _part(await content.fetch(parts, token.account, message_id), "html")

    @app.get("/v1/attachments/{message_id}", tags=tags, summary="Attachments of a message")
    async def attachments(message_id: str, token: Annotated[Token, reading]) -> Response:
        """Their names, types and sizes."""
        raw = await content.fetch(parts, token.account, message_id)
        return JSONResponse(
            [
                {"number": number, "name": file.name, "type": file.media_type, "size": file.size}
                for number, file in enumerate(content.attachments_of(raw))
            ]
        )

    @app.get("/v1/attachments/{message_id}/{number}", tags=tags, summary="One attachment")
    async def attachment(
        message_id: str, number: int, token: Annotated[Token, reading]
    ) -> Response:
        """As a download; `number` counts from 0."""
        files = content.attachments_of(await content.fetch(parts, token.account, message_id))
        if not 0 <= number < len(files):
            raise not_found("attachment")
        return Response(
            files[number].data,
            media_type="application/octet-stream",
            headers={"Content-Disposition": "attachment"},
        )


def _part(raw: bytes, subtype: str) -> Response:
    text = content.text_of(raw, subtype)
    if text is None:
        raise not_found(f"{subtype} part")
    return Response(text.encode("utf-8", "replace"), media_type=_PLAIN)
