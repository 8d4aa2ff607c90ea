"""The first page: numbers, charts, and the latest mail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from postroad_common.schemas.events import EventName
from postroad_common.store.database import Database
from postroad_ingress_http.dashboard.charts import Period, Series, bars
from postroad_ingress_http.dashboard.hooks import given_up
from postroad_ingress_http.dashboard.sessions import Session
from postroad_ingress_http.dashboard.site import Dashboard

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
_LATEST = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top."""

    label: str
    value: int
    note: str


def routes(dashboard: Dashboard) -> Sequence[BaseRoute]:
    """The pages of this module."""
    parts = dashboard.parts

    async def overview(request: Request, session: Session) -> Response:
        name = request.query_params.get("period", "day")
        seconds, step = _PERIODS.get(name, _PERIODS["day"])
        period = Period.until(parts.clock(), seconds, step)
        tag = request.query_params.get("tag", "")[:_TAG_LENGTH] if step == _DAY else ""
        counts = await _counts(parts.database, session.account, period, tag)
        sums = {event: period.sums(counts, event) for event in map(str, EventName)}
        first = f"{datetime.fromtimestamp(period.start, UTC):%Y-%m-%d}"
        latest = await parts.database.messages.search(session.account, limit=_LATEST)
        return dashboard.answer(
            request,
            "overview.html",
            period=name if name in _PERIODS else "day",
            periods=_LABELS,
            tiles=_tiles({event: sum(values) for event, values in sums.items()}),
            mail_chart=bars(
                "Mail over time", period, [Series(str(event), sums[event]) for event in _MAIL]
            ),
            reader_chart=bars(
                "Openings and clicks over time",
                period,
                [Series("opened", sums["opened"]), Series("clicked", sums["clicked"])],
            ),
            messages=latest,
            tag=tag,
            tags=await parts.database.rollups.tags(session.account, first) if step == _DAY else [],
            given_up=await given_up(parts.database, session.account),
        )

    return [dashboard.page("", overview)]


async def _counts(
    database: Database, account: str, period: Period, tag: str
) -> Mapping[tuple[int, str], int]:
    """The numbers by time and name: days out of the counters, hours out of the event log."""
    if period.step < _DAY:
        return await database.events.count_by_hour(account, period.start)
    start, end = (
        f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"
        for moment in (period.start, period.start + (period.count - 1) * period.step)
    )
    return {
        (int(datetime.fromisoformat(rollup.day).replace(tzinfo=UTC).timestamp()), name): number
        for rollup in await database.rollups.read(account, start, end, tag)
        for name, number in rollup.counts.items()
    }


def _tiles(totals: dict[str, int]) -> list[Tile]:
    accepted, delivered = totals["accepted"], totals["delivered"]
    lost = totals["failed"] + totals["bounced"]
    return [
        Tile("Accepted", accepted, "messages"),
        Tile("Delivered", delivered, _share(delivered, accepted, "of accepted")),
        Tile("Deferred", totals["deferred"], "attempts to repeat"),
        Tile("Lost", lost, _share(lost, accepted, "failed or bounced")),
        Tile("Opened", totals["opened"], "times"),
        Tile("Clicked", totals["clicked"], "times"),
    ]


def _share(part: int, whole: int, text: str) -> str:
    return f"{100 * part / whole:.1f} % {text}" if whole else ""
