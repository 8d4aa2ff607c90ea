"""Lists of messages, and of what came back of them; one message is in `message`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.mail.identifiers import is_id
from postroad_common.schemas.events import Event
from postroad_common.store.messages import RANKS, MessageRecord
from postroad_ingress_http.dashboard import texts
from postroad_ingress_http.dashboard.forms import see_other
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import EventStore, MessageStore
from postroad_ingress_http.http.moments import read_moment
from postroad_ingress_http.http.paging import read_cursor, write_cursor

router = APIRouter(prefix="/dashboard", include_in_schema=False)
_PAGE = 40
_FAULTS = ("bounced", "failed", "complained", "suppressed")
_FILTERS = ("recipient", "id", "tag", "state", "start", "end")


@dataclass(frozen=True, slots=True)
class FaultRow:
    """A line of the page of bounces."""

    message: str
    recipient: str
    event: str
    reason: str
    time: float


@router.get("/messages")
async def search(
    request: Request, session: SignedIn, pages: PagesOf, messages: MessageStore
) -> Response:
    """List the messages that the filters leave, newest first."""
    query = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    if is_id(query["id"]):
        return see_other(f"/dashboard/messages/{query['id']}")
    position = read_cursor(request.query_params.get("cursor"), str)
    found = await messages.search(
        session.account,
        recipient=query["recipient"] or None,
        tag=query["tag"] or None,
        state=query["state"] if query["state"] in RANKS else None,
        start=read_moment("start", query["start"]),
        end=read_moment("end", query["end"]),
        before=position[0] if position else None,
        limit=_PAGE + 1,
    )
    return pages.answer(
        "messages.html",
        messages=found[:_PAGE],
        filter=query,
        states=list(RANKS),
        cursor=write_cursor(found[_PAGE - 1].id) if len(found) > _PAGE else None,
    )


@router.get("/bounces")
async def bounces(
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    messages: MessageStore,
    events: EventStore,
) -> Response:
    """List what failed, bounced, was complained about or suppressed, newest first."""
    position = read_cursor(request.query_params.get("cursor"), float, str)
    found = await events.search(
        session.account,
        names=_FAULTS,
        before=(position[0], position[1]) if position else None,
        limit=_PAGE + 1,
    )
    shown = found[:_PAGE]
    last = shown[-1] if len(found) > _PAGE else None
    records = await messages.find_many({event.message for event in shown})
    return pages.answer(
        "bounces.html",
        rows=_rows(shown, records),
        cursor=write_cursor(float(last.time), last.id) if last else None,
    )


def _rows(events: Sequence[Event], records: Mapping[str, MessageRecord]) -> list[FaultRow]:
    return [
        FaultRow(
            message=event.message,
            recipient=record.recipient if (record := records.get(event.message)) else "",
            event=str(event.event),
            reason=texts.reason(event),
            time=event.time,
        )
        for event in events
    ]
