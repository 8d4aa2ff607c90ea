"""The pace at which reports go to one origin: a token bucket per envelope sender.

A storm of failures must not become a storm of reports on one mailbox. Reports above the pace are
not dropped but sent later; only when an origin is an hour behind are further ones left out (what
happened stays in the event log). The state is this process's own and bounded.
"""

from collections import OrderedDict

RATE = 5.0  # reports per second
BURST = 500.0
LONGEST_WAIT = 3600.0  # seconds
MAX_ORIGINS = 10_000


class Pace:
    """Gives each report to an origin its time."""

    def __init__(
        self, rate: float = RATE, burst: float = BURST, longest_wait: float = LONGEST_WAIT
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._longest_wait = longest_wait
        # Per origin the moment at which its bucket is full again.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, origin: str, now: float) -> float | None:
        """Return how many seconds the next report to ``origin`` must wait (0: none).

        None means: too far behind, leave it out.
        """
        full_at = max(self._full_at.pop(origin, now), now)
        ahead = (full_at - now) * self._rate + 1 - self._burst
        wait = max(0.0, ahead / self._rate)
        if wait > self._longest_wait:
            self._full_at[origin] = full_at
            return None
        self._full_at[origin] = full_at + 1 / self._rate
        if len(self._full_at) > MAX_ORIGINS:
            self._full_at.popitem(last=False)
        return wait
