"""`/v1/stats`: numbers per day and tag, kept as exact counters."""

from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel

from postroad_common.store.rollups import Rollup
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.errors import bad_field
from postroad_ingress_http.parts import Parts

DEFAULT_DAYS = 30
MOST_DAYS = 800
_COUNTS_TEXT = (
    "By event name; also `opened_unique`, `clicked_unique` (messages), `opened_machine`, "
    "`clicked_machine` (not in `opened` and `clicked`), `expired` (also in `failed`)."
)
Day = Annotated[str | None, Query(pattern=r"^\d{4}-\d\d-\d\d$", description="A date in UTC.")]


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


def total(rollups: list[Rollup]) -> dict[str, int]:
    """The sums by name."""
    sums: dict[str, int] = {}
    for rollup in rollups:
        for name, number in rollup.counts.items():
            sums[name] = sums.get(name, 0) + number
    return sums


def read_days(start: str | None, end: str | None, now: float) -> tuple[date, date]:
    """The first and the last day; by default the last 30 until today.

    Raises:
        ApiError: 400.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    last = _date("end", end) or today
    first = _date("start", start) or last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise bad_field("start", "It is after the end.")
    if (last - first).days >= MOST_DAYS:
        raise bad_field("start", f"At most {MOST_DAYS} days.")
    return first, last


def _date(field: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise bad_field(field, "There is no such date.") from None


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "messages:read")
    rollups = parts.database.rollups
    tags: list[str | Enum] = ["statistics"]

    @app.get(
        "/v1/stats", tags=tags, summary="Numbers per day", description=f"Exact. {_COUNTS_TEXT}"
    )
    async def stats(
        token: Annotated[Token, reading],
        tag: Annotated[str | None, Query(max_length=200, description="Left out: all mail.")] = None,
        start: Day = None,
        end: Day = None,
    ) -> StatsView:
        first, last = read_days(start, end, parts.clock())
        found = await rollups.read(token.account, str(first), str(last), tag or "")
        return StatsView(
            start=str(first),
            end=str(last),
            tag=tag or None,
            totals=total(found),
            days=[DayView(day=item.day, counts=dict(item.counts)) for item in found],
        )

    @app.get("/v1/stats/tags", tags=tags, summary="Tags with news")
    async def recent(token: Annotated[Token, reading], start: Day = None) -> list[str]:
        """Those with anything to tell since `start` (30 days ago), the most recent first."""
        first, _ = read_days(start, None, parts.clock())
        return await rollups.tags(token.account, str(first))
