"""What was refused, returned, complained about or suppressed: searched by why and how final."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.classification.explaining import Explanation
from postroad_common.mail.classification import Classification
from postroad_common.schemas.events import Bounced, Event, EventName
from postroad_common.store.events import Events
from postroad_common.store.indexes import FAULTS
from postroad_common.store.messages import MessageRecord
from postroad_ingress_http.dashboard.forms import told_at
from postroad_ingress_http.dashboard.timeline import reason
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import EventStore, HistoryOf, MessageStore
from postroad_ingress_http.history.addresses import read_address
from postroad_ingress_http.history.explaining import explain_all
from postroad_ingress_http.history.messages import MessageHistory
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.moments import read_moment
from postroad_ingress_http.http.paging import read_cursor, write_cursor

router = APIRouter(prefix="/dashboard/bounces", include_in_schema=False)
_PAGE = 40
_DAY = 86_400.0
_FILTERS = ("recipient", "event", "severity", "class", "start", "end")
_SEVERITIES = {"hard": True, "soft": False}
_OTHERWISE = {
    EventName.COMPLAINED: "The recipient called it spam.",
    EventName.SUPPRESSED: "It was not sent, as the address is suppressed.",
}


@dataclass(frozen=True, slots=True)
class FaultRow:
    """A line of the page; `severity` is hard or soft for bounces, else empty.

    `meaning` says in plain words what the `reason`, the words of the other side, comes to.
    """

    message: str
    recipient: str
    event: str
    severity: str
    bounce_class: str
    meaning: str
    reason: str
    time: float


@router.get("")
async def listing(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    messages: MessageStore,
    events: EventStore,
    history: HistoryOf,
) -> Response:
    """List what failed, bounced, was complained about or suppressed, newest first."""
    query = {name: request.query_params.get(name, "").strip()[:320] for name in _FILTERS}
    error: ApiError | None = None
    found: list[Event] = []
    try:
        found = await _found(request, session.account, query, events, history)
    except ApiError as refusal:
        if refusal.status != 400:
            raise
        error = refusal
    shown = found[:_PAGE]
    last = shown[-1] if len(found) > _PAGE else None
    records = await messages.find_many({event.message for event in shown})
    return pages.answer(
        "bounces.html",
        status=400 if error else 200,
        error=error,
        rows=_rows(shown, records, await explain_all(shown)),
        filter=query,
        searched=any(query.values()),
        events=FAULTS,
        severities=_SEVERITIES,
        classes=list(Classification),
        cursor=write_cursor(float(last.time), last.id) if last else None,
    )


async def _found(
    request: Request,
    account: str,
    query: Mapping[str, str],
    events: Events,
    history: MessageHistory,
) -> list[Event]:
    """Return a page of what fits, and one more.

    Raises:
        ApiError: 400, a filter or the cursor is wrong.
    """
    position = read_cursor(request.query_params.get("cursor"), float, str)
    severity = _chosen(query, "severity", _SEVERITIES)
    reason = _chosen(query, "class", list(Classification))
    bounces_only = severity or reason
    ids = None
    if query["recipient"]:
        with told_at("recipient"):
            recipient = read_address(query["recipient"])
        ids = await history.newest_ids(account, recipient, ())
    end = read_moment("end", query["end"])
    return await events.search(
        account,
        names=_names(_chosen(query, "event", FAULTS), bounces_only=bool(bounces_only)),
        message_ids=ids,
        bounce_class=reason or None,
        hard=_SEVERITIES[severity] if severity else None,
        start=read_moment("start", query["start"]),
        end=None if end is None else end + _DAY,
        before=(position[0], position[1]) if position else None,
        limit=_PAGE + 1,
    )


def _names(event: str, *, bounces_only: bool) -> Sequence[str]:
    """Return the events that are listed; only bounces have a class and are hard or soft."""
    if bounces_only:
        return [EventName.BOUNCED]
    return [event] if event else FAULTS


def _chosen(query: Mapping[str, str], name: str, known: Sequence[str] | Mapping[str, bool]) -> str:
    value = query[name]
    if value and value not in known:
        raise bad_field(name, f"One of {', '.join(known)}.")
    return value


def _rows(
    events: Sequence[Event],
    records: Mapping[str, MessageRecord],
    explained: Mapping[str, Explanation],
) -> list[FaultRow]:
    return [
        FaultRow(
            message=event.message,
            recipient=record.recipient if (record := records.get(event.message)) else "",
            event=str(event.event),
            severity=("hard" if event.data.hard else "soft") if isinstance(event, Bounced) else "",
            bounce_class=str(why.classification) if (why := explained.get(event.id)) else "",
            meaning=why.meaning if why else _OTHERWISE.get(event.event, ""),
            reason=reason(event),
            time=event.time,
        )
        for event in events
    ]
