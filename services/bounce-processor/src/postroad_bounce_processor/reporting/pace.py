"""The pace at which reports go to one origin: a token bucket per envelope sender.

A storm of failures must not become a storm of reports on one mailbox. Reports above the pace are
not dropped but sent later; only when an origin is an hour behind are further ones left out (what
happened stays in the event log). The state is this process's own and bounded.
"""

from collections import OrderedDict

RATE = 5.0  # reports per second
BURST = 500.0
LONGEST_WAIT = 3600.0  # seconds
MAX_KNOWN = 10_000


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
        # What was answered for the latest causes, because a batch may be handled twice.
        self._given: OrderedDict[str, float | None] = OrderedDict()

    def moment(self, origin: str, cause: str, now: float) -> float | None:
        """Return when the report that `cause` calls for may go to `origin` (Unix seconds).

        `now` or earlier means at once; None means: too far behind, leave it out. The same cause
        gets the same answer and is counted once.
        """
        if cause in self._given:
            return self._given[cause]
        full_at = max(self._full_at.pop(origin, now), now)
        ahead = (full_at - now) * self._rate + 1 - self._burst
        wait = max(0.0, ahead / self._rate)
        given = now + wait if wait <= self._longest_wait else None
        self._full_at[origin] = full_at if given is None else full_at + 1 / self._rate
        self._given[cause] = given
        for known in (self._full_at, self._given):
            if len(known) > MAX_KNOWN:
                known.popitem(last=False)
        return given
