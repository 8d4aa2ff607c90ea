"""The page of one message: what happened, what was sent and submitted, links, changes, files."""
# ruff: noqa: FAST003 - the dependency `Found` takes the message id of each path

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from postroad_common.mail.identifiers import id_time, is_id
from postroad_common.schemas.events import Event, EventName
from postroad_common.store.events import TIMELINE, Events
from postroad_common.store.messages import MessageRecord
from postroad_common.store.rollupparts import LOGIN
from postroad_common.store.suppressions import Addressed
from postroad_ingress_http.dashboard import changes
from postroad_ingress_http.dashboard.subjects import labels_of
from postroad_ingress_http.dashboard.timeline import awaited, step
from postroad_ingress_http.dashboard.verdict import judge
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import (
    ClockOf,
    CredentialStore,
    EventStore,
    HistoryOf,
    LinkSignerOf,
    MessageDirectionOf,
    SuppressionStore,
    TokenStore,
)
from postroad_ingress_http.history import preview
from postroad_ingress_http.history.content import MailContent, StoredFile, find_file
from postroad_ingress_http.history.directives import is_final
from postroad_ingress_http.history.explaining import explain_all
from postroad_ingress_http.history.messages import MessageHistory, Version
from postroad_ingress_http.http.errors import ApiError, not_found

router = APIRouter(prefix="/dashboard/messages", include_in_schema=False)
TABS = (
    ("timeline", "What happened"),
    ("html", "HTML"),
    ("text", "Text"),
    ("headers", "Headers"),
    ("links", "Links"),
    ("files", "Files"),
    ("changes", "Changes"),
    ("source", "Source"),
)
_SOON_SECONDS = 60
"""How long after it was accepted a message may be missing in the database."""
_WITHOUT_CONTENT = ("timeline", "changes")
_SHOWN = 200_000  # characters of a text on a page
_CLICKS = 1000
_FRAME_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'{}; font-src {}; img-src {}"
_FILE_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class View:
    """What of the message is shown, as the query says."""

    tab: str
    version: Version | None
    images: bool
    phone: bool
    dark: bool

    def query(self, **changed: str) -> str:
        """Return the query string of this view with something `changed`; empty: taken out."""
        told = {
            "tab": self.tab,
            "version": self.version or "",
            "images": "1" if self.images else "",
            "width": "phone" if self.phone else "",
            "scheme": "dark" if self.dark else "",
        }
        return urlencode({name: value for name, value in (told | changed).items() if value})


async def _view(request: Request) -> View:
    query = request.query_params
    tab, version = query.get("tab", "timeline"), query.get("version", "")
    if tab not in dict(TABS):
        raise ApiError(400, f"There is no tab {tab[:50]!r}.", field="tab")
    if version not in {"", "sent", "submitted"}:
        raise ApiError(400, "There are the versions sent and submitted.", field="version")
    return View(
        tab=tab,
        version="submitted" if version == "submitted" else "sent" if version else None,
        images=query.get("images") == "1",
        phone=query.get("width") == "phone",
        dark=query.get("scheme") == "dark",
    )


async def _record(message_id: str, session: SignedIn, history: HistoryOf) -> MessageRecord:
    return await history.find(session.account, message_id)


async def _record_soon(
    message_id: str, session: SignedIn, history: HistoryOf, clock: ClockOf
) -> MessageRecord | None:
    """Return the message; None where it may just have been accepted, and is not recorded yet."""
    try:
        return await history.find(session.account, message_id)
    except ApiError as error:
        young = is_id(message_id) and abs(clock() - id_time(message_id)) < _SOON_SECONDS
        if error.status != 404 or not young:
            raise
    return None


ViewOf = Annotated[View, Depends(_view)]
Found = Annotated[MessageRecord, Depends(_record)]
FoundSoon = Annotated[MessageRecord | None, Depends(_record_soon)]


