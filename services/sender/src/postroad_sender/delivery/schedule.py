"""When a deferred message is tried again, and in which retry tier it waits until then.

The rooms (tiers) have fixed times; an arbitrary delay is made of several stays.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from postroad_common.tokenbucket import TokenBuckets

SLACK = 1.2  # a stay may overshoot the time asked for by a fifth, which saves further stays
DEFAULT = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
_JITTER = 0.1
SHORT_STAYS = (30, 300)
"""Seconds of the tiers that a long wait is made of while few messages wait."""
SHORT_STAYS_PER_SECOND = 10.0
_QUICK_FIRST = 1.0  # seconds; a rate deferral says "a moment later", not "in an hour"


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Seconds between attempts; the last repeats."""

    seconds: tuple[float, ...] = DEFAULT

    @classmethod
    def parse(cls, text: str) -> "RetrySchedule":
        """`"60, 300, 900"`. Raises ValueError."""
        try:
            seconds = tuple(float(part) for part in text.split(","))
        except ValueError:
            raise ValueError("must be seconds separated by commas, as in 60,300,900") from None
        if not all(0 < value <= 604_800 for value in seconds):
            raise ValueError("must be seconds, each between 0 and 604800 seconds")
        return cls(seconds)

    def delay(
        self,
        attempt: int,
        *,
        stated: float | None = None,
        quick: bool = False,
        chance: float | None = None,
    ) -> float:
        """Seconds to wait after attempt number `attempt` (from 0).

        `stated` is what the server asked for: waited at least, and instead of a longer first
        wait. `quick`: the lane was too fast, the message is not to blame. `chance` in [0, 1)
        replaces the dice.
        """
        planned = self.seconds[min(attempt, len(self.seconds) - 1)]
        if quick:
            planned = min(planned, _QUICK_FIRST * 2.0**attempt)
        if stated is not None:
            planned = stated if attempt == 0 or stated > planned else planned
        dice = random.random() if chance is None else chance
        if stated is not None and planned == stated:
            return planned * (1 + _JITTER * dice)  # not before they said
        return planned * (1 - _JITTER + 2 * _JITTER * dice)


def tier_for(remaining: float, tiers: Sequence[int]) -> int:
    """Return the tier (its seconds) for a message that must wait `remaining` seconds.

    The longest that does not overshoot by more than a fifth, else the shortest.
    """
    fitting = [tier for tier in tiers if tier <= remaining * SLACK]
    return max(fitting, default=min(tiers))


class Stays:
    """Which tier each stay is in.

    A message can be tried before its time, or cancelled, only between two stays. So a long wait is
    made of short ones as long as these are few: ten in a second begin anew at most, which is 300
    messages that come by every half minute, and 3,000 every five. The others stay for long.
    """

    def __init__(self, tiers: Sequence[int], per_second: float = SHORT_STAYS_PER_SECOND) -> None:
        self._tiers = tiers
        self._shorter: TokenBuckets[int] = TokenBuckets(per_second, per_second)

    def tier(self, remaining: float, now: float) -> int:
        """Return the tier for a message that must wait `remaining` seconds from `now`."""
        longest = tier_for(remaining, self._tiers)
        for short in SHORT_STAYS:
            if short >= longest:
                break
            if not self._shorter.take(short, now):
                return short
        return longest
