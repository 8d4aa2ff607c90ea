"""All mail of a period divided by receiving provider, login, sender domain or tag."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from markupsafe import Markup

from postroad_common.store.rollupparts import PROVIDER, TAG
from postroad_common.store.rollups import Counts, Rollups
from postroad_ingress_http.dashboard.charts import Chart, Series
from postroad_ingress_http.dashboard.figures import share
from postroad_ingress_http.dashboard.periods import DAY, Period
from postroad_ingress_http.dashboard.subjects import HEADINGS, Labels, days_of
from postroad_ingress_http.history.statistics import sums_of_parts

MOST_ROWS = 50
_STACKED = 4
_OTHERS = "all others"
Days = Mapping[str, Mapping[str, Counts]]
"""Numbers by day or hour, and by the name of the part."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: `cells` stand under the columns of the breakdown."""

    name: str
    label: str
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A stacked chart and a table. `more` parts have no line of their own."""

    kind: str
    heading: str
    columns: Sequence[str]
    rows: Sequence[Row]
    more: int
    title: str
    chart: Markup


async def break_down(
    rollups: Rollups, account: str, kind: str, period: Period, *, zone: tzinfo, labels: Labels
) -> Breakdown:
    """Return the mail of a period by parts of a kind, those with most mail first."""
    first, last = days_of(period)
    sums: Mapping[str, Counts]
    if kind == TAG and period.step >= DAY:
        sums = await rollups.by_tag(account, first, last, _NUMBERS, MOST_ROWS)
        days = await _days_of_tags(rollups, account, list(sums)[:_STACKED], (first, last))
    else:
        days = await rollups.parts(account, first, last, kind)
        sums = sums_of_parts(days.values(), _SUMMED)
    measure = "delivered" if kind == PROVIDER else "accepted"
    title = f"{measure.capitalize()} by {HEADINGS[kind].lower()}"
    series = _series(days, list(sums), measure, period)
    named = [Series(labels.of(kind, name), values) for name, values in series]
    return Breakdown(
        kind=kind,
        heading=HEADINGS[kind],
        columns=_COLUMNS_OF_PROVIDERS if kind == PROVIDER else _COLUMNS,
        rows=[
            Row(name, labels.of(kind, name), _cells(kind, counts))
            for name, counts in list(sums.items())[:MOST_ROWS]
        ],
        more=max(0, len(sums) - MOST_ROWS),
        title=title,
        chart=Chart(f"{title} over time", period, named, zone).html() if named else Markup(),
    )


async def _days_of_tags(
    rollups: Rollups, account: str, tags: Sequence[str], span: tuple[str, str]
) -> Days:
    days: dict[str, dict[str, Counts]] = {}
    for tag in tags:
        for found in await rollups.read(account, *span, tag):
            days.setdefault(found.day, {})[tag] = found.counts
    return days


def _series(
    days: Days, names: Sequence[str], measure: str, period: Period
) -> list[tuple[str, Sequence[int]]]:
    """Return the values of the largest parts over time, and of all others together."""
    shown = list(names[:_STACKED])
    if len(names) == _STACKED + 1:
        shown = list(names)
    counts: dict[tuple[int, str], int] = {}
    for day, parts in days.items():
        moment = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
        for name, numbers in parts.items():
            key = moment, name if name in shown else _OTHERS
            counts[key] = counts.get(key, 0) + numbers.get(measure, 0)
    if any(name == _OTHERS and number for (_, name), number in counts.items()):
        shown.append(_OTHERS)
    sums = period.sums(counts)
    return [(name, sums[name]) for name in shown]


_NUMBERS = ("delivered", "bounced", "complained", "opened_unique", "clicked_unique")
_SUMMED = ("accepted", "failed", "deferred_unique", *_NUMBERS)
_RATES = ("Bounced, of delivered", "Complained, of delivered", "Opened, of delivered",
          "Clicked, of delivered")  # fmt: skip
_COLUMNS = ("Accepted", "Delivered, of accepted", *_RATES)
_COLUMNS_OF_PROVIDERS = ("Delivered", "Failed", "Deferred", *_RATES)


def _cells(kind: str, counts: Counts) -> list[str]:
    """Return the figures of a line; rates are of delivered messages, that of delivery of accepted.

    Before the first attempt nobody knows who receives, so providers have no share of accepted.
    """
    delivered = counts.get("delivered", 0)
    if kind == PROVIDER:
        numbers = (delivered, counts.get("failed", 0), counts.get("deferred_unique", 0))
        first = [f"{number:,}" for number in numbers]
    else:
        accepted = counts.get("accepted", 0)
        first = [f"{accepted:,}", share(delivered, accepted, "")]
    rates = (("bounced", 1), ("complained", 2), ("opened_unique", 1), ("clicked_unique", 1))
    return first + [share(counts.get(name, 0), delivered, "", digits) for name, digits in rates]
