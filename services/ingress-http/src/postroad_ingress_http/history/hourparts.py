"""Sums of the parts of all mail over a range of hours, read from few documents.

An hour has up to 200 parts of a kind with all their numbers. Their sums over a day are in its own
counters, which are read instead wherever they are of the very same mail: the hours of the day add
up to what the day has. So they do not where the range begins or ends within the day, where hours
are no longer kept, where the day was counted by a version without tags as parts, or where a batch
is being added just now. Then the hours of that day are read.
"""

from collections.abc import Mapping
from typing import NamedTuple

from postroad_common.store.rollups import Counts, Divided, Rollups
from postroad_ingress_http.history.statistics import add

_DAY = len("2026-11-21")


class Counters(NamedTuple):
    """The counters of days and those of hours."""

    days: Rollups
    hours: Rollups


async def parts_of_hours(
    counters: Counters, account: str, kind: str, first: str, last: str
) -> list[Mapping[str, Counts]]:
    """Return numbers by part that add up to those of the hours from `first` to `last`.

    Parts without numbers are there as well.
    """
    found: dict[str, dict[str, Counts]] = {}
    for hour in await counters.hours.read(account, first, last):
        found.setdefault(hour.day[:_DAY], {})[hour.day] = hour.counts
    of_days = await counters.days.divided(account, list(found), kind)
    same = [day for day, counts in found.items() if _is_sum(of_days.get(day), counts)]
    others = [hour for day, counts in found.items() if day not in same for hour in counts]
    of_hours = await counters.hours.divided(account, others, kind) if others else {}
    return [of_days[day].parts for day in same] + [hour.parts for hour in of_hours.values()]


def _is_sum(day: Divided | None, hours: Mapping[str, Counts]) -> bool:
    """Tell whether a day has the numbers of these hours and of no others."""
    sums = _some(add(hours.values()))
    return day is not None and bool(sums) and _some(day.whole) == sums


def _some(counts: Counts) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}
