"""How many events an end point gets in one call: as many as its owner wishes, or as it can take.

A batch for which it takes too long, or that it finds too large, is halved; what was in it goes
again at once, in smaller batches. When batches of that size succeed easily they grow again.
"""

from postroad_feedback.calls import CALL_SECONDS, CallResult

_EASILY = CALL_SECONDS / 4  # seconds
_TOO_MUCH = frozenset({408, 413, 504, 524})
"""Statuses of an end point, or of a proxy before it, that a smaller batch may not get."""


class BatchSize:
    """The size for one end point; `learned` is what was found in its last turn, if less."""

    def __init__(self, wished: int, learned: int | None) -> None:
        self._wished = wished
        self.events = wished if learned is None else max(1, min(wished, learned))

    @property
    def learned(self) -> int | None:
        """The size, if it is less than what is wished."""
        return self.events if self.events < self._wished else None

    def take(self, answer: CallResult, events: int) -> bool:
        """Learn from the answer to a call; return whether it failed for its size."""
        if answer.succeeded:
            if events >= self.events and answer.seconds <= _EASILY:
                self.events = min(self._wished, self.events + max(1, self.events // 4))
            return False
        too_large = events > 1 and (answer.timed_out or answer.status in _TOO_MUCH)
        if too_large:
            self.events = min(self.events, events // 2)
        return too_large
