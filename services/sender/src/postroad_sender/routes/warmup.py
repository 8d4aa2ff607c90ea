"""Warm-up: how many messages a new source may send on each day, until it is known well enough.

A schedule is a list of numbers, one for each day (UTC) from its start on; behind its end there is
no limit. Some have names.
"""

import math
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from postroad_common.store.leases import DAY

_FIRST = 50.0  # messages on the first day
_LAST = {"14 days": 20_000.0, "30 days": 100_000.0, "60 days": 500_000.0}
MOST_DAYS = 730


def _grow(days: int, last: float) -> tuple[int, ...]:
    """From `_FIRST` to `last` by the same factor each day, in round numbers."""
    factor = (last / _FIRST) ** (1.0 / (days - 1))
    return tuple(_round(_FIRST * factor**day) for day in range(days))


def _round(number: float) -> int:
    size = 10 ** max(0, int(math.log10(number)) - 1)
    return int(round(number / size) * size)


SCHEDULES = {name: _grow(int(name.split()[0]), last) for name, last in _LAST.items()}
"""The schedules that have names."""


def _read_schedule(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in SCHEDULES:
        names = ", ".join(f'"{name}"' for name in SCHEDULES)
        raise ValueError(f"must be a list of messages per day, or one of {names}")
    return SCHEDULES[value]


Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Schedule = Annotated[
    tuple[Count, ...], BeforeValidator(_read_schedule), Field(min_length=1, max_length=MOST_DAYS)
]


class WarmUp(BaseModel):
    """The warm-up of one source; `per_provider` has further limits for the mail to some."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: date
    per_day: Schedule
    per_provider: dict[str, Schedule] = Field(default_factory=dict)

    def most_on(self, day: int, provider: str = "") -> int | None:
        """Messages on `day` (since 1970, UTC), in all or to `provider`; None: no limit."""
        schedule = self.per_provider.get(provider, ()) if provider else self.per_day
        number = day - day_of(self.start)
        if number < 0:
            return 0
        return schedule[number] if number < len(schedule) else None


def day_of(moment: date) -> int:
    """Days since 1970."""
    return int(datetime(moment.year, moment.month, moment.day, tzinfo=UTC).timestamp()) // DAY
