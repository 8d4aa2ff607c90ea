"""All mail of a period divided by receiving provider, login, sender domain or tag."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from markupsafe import Markup

from postroad_common.store.rollupparts import PROVIDER, TAG
from postroad_common.store.rollups import Counts
from postroad_ingress_http.dashboard.charts import Chart, Series
from postroad_ingress_http.dashboard.figures import Counted, share
from postroad_ingress_http.dashboard.periods import HOUR, Period
from postroad_ingress_http.dashboard.subjects import HEADINGS, Labels, days_of
from postroad_ingress_http.history.hourparts import Counters, parts_of_hours
from postroad_ingress_http.history.statistics import sums_of_parts

MOST_ROWS = 50
_STACKED = 4
_OTHERS = "all others"
_OTHER_MAIL = "all other mail"
Values = Mapping[str, Mapping[str, int]]
"""One number by day or hour, and by the name of the part; that of all others has none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: `cells` stand under the columns of the breakdown."""

    name: str
    label: str
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A stacked chart and a table. `more` parts have no line of their own; `note` is of both."""

    kind: str
    heading: str
    columns: Sequence[str]
    rows: Sequence[Row]
    more: int
    title: str
    chart: Markup
    note: str


async def break_down(
    counters: Counters,
    account: str,
    kind: str,
    period: Period,
    whole: Counted,
    *,
    zone: tzinfo,
    labels: Labels,
) -> Breakdown:
    """Return the mail of a period by parts of a kind, those with most mail first.

    `whole` are the numbers of all mail. What it has more than the tags that are shown is other
    mail, with other tags or none; a message with several tags is in each of them.
    """
    measure = "delivered" if kind == PROVIDER else "accepted"
    sums, days = await _divide(counters, account, kind, period, measure)
    title = f"{measure.capitalize()} by {HEADINGS[kind].lower()}"
    if kind == TAG:
        series = _series_of_tags(days, _shown(list(sums)), period, whole, measure)
    else:
        series = _series(days, _shown(list(sums)), period)
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
        note="A message with several tags counts for each of them." if kind == TAG else "",
    )


async def _divide(
    counters: Counters, account: str, kind: str, period: Period, measure: str
) -> tuple[Mapping[str, Counts], Values]:
    """Return the sums of the parts, and one number of those that are shown by day or hour."""
    first, last = days_of(period)
    if period.step == HOUR:
        found = await parts_of_hours(counters, account, kind, first, last)
        sums = sums_of_parts(found, _SUMMED)
        shown = _shown(list(sums))
        days = await counters.hours.largest(account, first, last, kind, what=measure, names=shown)
        return sums, days
    if kind == TAG:
        by_tag = await counters.days.by_tag.largest(account, first, last, _NUMBERS, MOST_ROWS)
        shown = _shown(list(by_tag))
        return by_tag, await counters.days.by_tag.days(account, first, last, shown, measure)
    divided = await counters.days.parts(account, first, last, kind)
    sums = sums_of_parts(divided.values(), _SUMMED)
    return sums, {
        day: {name: counts.get(measure, 0) for name, counts in parts.items()}
        for day, parts in divided.items()
    }


def _shown(names: Sequence[str]) -> Sequence[str]:
    """Return the parts that the chart shows apart: one alone is not worth to be called others."""
    return names if len(names) == _STACKED + 1 else names[:_STACKED]


def _series(days: Values, shown: Sequence[str], period: Period) -> list[tuple[str, Sequence[int]]]:
    """Return the values of the parts shown over time, and of all others together."""
    counts: dict[tuple[int, str], int] = {}
    for day, values in days.items():
        moment = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
        for name, number in values.items():
            key = moment, name if name in shown else _OTHERS
            counts[key] = counts.get(key, 0) + number
    others = any(name == _OTHERS and number for (_, name), number in counts.items())
    sums = period.sums(counts)
    return [(name, sums[name]) for name in (*shown, *((_OTHERS,) if others else ()))]


def _series_of_tags(
    days: Values, shown: Sequence[str], period: Period, whole: Counted, measure: str
) -> list[tuple[str, Sequence[int]]]:
    """Return the values of the tags shown, and what there is beside them of all mail."""
    known = {day: {name: values.get(name, 0) for name in shown} for day, values in days.items()}
    series = _series(known, shown, period)
    if not series:
        return []
    rest = [
        max(0, number - sum(values[bucket] for _, values in series))
        for bucket, number in enumerate(period.sums(whole)[measure])
    ]
    return [*series, *([(_OTHER_MAIL, rest)] if any(rest) else ())]


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
