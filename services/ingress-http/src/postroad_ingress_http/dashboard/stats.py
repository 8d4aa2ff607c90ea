"""Statistics: every chart of a period, and its mail by provider, login, sender domain and tag."""

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.store.rollupparts import PROVIDER, TAG
from postroad_ingress_http.dashboard import times
from postroad_ingress_http.dashboard.breakdown import break_down
from postroad_ingress_http.dashboard.figures import read_counts, tiles
from postroad_ingress_http.dashboard.periods import DAY, HOUR, PERIODS, PeriodChoice
from postroad_ingress_http.dashboard.pictures import MAIL, REACTIONS, RETURNS, pictures
from postroad_ingress_http.dashboard.subjects import HEADINGS, choices, labels_of, read_subject
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import (
    ClockOf,
    CredentialStore,
    HourStore,
    RollupStore,
    TokenStore,
)
from postroad_ingress_http.history.hourparts import Counters
from postroad_ingress_http.history.statistics import Subject

router = APIRouter(prefix="/dashboard/stats", include_in_schema=False)


@router.get("")
async def page(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    rollups: RollupStore,
    hours: HourStore,
    credentials: CredentialStore,
    tokens: TokenStore,
    clock: ClockOf,
) -> Response:
    """Show the charts of all mail or of a part of it, and all mail divided into parts."""
    query = request.query_params
    chosen = PeriodChoice.read({"period": "month", **query})
    period = chosen.period(clock())
    by_hour = period.step == HOUR
    store = hours if by_hour else rollups
    subject = read_subject(query, by_hour=by_hour)
    kind = query.get("parts", "")
    kind = kind if kind in HEADINGS else PROVIDER
    zone = times.zone_of(request.cookies)
    labels = await labels_of(session.account, credentials, tokens)
    counts = await read_counts(store, session.account, period, subject)
    whole = counts
    if kind == TAG and subject.kind:
        whole = await read_counts(store, session.account, period, Subject())
    counters = Counters(rollups, hours)
    offered, parts = await asyncio.gather(
        choices(session.account, rollups, period, subject, labels),
        break_down(counters, session.account, kind, period, whole, zone=zone, labels=labels),
    )
    return pages.answer(
        "stats.html",
        chosen=chosen,
        periods=[(name, label) for name, (label, _, _) in PERIODS.items()],
        tiles=tiles(counts, period, subject),
        charts=pictures(counts, period, zone, MAIL, REACTIONS, RETURNS),
        days=period.step >= DAY,
        choices=offered,
        kinds=HEADINGS,
        breakdown=parts,
    )
