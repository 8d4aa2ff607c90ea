"""Periods of charts: how far back, in which steps, and the period before, for comparison."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

HOUR, DAY, WEEK = 3600, 86_400, 7 * 86_400
_MONDAY = 4 * DAY  # the first one after 1970 began
STEPS = {"hour": HOUR, "day": DAY, "week": WEEK}
PERIODS: Mapping[str, tuple[str, int, tuple[str, ...]]] = {
    "day": ("24 hours", DAY, ("hour",)),
    "week": ("7 days", WEEK, ("day", "hour")),
    "month": ("30 days", 30 * DAY, ("day", "week")),
    "quarter": ("90 days", 90 * DAY, ("week", "day")),
    "year": ("A year", 52 * WEEK, ("week",)),
}
"""By name: what it is called, its seconds, and its steps, the usual one first."""


@dataclass(frozen=True, slots=True)
class Period:
    """Buckets of equal length: from `start` (Unix seconds) on, `count` times `step` seconds."""

    start: int
    step: int
    count: int

    @classmethod
    def until(cls, now: float, seconds: int, step: int) -> "Period":
        """Return the buckets that cover the `seconds` before `now`, the last one holding `now`."""
        origin = _MONDAY if step == WEEK else 0
        last = (int(now) - origin) // step * step + origin
        count = -(-seconds // step)
        return cls(last - (count - 1) * step, step, count)

    @property
    def end(self) -> int:
        """The first second after it."""
        return self.start + self.count * self.step

    @property
    def before(self) -> "Period":
        """The period of the same length that ends where this one begins."""
        return replace(self, start=self.start - self.count * self.step)

    def sums(self, counts: Mapping[tuple[int, str], int]) -> Mapping[str, list[int]]:
        """Return the numbers in each bucket by name; `counts` has them by hour and name."""
        values: defaultdict[str, list[int]] = defaultdict(lambda: [0] * self.count)
        for (moment, name), number in counts.items():
            bucket = (moment - self.start) // self.step
            if 0 <= bucket < self.count:
                values[name][bucket] += number
        return values

    def totals(self, counts: Mapping[tuple[int, str], int]) -> dict[str, int]:
        """Return the sums over the whole period by name."""
        sums: dict[str, int] = {}
        for (moment, name), number in counts.items():
            if self.start <= moment < self.end:
                sums[name] = sums.get(name, 0) + number
        return sums

    def label(self, bucket: int, zone: tzinfo = UTC) -> str:
        """Return the time of a bucket for people: hours in `zone`, days as they are in UTC."""
        moment = self.start + bucket * self.step
        if self.step >= DAY:
            return f"{datetime.fromtimestamp(moment, UTC):%d %b}"
        local = datetime.fromtimestamp(moment, zone)
        return f"{local:%a %H:%M}" if self.count > 48 else f"{local:%H:%M}"

    def name(self, bucket: int, zone: tzinfo = UTC) -> str:
        """Return the time of a bucket in full."""
        moment = self.start + bucket * self.step
        if self.step == WEEK:
            return f"week from {datetime.fromtimestamp(moment, UTC):%d %b %Y}"
        if self.step == DAY:
            return f"{datetime.fromtimestamp(moment, UTC):%a %d %b %Y}"
        return f"{datetime.fromtimestamp(moment, zone):%a %d %b %H:%M %Z}"


@dataclass(frozen=True, slots=True)
class PeriodChoice:
    """What a visitor has chosen: names of period and step."""

    name: str
    step: str

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "PeriodChoice":
        """Return what a query asks for; what there is not becomes the usual."""
        name = query.get("period", "day")
        name = name if name in PERIODS else "day"
        steps = PERIODS[name][2]
        step = query.get("by", "")
        return cls(name, step if step in steps else steps[0])

    @property
    def steps(self) -> Iterable[str]:
        """The steps that this period may have."""
        return PERIODS[self.name][2]

    @property
    def label(self) -> str:
        """What the period is called."""
        return PERIODS[self.name][0]

    def period(self, now: float) -> Period:
        """Return the period that ends with `now`."""
        return Period.until(now, PERIODS[self.name][1], STEPS[self.step])