@router.get("/{message_id}")
async def one(  # noqa: PLR0917 - FastAPI passes them by name
    record: FoundSoon,
    view: ViewOf,
    pages: PagesOf,
    history: HistoryOf,
    events: EventStore,
    suppressions: SuppressionStore,
    signer: LinkSignerOf,
    direction: MessageDirectionOf,
    credentials: CredentialStore,
    tokens: TokenStore,
) -> Response:
    """Show a message: its facts, what can be done with it, and one of its tabs."""
    if record is None:
        return pages.answer("message_awaited.html", status=404)
    told = await events.timeline(record.id)
    explained = await explain_all(told)
    values: dict[str, Any] = {}
    if view.tab == "timeline":
        values["steps"] = [step(event, explained.get(event.id)) for event in told]
        values["is_cut"] = len(told) >= TIMELINE
    elif view.tab == "changes":
        values["changes"] = _changes(told)
    else:
        values |= await _content(record, view, history)
    if view.tab == "links" and values["content"] is not None:
        values["links"] = await _links(record, values["content"], events, signer)
    addressed = Addressed(record.account, record.recipient.lower(), record.list)
    entry = (await suppressions.find_many([addressed])).get(addressed)
    return pages.answer(
        "message.html",
        message=record,
        verdict=judge(record, told, explained, entry),
        view=view,
        tabs=TABS,
        kept_until=await history.kept_until(record),
        suppression=entry,
        waits=not is_final(record),
        awaited=None if is_final(record) else awaited(told),
        submitter=(await labels_of(record.account, credentials, tokens)).of(
            LOGIN, record.credential
        ),
        directive=await direction.find(record),
        **values,
    )


async def _content(record: MessageRecord, view: View, history: MessageHistory) -> dict[str, Any]:
    """Return the content and its version for the tabs that show some; None where none is kept."""
    try:
        content, version = await history.read_content(record, view.version)
    except ApiError as error:
        if error.code != "not_kept":
            raise
        return {"content": None, "version": view.version, "shown": None, "is_cut": False}
    shown = {"text": content.text, "source": None}.get(view.tab)
    if view.tab == "source":
        shown = content.raw[: 4 * _SHOWN].decode("utf-8", "replace")
    is_cut = shown is not None and (len(shown) > _SHOWN or len(content.raw) > 4 * _SHOWN)
    return {
        "content": content,
        "version": version,
        "shown": shown[:_SHOWN] if shown is not None else None,
        "is_cut": is_cut,
        "files": await asyncio.to_thread(_files, content) if view.tab == "files" else [],
    }


def _files(content: MailContent) -> list[tuple[str, StoredFile, int]]:
    """Return each file with the part of its path, and its size in octets."""
    return [
        (kind, file, len(file.data))
        for kind, files in (("attachments", content.attachments), ("embeds", content.embeds))
        for file in files
    ]


async def _links(
    record: MessageRecord, content: MailContent, events: Events, signer: LinkSignerOf
) -> Sequence[preview.HtmlLink]:
    clicks = await events.search(
        record.account, names=[EventName.CLICKED], message_ids=[record.id], limit=_CLICKS
    )
    clicked = [
        str(event.facts.get("url") or "") for event in clicks if not event.facts.get("machine")
    ]
    return await asyncio.to_thread(preview.find_links, content.html or "", signer, clicked)


def _changes(timeline: Sequence[Event]) -> Sequence[changes.Change] | None:
    """Return what the transformer did; None while it has not told."""
    for event in timeline:
        if event.event is EventName.TRANSFORMED:
            told = event.facts.get("changes")
            return changes.describe(told if isinstance(told, dict) else {})
    return None


@router.get("/{message_id}/preview")
async def framed(record: Found, view: ViewOf, history: HistoryOf, signer: LinkSignerOf) -> Response:
    """Show the HTML in a frame: inert, without scripts; with images from outside if asked for."""
    content, _ = await history.read_content(record, view.version)
    page = await asyncio.to_thread(preview.frame, content, signer, dark=view.dark)
    outside = " https: http:" if view.images else ""
    policy = _FRAME_POLICY.format(outside, f"data:{outside}", f"data:{outside}")
    return HTMLResponse(
        page.encode("utf-8", "replace"),
        headers={
            "Content-Security-Policy": f"{policy}; frame-ancestors 'self'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


@router.get("/{message_id}/source")
async def source(record: Found, view: ViewOf, history: HistoryOf) -> Response:
    """Return the whole message as a file."""
    found = await history.read_source(record, view.version)
    name = f"{record.id}.eml" if found.version == "sent" else f"{record.id}-submitted.eml"
    return _download(found.raw, name, "message/rfc822")


@router.get("/{message_id}/{kind}/{number}")
async def file(record: Found, kind: str, number: str, view: ViewOf, history: HistoryOf) -> Response:
    """Return one attachment or embedded file."""
    content, _ = await history.read_content(record, view.version)
    files = {"attachments": content.attachments, "embeds": content.embeds}.get(kind, [])
    found = find_file(files, number)
    if found is None:
        raise not_found("file")
    return _download(await asyncio.to_thread(lambda: found.data), found.name)


def _download(octets: bytes, name: str, media_type: str = "application/octet-stream") -> Response:
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    headers = {**_FILE_HEADERS, "Content-Disposition": disposition}
    return Response(octets, media_type=media_type, headers=headers)
