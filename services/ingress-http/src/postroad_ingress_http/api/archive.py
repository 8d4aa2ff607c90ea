"""The archive: parts of a message by its id, as it was submitted or as it was sent.

Each has its path under `/v1/messages/{id}`, and the one that the original service had. Nothing is
served as HTML, so that no browser runs it here.
"""
# ruff: noqa: FAST003 - the dependency `Found` takes the message id of each path

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from postroad_common.store.messages import MessageRecord
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import HistoryOf
from postroad_ingress_http.history.content import StoredFile, find_file
from postroad_ingress_http.history.messages import Version
from postroad_ingress_http.http.errors import not_found

router = APIRouter(prefix="/v1", tags=["archive"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
WantedVersion = Annotated[
    Version | None,
    Query(
        description="`sent` (the default: the copy of this recipient) or `submitted`. Without it a "
        "message that was not sent is shown as submitted; the header `Postroad-Version` tells."
    ),
]
_PLAIN = "text/plain; charset=utf-8"
_NOSNIFF = {"X-Content-Type-Options": "nosniff"}


class FileView(BaseModel):
    """An attachment or an embedded file; `number` counts from 0, `size` is in octets."""

    number: int
    name: str
    type: str
    size: int
    content_id: str | None = None


class ContentView(BaseModel):
    """What is kept of a message. `kept_until` is Unix seconds; `cut`: some parts are left out."""

    version: Version
    kept_until: float | None
    size: int
    text: bool
    html: bool
    attachments: list[FileView]
    embeds: list[FileView]
    cut: bool


async def _find(message_id: str, token: Reader, history: HistoryOf) -> MessageRecord:
    return await history.find(token.account, message_id)


Found = Annotated[MessageRecord, Depends(_find)]


def _only(kind: str, schema: dict[str, str]) -> dict[str, Any]:
    """Return what says that an operation answers with this media type."""
    content = {kind: {"schema": schema}}
    return {"response_class": Response, "responses": {200: {"content": content}}}


TEXT = _only(_PLAIN.partition(";")[0], {"type": "string"})
SOURCE = _only("message/rfc822", {"type": "string", "format": "binary"})
FILE = _only("application/octet-stream", {"type": "string", "format": "binary"})


@router.get("/recipient/{message_id}", summary="Recipient of a message", **TEXT)
async def recipient(record: Found) -> Response:
    """As plain text."""
    return PlainTextResponse(record.recipient)


@router.get("/envelope/{message_id}", summary="Envelope address of a message", **TEXT)
async def envelope(record: Found) -> Response:
    """As it was submitted; empty for the null sender."""
    return PlainTextResponse(record.envelope)


@router.get("/messages/{message_id}/content", summary="What is in a message")
async def listing(record: Found, history: HistoryOf, version: WantedVersion = None) -> ContentView:
    """Which parts it has, and until when they are kept."""
    content, shown = await history.read_content(record, version)
    return ContentView(
        version=shown,
        kept_until=await history.kept_until(record),
        size=len(content.raw),
        text=content.text is not None,
        html=content.html is not None,
        attachments=await file_views(content.attachments),
        embeds=await file_views(content.embeds),
        cut=content.is_cut,
    )


@router.get("/messages/{message_id}/source", summary="Source of a message", **SOURCE)
async def source(record: Found, history: HistoryOf, version: WantedVersion = None) -> Response:
    """Return the whole message, octet for octet, as a file of the type `message/rfc822`."""
    found = await history.read_source(record, version)
    return Response(
        found.raw,
        media_type="message/rfc822",
        headers={**_download(f"{record.id}.eml"), "Postroad-Version": found.version},
    )


@router.get("/messages/{message_id}/headers", summary="Headers of a message", **TEXT)
@router.get(
    "/headers/{message_id}", name="original_headers", summary="Headers of a message", **TEXT
)
@router.get("/header/{message_id}", name="original_header", summary="Headers of a message", **TEXT)
async def headers(record: Found, history: HistoryOf, version: WantedVersion = None) -> Response:
    """Return the header block as it is."""
    content, shown = await history.read_content(record, version)
    return _answer(content.header_block, shown)


@router.get("/messages/{message_id}/text", summary="Text version of a message", **TEXT)
@router.get("/text/{message_id}", name="original_text", summary="Text version of a message", **TEXT)
async def text(record: Found, history: HistoryOf, version: WantedVersion = None) -> Response:
    """404 when it has none."""
    content, shown = await history.read_content(record, version)
    return _text("text", content.text, shown)


@router.get("/messages/{message_id}/html", summary="HTML version of a message", **TEXT)
@router.get("/html/{message_id}", name="original_html", summary="HTML version of a message", **TEXT)
async def html(record: Found, history: HistoryOf, version: WantedVersion = None) -> Response:
    """As source text; 404 when it has none."""
    content, shown = await history.read_content(record, version)
    return _text("HTML", content.html, shown)


@router.get("/messages/{message_id}/attachments", summary="Attachments of a message")
@router.get("/attachments/{message_id}", name="original_attachments", summary="Attachments")
async def attachments(
    record: Found, history: HistoryOf, version: WantedVersion = None
) -> list[FileView]:
    """Their names, types and sizes."""
    content, _ = await history.read_content(record, version)
    return await file_views(content.attachments)


@router.get("/messages/{message_id}/attachments/{file:path}", summary="One attachment", **FILE)
@router.get(
    "/attachments/{message_id}/{file:path}", name="original_attachment", summary="One", **FILE
)
async def attachment(
    record: Found, file: str, history: HistoryOf, version: WantedVersion = None
) -> Response:
    """As a download; `file` is its number, counted from 0, or its name."""
    content, shown = await history.read_content(record, version)
    return await _file("attachment", find_file(content.attachments, file), shown)


@router.get("/messages/{message_id}/embeds", summary="Embedded files of a message")
@router.get("/embeds/{message_id}", name="original_embeds", summary="Embedded files of a message")
async def embeds(
    record: Found, history: HistoryOf, version: WantedVersion = None
) -> list[FileView]:
    """Images that the HTML shows by their Content-ID."""
    content, _ = await history.read_content(record, version)
    return await file_views(content.embeds)


@router.get("/messages/{message_id}/embeds/{file:path}", summary="One embedded file", **FILE)
@router.get(
    "/embeds/{message_id}/{file:path}", name="original_embed", summary="One embedded file", **FILE
)
async def embed(
    record: Found, file: str, history: HistoryOf, version: WantedVersion = None
) -> Response:
    """As a download; `file` is its number, counted from 0, or its name."""
    content, shown = await history.read_content(record, version)
    return await _file("embedded file", find_file(content.embeds, file), shown)


async def file_views(files: list[StoredFile]) -> list[FileView]:
    """Return what a list shows of files."""
    return await asyncio.to_thread(
        lambda: [
            FileView(
                number=file.number,
                name=file.name,
                type=file.media_type,
                size=len(file.data),
                content_id=file.content_id or None,
            )
            for file in files
        ]
    )


def _text(kind: str, found: str | None, version: Version) -> Response:
    if found is None:
        raise not_found(f"{kind} part")
    return _answer(found.encode("utf-8", "replace"), version)


def _answer(octets: bytes, version: Version) -> Response:
    return Response(octets, media_type=_PLAIN, headers={**_NOSNIFF, "Postroad-Version": version})


async def _file(kind: str, file: StoredFile | None, version: Version) -> Response:
    if file is None:
        raise not_found(kind)
    return Response(
        await asyncio.to_thread(lambda: file.data),
        media_type="application/octet-stream",
        headers={**_download(file.name), **_NOSNIFF, "Postroad-Version": version},
    )


def _download(name: str) -> dict[str, str]:
    """Return the header field that makes a download of that name (RFC 6266)."""
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
