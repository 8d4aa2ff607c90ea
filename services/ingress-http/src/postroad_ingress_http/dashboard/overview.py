"""The first page: numbers, charts, and the latest mail."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.schemas.events import EventName
from postroad_common.store.rollups import Rollups
from postroad_ingress_http.dashboard.charts import Period, Series, bars
from postroad_ingress_http.dashboard.firststeps import StepsLeft
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import (
    ClockOf,
    HooksOf,
    HourStore,
    MessageStore,
    RollupStore,
)

router = APIRouter(prefix="/dashboard", include_in_schema=False)
_HOUR, _DAY = 3600, 86_400
_PERIODS = {
    "day": (_DAY, _HOUR),
    "week": (7 * _DAY, _DAY),
    "month": (30 * _DAY, _DAY),
    "quarter": (90 * _DAY, _DAY),
}
_LABELS = (("day", "24 hours"), ("week", "7 days"), ("month", "30 days"), ("quarter", "90 days"))
_TAG_LENGTH = 200
_MAIL = (EventName.ACCEPTED, EventName.DELIVERED, EventName.DEFERRED, EventName.FAILED)
_SHOWN = frozenset(
    {
        *map(str, EventName),
        "deferred_unique",
        "bounced_hard",
        "bounced_soft",
        *(f"{name}_{who}" for name in ("opened", "clicked") for who in ("unique", "machine")),
    }
)
_LATEST = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top."""

    label: str
    value: int
    note: str


@router.get("")
async def overview(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    messages: MessageStore,
    rollups: RollupStore,
    hours: HourStore,
    hooks: HooksOf,
    clock: ClockOf,
    steps: StepsLeft,
) -> Response:
    """Show the numbers of a period, its charts, and the latest mail."""
    name = request.query_params.get("period", "day")
    seconds, step = _PERIODS.get(name, _PERIODS["day"])
    period = Period.until(clock(), seconds, step)
    by_day = step == _DAY
    tag = request.query_params.get("tag", "")[:_TAG_LENGTH] if by_day else ""
    counts = await _count(rollups if by_day else hours, session.account, period, tag)
    sums = {name: period.sums(counts, name) for name in {name for _, name in counts} | _SHOWN}
    first = f"{datetime.fromtimestamp(period.start, UTC):%Y-%m-%d}"
    return pages.answer(
        "overview.html",
        period=name if name in _PERIODS else "day",
        periods=_LABELS,
        tiles=_tiles({name: sum(values) for name, values in sums.items()}),
        mail_chart=bars(
            "Mail over time", period, [Series(str(event), sums[event]) for event in _MAIL]
        ),
        reader_chart=bars(
            "Opens and clicks over time",
            period,
            [Series("opened", sums["opened"]), Series("clicked", sums["clicked"])],
        ),
        messages=await messages.search(session.account, limit=_LATEST),
        tag=tag,
        tags=await rollups.tags(session.account, first) if by_day else [],
        first_steps=steps,
        given_up=await hooks.given_up(session.account),
    )


async def _count(
    rollups: Rollups, account: str, period: Period, tag: str
) -> Mapping[tuple[int, str], int]:
    """Return the numbers by the first second of their day or hour, and by name."""
    form = "%Y-%m-%d" if period.step == _DAY else "%Y-%m-%dT%H"
    start, end = (
        f"{datetime.fromtimestamp(moment, UTC):{form}}"
        for moment in (period.start, period.start + (period.count - 1) * period.step)
    )
    return {
        (int(datetime.fromisoformat(rollup.day).replace(tzinfo=UTC).timestamp()), name): number
        for rollup in await rollups.read(account, start, end, tag)
        for name, number in rollup.counts.items()
    }


def _tiles(totals: Mapping[str, int]) -> list[Tile]:
    accepted, delivered = totals["accepted"], totals["delivered"]
    failed = totals["failed"]
    hard, soft = totals["bounced_hard"], totals["bounced_soft"]
    bounced = totals["bounced"]
    return [
        Tile("Accepted", accepted, "messages"),
        Tile("Delivered", delivered, _share(delivered, accepted, "of accepted")),
        Tile("Deferred", totals["deferred_unique"], f"messages; {totals['deferred']:,} attempts"),
        Tile("Failed", failed, _share(failed, accepted, "of accepted")),
        Tile("Bounced", bounced, f"{hard:,} hard, {soft:,} soft"),
        Tile(
            "Complained",
            totals["complained"],
            _share(totals["complained"], delivered, "of delivered"),
        ),
        Tile("Opened", totals["opened_unique"], _reactions(totals, "opened")),
        Tile("Clicked", totals["clicked_unique"], _reactions(totals, "clicked")),
    ]


def _reactions(totals: Mapping[str, int], name: str) -> str:
    return f"messages; {totals[name]:,} times, and {totals[f'{name}_machine']:,} by machines"


def _share(part: int, whole: int, text: str) -> str:
    return f"{100 * part / whole:.1f} % {text}" if whole else ""
