"""`/v1/messages`: mail, one message for each recipient."""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from postroad_common.schemas.events import OWN_MAIL, Event
from postroad_common.schemas.features import Features
from postroad_common.store.events import TIMELINE
from postroad_common.store.messages import HANDED_IN, RANKS, MessageRecord
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import EventStore, HistoryOf, MessageStore
from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.moments import Moment, read_moment
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    SearchText,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/messages", tags=["messages"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
_SOURCES = (*HANDED_IN, *OWN_MAIL)


class MessageView(BaseModel):
    """A message to one recipient. Times are Unix seconds."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    submission: str
    envelope: str
    recipient: str
    subject: str
    tags: list[str]
    metadata: dict[str, str]
    template: str
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
    `S: ` (the receiving server) or `# ` (a remark). `timeline_cut`: only the newest thousand events
    are here.
    """

    timeline: list[dict[str, Any]]
    timeline_cut: bool = False


def timeline_entry(event: Event) -> dict[str, Any]:
    """Return the event as the timeline of its message shows it."""
    said = event.facts.get("conversation")
    conversation = {"conversation": said.split("\n")} if isinstance(said, str) else {}
    return {
        **event.facts,
        **conversation,
        "event": str(event.event),
        "time": event.time,
        "id": event.id,
    }


def view_with_timeline(record: MessageRecord, events: Iterable[Event]) -> MessageWithTimeline:
    """Return the message with its events, which come oldest first."""
    timeline = [timeline_entry(event) for event in events]
    return MessageWithTimeline(
        **MessageView.model_validate(record).model_dump(),
        timeline=timeline,
        timeline_cut=len(timeline) >= TIMELINE,
    )


@router.get("", summary="Search messages")
async def search(  # noqa: PLR0917 - FastAPI passes them by name
    token: Reader,
    messages: MessageStore,
    recipient: Annotated[
        str | None, Query(max_length=320, description="An address, or @domain.")
    ] = None,
    tag: SearchText = None,
    state: SearchText = None,
    envelope: SearchText = None,
    submission: SearchText = None,
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
    found = await messages.search(
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


@router.get("/{message_id}", summary="One message")
async def one(
    message_id: str, token: Reader, history: HistoryOf, events: EventStore
) -> MessageWithTimeline:
    """With its timeline."""
    record = await history.find(token.account, message_id)
    return view_with_timeline(record, await events.timeline(message_id))
