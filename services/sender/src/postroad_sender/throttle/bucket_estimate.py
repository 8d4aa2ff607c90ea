"""The receiver's bucket, seen from here: what the times of what was sent tell about its limit.

Servers let bursts through. Most count like a bucket of tokens: it holds a few (the *allowance*), is
filled at the rate, and a message that finds it empty is objected to. So an objection comes late,
and says two things at once: at that moment the bucket was empty, and at none before.
"""

from collections import deque
from collections.abc import Iterator

ALLOWANCE = 6.0  # messages, until more is known
MOST = 200.0
KEPT = 0.7  # of what was taken for the allowance, when less is seen
SAME = 0.15  # two rates that differ by less are the same
LOGGED = 256  # messages


class BucketEstimate:
    """What was sent since the bucket was last empty."""

    def __init__(self) -> None:
        self.allowance = ALLOWANCE
        self.is_known = False  # whether the allowance was seen and not just supposed
        self._log: deque[float] = deque(maxlen=LOGGED)  # when messages were sent
        self._sent = 0
        self._seen: tuple[float, float] | None = None  # a rate, and the allowance if it is right

    def on_sent(self, now: float, *, logged: bool = True) -> None:
        """Count a message that begins, `logged` only once a limit is known."""
        self._sent += 1
        if logged:
            self._log.append(now)

    def free(self) -> None:
        """Forget when messages were sent."""
        self._log.clear()

    def emptied(self) -> None:
        """Count from here on."""
        self._sent = 0

    def sent_before(self, sent_at: float) -> int:
        """How many were sent since it was empty, and before `sent_at`."""
        number = self._sent
        for at in reversed(self._log):
            if at < sent_at or not number:
                break
            number -= 1
        return number

    def rate_at(self, sent_at: float, since: float) -> float:
        """Return the rate of a server that objects to what was sent at `sent_at`, not before.

        It objects as soon as in some time (not before `since`) more was sent than the allowance
        and what it takes in that time. So the rate is the greatest that fits one of these times.
        """
        fits = (
            (number - self.allowance) / seconds for number, seconds in self._times(sent_at, since)
        )
        return max(fits, default=0.0)

    def suppose(self, rate: float, sent_at: float, since: float) -> None:
        """If `rate` is right, this objection tells the allowance: as above, with the other known.

        It is believed when the next rate that is counted is the same.
        """
        fits = (number - rate * seconds for number, seconds in self._times(sent_at, since))
        self._seen = rate, min(MOST, max(fits, default=0.0))

    def counted(self, rate: float) -> None:
        """Take up a rate that was counted from one objection to the next."""
        if self._seen is not None and abs(rate / self._seen[0] - 1.0) < SAME:
            self.is_known = True
            # the bucket may not have been full: less is believed slowly
            self.allowance = max(self._seen[1], KEPT * self.allowance)
        self._seen = None

    def _times(self, sent_at: float, since: float) -> Iterator[tuple[int, float]]:
        """How many were sent in how many seconds up to `sent_at`, for longer and longer times."""
        number = 0
        for at in reversed(self._log):
            if at < since:
                return
            if at < sent_at:
                number += 1
                yield number, sent_at - at
