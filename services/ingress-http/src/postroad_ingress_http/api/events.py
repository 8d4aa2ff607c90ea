"""`/v1/events`: what happened to mail."""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from postroad_common.schemas.events import Event, EventName
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import EventStore, HistoryOf
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

router = APIRouter(prefix="/v1/events", tags=["events"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]


class EventView(BaseModel):
    """One event."""

    event: str
    message: str
    time: float
    data: dict[str, Any]


def view_event(event: Event) -> EventView:
    """Return the event outside a timeline, and so without the conversation."""
    data = {name: value for name, value in event.facts.items() if name != "conversation"}
    return EventView(event=str(event.event), message=event.message, time=event.time, data=data)


@router.get("", summary="Search events")
async def search(  # noqa: PLR0917 - FastAPI passes them by name
    token: Reader,
    events: EventStore,
    history: HistoryOf,
    event: Annotated[list[str] | None, Query(description="Names; may be repeated.")] = None,
    message: SearchText = None,
    recipient: SearchText = None,
    tag: SearchText = None,
    start: Moment = None,
    end: Moment = None,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[EventView]:
    """Newest first."""
    names = _event_names(event or [])
    ids = [message] if message else await history.newest_ids(token.account, recipient, [tag])
    position = read_cursor(cursor, float, str)
    found = await events.search(
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


def _event_names(names: Iterable[str]) -> list[str]:
    known = {str(name) for name in EventName}
    for name in names:
        if name not in known:
            raise bad_field("event", f"One of {', '.join(sorted(known))}.")
    return list(names)
