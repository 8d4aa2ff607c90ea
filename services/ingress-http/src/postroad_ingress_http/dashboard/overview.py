"""The first page: what needs attention, numbers and charts, and the latest mail."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from postroad_ingress_http.access.scopes import allows
from postroad_ingress_http.dashboard import operator_troubles, times, troubles
from postroad_ingress_http.dashboard.figures import read_counts, tiles
from postroad_ingress_http.dashboard.firststeps import StepsLeft
from postroad_ingress_http.dashboard.periods import DAY, HOUR, PERIODS, PeriodChoice
from postroad_ingress_http.dashboard.pictures import MAIL, REACTIONS, pictures
from postroad_ingress_http.dashboard.subjects import choices, labels_of, read_subject
from postroad_ingress_http.dashboard.troubles import AccountSources, Trouble
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import (
    CallsOf,
    ClockOf,
    CredentialStore,
    DomainsOf,
    EventStore,
    HooksOf,
    HourStore,
    LanesOf,
    MessageStore,
    QueuesOf,
    RollupStore,
    TokenStore,
)

router = APIRouter(prefix="/dashboard", include_in_schema=False)
_LATEST = 8


async def _account_sources(  # noqa: PLR0917 - FastAPI passes them by name
    hooks: HooksOf,
    calls: CallsOf,
    domains: DomainsOf,
    messages: MessageStore,
    rollups: RollupStore,
    events: EventStore,
) -> AccountSources:
    return AccountSources(hooks, calls, domains, messages, rollups, events)


async def _troubles(
    session: SignedIn,
    sources: Annotated[AccountSources, Depends(_account_sources)],
    lanes: LanesOf,
    queues: QueuesOf,
    clock: ClockOf,
) -> list[Trouble]:
    """Return what the visitor may see of what needs attention."""
    found = troubles.of_account(session.account, sources, clock())
    if not allows(session.scopes, "lanes:read"):
        return await found
    return await troubles.gathered(found, operator_troubles.of_installation(lanes, queues))


@router.get("")
async def overview(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    messages: MessageStore,
    rollups: RollupStore,
    hours: HourStore,
    credentials: CredentialStore,
    tokens: TokenStore,
    found: Annotated[list[Trouble], Depends(_troubles)],
    clock: ClockOf,
    steps: StepsLeft,
) -> Response:
    """Show what needs attention, the numbers of a period, its charts, and the latest mail."""
    chosen = PeriodChoice.read(request.query_params)
    period = chosen.period(clock())
    by_hour = period.step == HOUR
    store = hours if by_hour else rollups
    subject = read_subject(request.query_params, by_hour=by_hour)
    labels = await labels_of(session.account, credentials, tokens)
    counts, latest, offered = await asyncio.gather(
        read_counts(store, session.account, period, subject),
        messages.search(session.account, limit=_LATEST),
        choices(session.account, rollups, period, subject, labels),
    )
    return pages.answer(
        "overview.html",
        chosen=chosen,
        periods=[(name, label) for name, (label, _, _) in PERIODS.items()],
        tiles=tiles(counts, period, subject),
        charts=pictures(counts, period, times.zone_of(request.cookies), MAIL, REACTIONS),
        days=period.step >= DAY,
        messages=latest,
        choices=offered,
        first_steps=steps,
        troubles=found,
    )
