"""Token buckets in memory: rates per token, per address, per login name.

Pure: the clock comes in as an argument.
"""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bucket says: whether it is allowed, what is left, and seconds until it is full."""

    allowed: bool
    limit: int
    remaining: int
    reset: float
    retry_after: float


class Buckets:
    """One bucket per key: `capacity` at once, refilled at `per_second`; memory is bounded."""

    def __init__(self, capacity: int, per_second: float, *, keys: int = 10_000) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._keys = keys
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float, amount: float = 1.0) -> Verdict:
        """Takes `amount` from the bucket of `key` if it is there. `now` is any steady clock."""
        level = self._level(key, now)
        allowed = level >= amount
        if allowed:
            level -= amount
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        while len(self._levels) > self._keys:
            self._levels.popitem(last=False)
        return self._verdict(level, amount, allowed=allowed)

    def look(self, key: str, now: float) -> Verdict:
        """What `take` would say, without taking."""
        level = self._level(key, now)
        return self._verdict(level, 1.0, allowed=level >= 1.0)

    def _level(self, key: str, now: float) -> float:
        level, seen = self._levels.get(key, (float(self._capacity), now))
        return min(self._capacity, level + (now - seen) * self._per_second)

    def _verdict(self, level: float, amount: float, *, allowed: bool) -> Verdict:
        return Verdict(
            allowed=allowed,
            limit=self._capacity,
            remaining=int(level),
            reset=(self._capacity - level) / self._per_second,
            retry_after=max(0.0, (amount - level) / self._per_second),
        )
