"""How long the client of the present request has waited, and what may still be waited for."""

import time
from contextvars import ContextVar

ANSWER_SECONDS = 4.0
"""From the end of a request to its answer, while broker or database are away; the contract says
5."""
LEAST_SECONDS = 0.75
"""What the last step gets, however long those before it took."""


class Patience:
    """What is left of `ANSWER_SECONDS`. While the client is sending, it does not wait."""

    def __init__(self) -> None:
        self._until = time.monotonic() + ANSWER_SECONDS

    def add(self, seconds: float) -> None:
        """Count `seconds` as the client's own."""
        self._until += seconds

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() >= self._until

    def left(self, *, more_follows: bool = False) -> float:
        """Return the seconds for a step, after which others come that wait or not."""
        left = self._until - time.monotonic() - (LEAST_SECONDS if more_follows else 0.0)
        return max(LEAST_SECONDS, min(ANSWER_SECONDS, left))


_patience: ContextVar[Patience] = ContextVar("patience")


def begin() -> Patience:
    """Let the present task work on a request that begins now."""
    patience = Patience()
    _patience.set(patience)
    return patience


def current() -> Patience:
    """Return that of the present request; a new one where nobody waits."""
    return _patience.get(None) or Patience()
