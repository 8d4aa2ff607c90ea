"""`/v1/messages` and `/v1/events`: what happened to mail."""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict

from postroad_common.mail.identifiers import is_id
from postroad_common.schemas.events import OWN_MAIL, Event, EventName
from postroad_common.schemas.features import Features
from postroad_common.store.messages import HANDED_IN, RANKS, MessageRecord
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.pages import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)
from postroad_ingress_http.api.times import read_moment
from postroad_ingress_http.errors import bad_field, not_found
from postroad_ingress_http.parts import Parts

MESSAGES_PER_EVENT_SEARCH = 1000
_SOURCES = (*HANDED_IN, *OWN_MAIL)
Text = Annotated[str | None, Query(max_length=320)]
Moment = Annotated[
    str | None, Query(max_length=40, description="A date, a time in UTC, or Unix seconds.")
]


class MessageView(BaseModel):
    """A message to one recipient. Times are Unix seconds."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    submission: str
    envelope: str
    recipient: str
    subject: str
    tags: list[str]
    features: Features
    state: str
    attempts: int
    opens: int
    clicks: int
    size: int
    source: str
    created: float
    updated: float


class MessageWithTimeline(MessageView):
    """A message with all that happened to it, oldest first.

    An attempt to deliver has its SMTP `conversation`: lines that begin with `C: ` (Postroad),
    `S: ` (the receiving server) or `# ` (a remark).
    """

    timeline: list[dict[str, Any]]


class EventView(BaseModel):
    """One event."""

    event: str
    message: str
    time: float
    data: dict[str, Any]


def timeline_entry(event: Event) -> dict[str, Any]:
    """The event as the timeline of its message shows it."""
    said = event.data.get("conversation")
    conversation = {"conversation": said.split("\n")} if isinstance(said, str) else {}
    return {
        **event.data,
        **conversation,
        "event": str(event.event),
        "time": event.time,
        "id": event.id,
    }


def view_event(event: Event) -> EventView:
    """The event outside a timeline, and so without the conversation."""
    data = {name: value for name, value in event.data.items() if name != "conversation"}
    return EventView(event=str(event.event), message=event.message, time=event.time, data=data)


def view_with_timeline(record: MessageRecord, events: Iterable[Event]) -> MessageWithTimeline:
    """The message with its events, which come oldest first."""
    return MessageWithTimeline(
        **MessageView.model_validate(record).model_dump(),
        timeline=[timeline_entry(event) for event in events],
    )


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "messages:read")
    database = parts.database

    @app.get("/v1/messages", tags=["messages"], summary="Search messages")
    async def search(  # noqa: PLR0917 - FastAPI passes them by name
        token: Annotated[Token, reading],
        recipient: Annotated[
            str | None, Query(max_length=320, description="An address, or @domain.")
        ] = None,
        tag: Text = None,
        state: Text = None,
        envelope: Text = None,
        submission: Text = None,
        source: Annotated[
            str | None,
            Query(description="smtp, rest; or dsn, forward: mail that Postroad wrote itself."),
        ] = None,
        start: Moment = None,
        end: Moment = None,
        cursor: Cursor = None,
        limit: PageSize = DEFAULT_PAGE,
    ) -> Page[MessageView]:
        """Newest first. What Postroad wrote itself is found by its source only."""
        if source is not None and source not in _SOURCES:
            raise bad_field("source", f"One of {', '.join(_SOURCES)}.")
        if state is not None and state not in RANKS:
            raise bad_field("state", f"One of {', '.join(RANKS)}.")
        position = read_cursor(cursor, str)
        found = await database.messages.search(
            token.account,
            recipient=recipient,
            tag=tag,
            state=state,
            envelope=envelope,
            submission=submission,
            sources=HANDED_IN if source is None else (source,),
            start=read_moment("start", start),
            end=read_moment("end", end),
            before=position[0] if position else None,
            limit=limit + 1,
        )
        return Page(
            items=[MessageView.model_validate(record) for record in found[:limit]],
            cursor=write_cursor(found[limit - 1].id) if len(found) > limit else None,
        )

    @app.get("/v1/messages/{message_id}", tags=["messages"], summary="One message")
    async def one(message_id: str, token: Annotated[Token, reading]) -> MessageWithTimeline:
        """With its timeline."""
        record = await find(parts, token.account, message_id)
        return view_with_timeline(record, await database.events.timeline(message_id))

    @app.get("/v1/events", tags=["events"], summary="Search events")
    async def events(  # noqa: PLR0917 - FastAPI passes them by name
        token: Annotated[Token, reading],
        event: Annotated[list[str] | None, Query(description="Names; may be repeated.")] = None,
        message: Text = None,
        recipient: Text = None,
        tag: Text = None,
        start: Moment = None,
        end: Moment = None,
        cursor: Cursor = None,
        limit: PageSize = DEFAULT_PAGE,
    ) -> Page[EventView]:
        """Newest first."""
        names = _event_names(event or [])
        ids = [message] if message else await _ids(parts, token.account, recipient, [tag])
        position = read_cursor(cursor, float, str)
        found = await database.events.search(
            token.account,
            names=names,
            message_ids=ids,
            start=read_moment("start", start),
            end=read_moment("end", end),
            before=(position[0], position[1]) if position else None,
            limit=limit + 1,
        )
        last = found[limit - 1] if len(found) > limit else None
        return Page(
            items=[view_event(item) for item in found[:limit]],
            cursor=write_cursor(float(last.time), last.id) if last else None,
        )

    @app.get("/v1/events/messageid/{message_id}", tags=["events"], summary="Events of a message")
    async def by_message(message_id: str, token: Annotated[Token, reading]) -> list[EventView]:
        """Oldest first."""
        await find(parts, token.account, message_id)
        return [view_event(event) for event in await database.events.timeline(message_id)]

    @app.get("/v1/events/email/{address:path}", tags=["events"], summary="Events of an address")
    async def by_address(
        address: str, token: Annotated[Token, reading], start: Moment = None, end: Moment = None
    ) -> list[EventView]:
        """The newest 500."""
        ids = await _ids(parts, token.account, address, [])
        return await _newest(parts, token.account, ids, start, end)

    @app.get("/v1/events/tags/{tags}", tags=["events"], summary="Events of tags")
    async def by_tags(
        tags: str, token: Annotated[Token, reading], start: Moment = None, end: Moment = None
    ) -> list[EventView]:
        """The newest 500 of messages that have all these tags, which `;` separates."""
        ids = await _ids(parts, token.account, None, [tag for tag in tags.split(";") if tag])
        return await _newest(parts, token.account, ids, start, end)


async def find(parts: Parts, account: str, message_id: str) -> MessageRecord:
    """The message of the account.

    Raises:
        ApiError: 404.
    """
    record = await parts.database.messages.get(account, message_id) if is_id(message_id) else None
    if record is None:
        raise not_found("message (a new one appears within a second)")
    return record


def _event_names(names: Iterable[str]) -> list[str]:
    known = {str(name) for name in EventName}
    for name in names:
        if name not in known:
            raise bad_field("event", f"One of {', '.join(sorted(known))}.")
    return list(names)


async def _ids(
    parts: Parts, account: str, recipient: str | None, tags: Iterable[str | None]
) -> list[str] | None:
    """The newest messages to `recipient` with all of `tags`; None when nothing is asked for."""
    wanted = [tag for tag in tags if tag]
    if not recipient and not wanted:
        return None
    found = await parts.database.messages.search(
        account,
        recipient=recipient or None,
        tag=wanted[0] if wanted else None,
        limit=MESSAGES_PER_EVENT_SEARCH,
    )
    return [record.id for record in found if set(wanted) <= set(record.tags)]


async def _newest(
    parts: Parts, account: str, ids: list[str] | None, start: str | None, end: str | None
) -> list[EventView]:
    found = await parts.database.events.search(
        account,
        message_ids=ids or [],
        start=read_moment("start", start),
        end=read_moment("end", end),
        limit=500,
    )
    return [view_event(event) for event in found]
