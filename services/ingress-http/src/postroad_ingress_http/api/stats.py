"""`/v1/stats`: exact numbers per hour, day or week, of all mail or of a part of it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from postroad_common.store.rollups import Counts, Rollup
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import ClockOf, HourStore, RollupStore
from postroad_ingress_http.history.hourparts import Counters, parts_of_hours
from postroad_ingress_http.history.statistics import (
    groups_of_days,
    largest,
    read_days,
    read_subject,
    total,
)
from postroad_ingress_http.http.moments import read_moment

router = APIRouter(prefix="/v1/stats", tags=["statistics"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
_COUNTS_TEXT = (
    "By event name; also `opened_unique`, `clicked_unique` (messages), `opened_machine`, "
    "`clicked_machine` (not in `opened` and `clicked`), `expired` (also in `failed`), "
    "`deferred_unique` (messages; `deferred` are attempts), `bounced_hard` and `bounced_soft`. "
    "Of a receiving provider they begin with the first attempt: nothing of it is `accepted`. "
    "Hours are kept for 14 days."
)
Day = Annotated[
    str | None,
    Query(max_length=40, description="A date; or a time or Unix seconds, for the day (UTC) of it."),
]
Step = Literal["hour", "day", "week"]
Kind = Literal["tag", "login", "domain", "provider"]


@dataclass(frozen=True, slots=True)
class SubjectFields:
    """Whose numbers; one of them, or none for all mail. FastAPI fills them in."""

    tag: Annotated[str | None, Query(max_length=200, description="Left out: all mail.")] = None
    login: Annotated[
        str | None,
        Query(
            max_length=200,
            description="A user name, the id of a token, or `dashboard` for what its users send.",
        ),
    ] = None
    domain: Annotated[
        str | None, Query(max_length=255, description="The domain of the address in From.")
    ] = None
    provider: Annotated[
        str | None,
        Query(max_length=64, description="Who runs the receiving servers, or `other`."),
    ] = None


class DayView(BaseModel):
    """The numbers of one day (UTC), or of the week that begins with it."""

    day: str
    counts: dict[str, int]


class HourView(BaseModel):
    """The numbers of one hour (UTC), `2026-11-21T14`."""

    hour: str
    counts: dict[str, int]


class GroupView(BaseModel):
    """The numbers of one tag, login, domain or provider over the whole range."""

    name: str
    counts: dict[str, int]


class StatsView(BaseModel):
    """The numbers of a range of days. `hours` and `groups` are there where they were asked for."""

    start: str
    end: str
    tag: str | None
    totals: dict[str, int]
    days: list[DayView]
    login: str | None = None
    domain: str | None = None
    provider: str | None = None
    hours: list[HourView] | None = Field(None, exclude_if=lambda value: value is None)
    groups: list[GroupView] | None = Field(None, exclude_if=lambda value: value is None)


@router.get("", summary="Numbers per hour, day or week", description=f"Exact. {_COUNTS_TEXT}")
async def stats(  # noqa: PLR0917 - FastAPI passes them by name
    token: Reader,
    rollups: RollupStore,
    hours: HourStore,
    clock: ClockOf,
    fields: Annotated[SubjectFields, Depends()],
    start: Day = None,
    end: Day = None,
    step: Step = "day",
    by: Annotated[
        Kind | None, Query(description="Tells the sums of each as well, most mail first.")
    ] = None,
) -> StatsView:
    """Return the counters of each step and their sums."""
    first, last = read_days(_day("start", start), _day("end", end), clock())
    by_hour = step == "hour"
    subject = read_subject(asdict(fields), by_hour=by_hour)
    store = hours if by_hour else rollups
    of_range = (f"{first}T00", f"{last}T23") if by_hour else (str(first), str(last))
    found = await store.read(token.account, *of_range, *subject)
    grouped: Mapping[str, Counts] | None = None
    if by and by_hour:
        grouped = largest(
            await parts_of_hours(Counters(rollups, hours), token.account, by, *of_range)
        )
    elif by:
        grouped = await groups_of_days(rollups, token.account, by, *of_range)
    return StatsView(
        **asdict(fields),
        start=str(first),
        end=str(last),
        totals=total(found),
        days=[] if by_hour else [*(_weeks(found) if step == "week" else _days(found))],
        hours=[HourView(hour=item.day, counts=dict(item.counts)) for item in found]
        if by_hour
        else None,
        groups=[GroupView(name=name, counts=dict(counts)) for name, counts in grouped.items()]
        if grouped is not None
        else None,
    )


def _days(found: Iterable[Rollup]) -> Iterable[DayView]:
    return (DayView(day=item.day, counts=dict(item.counts)) for item in found)


def _weeks(found: Iterable[Rollup]) -> Iterable[DayView]:
    """Yield the sums of weeks, by their Mondays."""
    weeks: dict[date, list[Rollup]] = {}
    for item in found:
        day = date.fromisoformat(item.day)
        weeks.setdefault(day - timedelta(days=day.weekday()), []).append(item)
    return (DayView(day=str(day), counts=total(items)) for day, items in weeks.items())


@router.get("/tags", summary="Tags with news")
async def recent(
    token: Reader, rollups: RollupStore, clock: ClockOf, start: Day = None
) -> list[str]:
    """Those with anything to tell since `start` (30 days ago), the most recent first."""
    first, _ = read_days(_day("start", start), None, clock())
    return await rollups.by_tag.names(token.account, str(first))


def _day(field: str, text: str | None) -> str | None:
    """Return the date (UTC) of a moment in a query.

    Raises:
        ApiError: 400.
    """
    seconds = read_moment(field, text)
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
