"""Statistics: every chart of a period, and the tags beside each other."""

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_ingress_http.dashboard import times
from postroad_ingress_http.dashboard.figures import OF_TAGS, read_counts, tag_row, tiles
from postroad_ingress_http.dashboard.overview import TAG_LENGTH
from postroad_ingress_http.dashboard.periods import DAY, HOUR, PERIODS, PeriodChoice
from postroad_ingress_http.dashboard.pictures import MAIL, REACTIONS, RETURNS, pictures
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import ClockOf, HourStore, RollupStore

router = APIRouter(prefix="/dashboard/stats", include_in_schema=False)
_TAGS = 50


@router.get("")
async def page(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    rollups: RollupStore,
    hours: HourStore,
    clock: ClockOf,
) -> Response:
    """Show the charts of all mail or of one tag, and the rates of each tag."""
    chosen = PeriodChoice.read({"period": "month", **request.query_params})
    period = chosen.period(clock())
    by_hour = period.step == HOUR
    tag = "" if by_hour else request.query_params.get("tag", "")[:TAG_LENGTH]
    zone = times.zone_of(request.cookies)
    first = f"{datetime.fromtimestamp(period.start, UTC):%Y-%m-%d}"
    counts, by_tag = await asyncio.gather(
        read_counts(hours if by_hour else rollups, session.account, period, tag),
        rollups.by_tag(session.account, first, OF_TAGS, _TAGS),
    )
    return pages.answer(
        "stats.html",
        chosen=chosen,
        periods=[(name, label) for name, (label, _, _) in PERIODS.items()],
        tiles=tiles(counts, period),
        charts=pictures(counts, period, zone, MAIL, REACTIONS, RETURNS),
        days=period.step >= DAY,
        tag=tag,
        tags=[] if by_hour else sorted(by_tag),
        rows=[tag_row(name, found) for name, found in by_tag.items()],
        first=first,
    )
