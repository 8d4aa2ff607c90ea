"""The archive: parts of a message by its id, where its body is still kept.

Bodies that travelled inline are not kept; for those only `recipient` and `envelope` answer.
"""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import HistoryOf
from postroad_ingress_http.history import content
from postroad_ingress_http.http.errors import not_found

router = APIRouter(prefix="/v1", tags=["archive"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
_PLAIN = "text/plain; charset=utf-8"


@router.get("/recipient/{message_id}", summary="Recipient of a message")
async def recipient(message_id: str, token: Reader, history: HistoryOf) -> Response:
    """As plain text."""
    return PlainTextResponse((await history.find(token.account, message_id)).recipient)


@router.get("/envelope/{message_id}", summary="Envelope address of a message")
async def envelope(message_id: str, token: Reader, history: HistoryOf) -> Response:
    """As it was submitted; empty for the null sender."""
    return PlainTextResponse((await history.find(token.account, message_id)).envelope)


@router.get("/headers/{message_id}", summary="Headers of a message")
async def headers(message_id: str, token: Reader, history: HistoryOf) -> Response:
    """As they were submitted."""
    raw = await history.read_content(token.account, message_id)
    return Response(content.headers_of(raw), media_type=_PLAIN)


@router.get("/text/{message_id}", summary="Text version of a message")
async def text(message_id: str, token: Reader, history: HistoryOf) -> Response:
    """404 when it has none."""
    return _part(await history.read_content(token.account, message_id), "plain")


@router.get("/html/{message_id}", summary="HTML version of a message")
async def html(message_id: str, token: Reader, history: HistoryOf) -> Response:
    """As source text, so that no browser runs it here; 404 when it has none."""
    return _part(await history.read_content(token.account, message_id), "html")


@router.get("/attachments/{message_id}", summary="Attachments of a message")
async def attachments(message_id: str, token: Reader, history: HistoryOf) -> Response:
    """Their names, types and sizes."""
    raw = await history.read_content(token.account, message_id)
    return JSONResponse(
        [
            {"number": number, "name": file.name, "type": file.media_type, "size": file.size}
            for number, file in enumerate(content.attachments_of(raw))
        ]
    )


@router.get("/attachments/{message_id}/{number}", summary="One attachment")
async def attachment(message_id: str, number: int, token: Reader, history: HistoryOf) -> Response:
    """As a download; `number` counts from 0."""
    files = content.attachments_of(await history.read_content(token.account, message_id))
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
