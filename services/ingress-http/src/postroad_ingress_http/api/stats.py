"""`/v1/stats`: numbers per day and tag, kept as exact counters."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import ClockOf, RollupStore
from postroad_ingress_http.history.statistics import read_days, total
from postroad_ingress_http.http.moments import read_moment

router = APIRouter(prefix="/v1/stats", tags=["statistics"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
_COUNTS_TEXT = (
    "By event name; also `opened_unique`, `clicked_unique` (messages), `opened_machine`, "
    "`clicked_machine` (not in `opened` and `clicked`), `expired` (also in `failed`), "
    "`deferred_unique` (messages; `deferred` are attempts), `bounced_hard` and `bounced_soft`."
)
Day = Annotated[
    str | None,
    Query(max_length=40, description="A date; or a time or Unix seconds, for the day (UTC) of it."),
]


class DayView(BaseModel):
    """The numbers of one day (UTC)."""

    day: str
    counts: dict[str, int]


class StatsView(BaseModel):
    """The numbers of a range of days, of all mail or of one tag."""

    start: str
    end: str
    tag: str | None
    totals: dict[str, int]
    days: list[DayView]


@router.get("", summary="Numbers per day", description=f"Exact. {_COUNTS_TEXT}")
async def stats(  # noqa: PLR0917 - FastAPI passes them by name
    token: Reader,
    rollups: RollupStore,
    clock: ClockOf,
    tag: Annotated[str | None, Query(max_length=200, description="Left out: all mail.")] = None,
    start: Day = None,
    end: Day = None,
) -> StatsView:
    """Return the counters of each day and their sums."""
    first, last = read_days(_day("start", start), _day("end", end), clock())
    found = await rollups.read(token.account, str(first), str(last), tag or "")
    return StatsView(
        start=str(first),
        end=str(last),
        tag=tag or None,
        totals=total(found),
        days=[DayView(day=item.day, counts=dict(item.counts)) for item in found],
    )


@router.get("/tags", summary="Tags with news")
async def recent(
    token: Reader, rollups: RollupStore, clock: ClockOf, start: Day = None
) -> list[str]:
    """Those with anything to tell since `start` (30 days ago), the most recent first."""
    first, _ = read_days(_day("start", start), None, clock())
    return await rollups.tags(token.account, str(first))


def _day(field: str, text: str | None) -> str | None:
    """Return the date (UTC) of a moment in a query.

    Raises:
        ApiError: 400.
    """
    seconds = read_moment(field, text)
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
