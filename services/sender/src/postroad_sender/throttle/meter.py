"""A rate, measured: events per second, of which the older ones count ever less."""

import math

_ENOUGH = 5.0  # events in the memory before it is believed


class Meter:
    """Remembers about `span` seconds, in three numbers."""

    __slots__ = ("_count", "_last", "_span", "_start")

    def __init__(self, span: float, now: float) -> None:
        self._span = span
        self._count = 0.0
        self._start = self._last = now

    def add(self, now: float) -> None:
        """One event."""
        self._count = self._now(now) + 1.0
        self._last = now

    def restart(self, now: float) -> None:
        """Forget everything."""
        self._count = 0.0
        self._start = self._last = now

    def rate(self, now: float) -> float | None:
        """Per second, or None as long as too little was seen."""
        count = self._now(now)
        seen = now - self._start
        if count < _ENOUGH or seen <= 0.0:
            return None
        return count / (self._span * (1.0 - math.exp(-max(seen, 0.05) / self._span)))

    def _now(self, now: float) -> float:
        return self._count * math.exp((self._last - now) / self._span)
