"""`/v1/addresses/{address}`: what is stored about one address, shown or erased (GDPR)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from postroad_common.store.strikes import DAY
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.api.messages import MessageWithTimeline, view_with_timeline
from postroad_ingress_http.api.suppressions import SuppressionView
from postroad_ingress_http.dependencies import (
    AuditOf,
    EventStore,
    HistoryOf,
    MessageStore,
    PrivacyStore,
    SchedulingOf,
    StrikeStore,
    SuppressionStore,
)
from postroad_ingress_http.history.addresses import exact_address, read_address
from postroad_ingress_http.http.paging import Cursor, read_cursor, write_cursor

router = APIRouter(prefix="/v1/addresses", tags=["addresses"], responses=REFUSALS)
Reader = Annotated[Token, needs("addresses:read")]
Writer = Annotated[Token, needs("addresses")]
PAGE = 50
"""Messages in one answer of an export."""
ERASED_AT_ONCE = 100
ROUNDS = 10
"""One request erases at most a thousand messages."""


class ExportedMessage(MessageWithTimeline):
    """A message; `content` is the path of its source, where its content is still kept."""

    content: str | None = None


class AddressView(BaseModel):
    """What is stored. `soft_bounces` are the days (Unix seconds) of its soft bounces."""

    address: str
    suppression: SuppressionView | None
    soft_bounces: list[float]
    messages: list[ExportedMessage]
    cursor: str | None = None


class ErasedView(BaseModel):
    """What this request has erased. `complete: false`: ask again for the rest."""

    address: str
    messages: int
    events: int
    suppression: bool
    complete: bool


@router.get("/{address:path}", summary="Export what is stored")
async def export(  # noqa: PLR0917 - FastAPI passes them by name
    address: str,
    token: Reader,
    privacy: PrivacyStore,
    messages: MessageStore,
    events: EventStore,
    suppressions: SuppressionStore,
    strikes: StrikeStore,
    history: HistoryOf,
    cursor: Cursor = None,
) -> AddressView:
    """Its suppression, its soft bounces, and messages with all their events, newest first."""
    exact, listed = exact_address(address), read_address(address)
    position = read_cursor(cursor, str)
    ids = await privacy.message_ids(
        token.account, exact, before=position[0] if position else None, limit=PAGE + 1
    )
    records = await messages.find_many(ids[:PAGE])
    kept = await history.kept(token.account, records.values())
    timelines = await events.timelines(records)
    shown: list[ExportedMessage] = []
    for record in (records[message_id] for message_id in ids[:PAGE] if message_id in records):
        view = view_with_timeline(record, timelines[record.id])
        content = f"/v1/messages/{record.id}/source" if record.submission in kept else None
        shown.append(ExportedMessage(**view.model_dump(), content=content))
    entry = await suppressions.get(token.account, listed)
    days = await strikes.days(token.account, listed)
    return AddressView(
        address=exact,
        suppression=SuppressionView.model_validate(entry) if entry else None,
        soft_bounces=[day * DAY for day in sorted(days)],
        messages=shown,
        cursor=write_cursor(ids[PAGE - 1]) if len(ids) > PAGE else None,
    )


@router.delete("/{address:path}", summary="Erase what is stored")
async def erase(  # noqa: PLR0917 - FastAPI passes them by name
    address: str,
    token: Writer,
    privacy: PrivacyStore,
    suppressions: SuppressionStore,
    strikes: StrikeStore,
    scheduling: SchedulingOf,
    audit: AuditOf,
    keep_suppression: Annotated[  # noqa: FBT002 - a query parameter
        bool, Query(description="Go on sending nothing there, which keeps the address.")
    ] = False,
) -> ErasedView:
    """Erase the address; its messages stay in the statistics, without naming it."""
    exact, listed = exact_address(address), read_address(address)
    totals: dict[str, Any] = {"messages": 0, "events": 0}
    complete = False
    for _ in range(ROUNDS):
        done = await privacy.erase(token.account, exact, limit=ERASED_AT_ONCE)
        totals["messages"] += done.messages
        totals["events"] += done.events
        complete = not done.more
        if complete:
            break
    spellings = list(dict.fromkeys((address, exact, listed, exact.lower())))
    await scheduling.forget(token.account, spellings, token.id)
    await strikes.clear(token.account, listed)
    removed = False
    if not keep_suppression:
        removed = await suppressions.remove(token.account, listed)
    await audit.erase(token.account, listed)
    return ErasedView(address=exact, suppression=removed, complete=complete, **totals)
