"""A rate limit: so many messages per second and no more, for all who share it, in turn.

In no second begin more than the rate says (rounded up). One timer per limit wakes one lane at a
time, so that a thousand lanes behind one rate limit cost no more than the messages that pass.
"""

import asyncio
from collections.abc import Sequence
from math import inf

from postroad_sender.limits.connection_limit import Waiter
from postroad_sender.throttle.gcra import Gcra

TOLERANCE = 0.05
"""Seconds that may be made up for in a burst; the spacing is wider by the same share."""
_LEAST = 0.001  # seconds between two wakings
_ANOTHER = 0.1  # seconds until the next is asked, where one has nothing ready to send


class RateLimit:
    """`rate` messages per second; the first not before `clear_at` (loop time)."""

    def __init__(self, rate: float, clear_at: float = 0.0) -> None:
        self.rate = rate
        self.spent = 0  # messages, until somebody sets it back
        self._gcra = Gcra(TOLERANCE)
        self._gcra.hold(clear_at)
        self._stale = False
        self._waiting: dict[Waiter, None] = {}
        self._turn: Waiter | None = None
        self._timer: asyncio.TimerHandle | None = None

    def left(self, now: float) -> float:
        """Seconds until the next message may begin; infinite while the rate is zero."""
        if not self.rate:
            return inf
        if self._stale:
            self._stale = False
            self._gcra.hold(now + (1.0 + TOLERANCE) / self.rate)
        return self._gcra.wait(now)

    def is_turn_of(self, waiter: Waiter) -> bool:
        """Whether it was woken last and nothing has begun since."""
        return self._turn is waiter

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody stands in line."""
        return bool(self._waiting)

    def wait(self, waiter: Waiter, now: float) -> None:
        """Stand in line: `waiter` is woken when it is its turn."""
        self._waiting[waiter] = None
        self._arm(self.left(now))

    def spend(self, now: float) -> None:
        """Count a message that begins."""
        self._turn = None
        self.spent += 1
        self._gcra.spend(now, self.rate / (1.0 + TOLERANCE))

    def release(self) -> None:
        """Somebody else may use it from now on, and may just have, when it is used here again."""
        self._stale = True

    def resize(self, rate: float) -> None:
        """Change the rate, in messages per second; with zero nothing begins."""
        self.rate = rate
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._arm(self.left(asyncio.get_running_loop().time()))

    def forget(self, waiter: Waiter) -> None:
        """Stop waiting."""
        self._waiting.pop(waiter, None)

    def _arm(self, left: float) -> None:
        if self._timer is None and left < inf:
            delay = max(left, _LEAST)
            self._timer = asyncio.get_running_loop().call_later(delay, self._next)

    def _next(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        left = self.left(asyncio.get_running_loop().time())
        if left > 0.0:
            self._arm(left)
            return
        waiter = next(iter(self._waiting))
        del self._waiting[waiter]
        self._turn = waiter
        waiter.schedule()
        if self._waiting:  # should this one have nothing to send after all
            self._arm(min(_ANOTHER, 1.0 / self.rate))


def may_pass(rate_limits: Sequence[RateLimit], waiter: Waiter, now: float, *, ready: bool) -> bool:
    """Whether `waiter` may begin a message that all of `rate_limits` count; if not, queue it.

    One that is `ready` to begin at once need not let those go first that have yet to connect. For
    the others a turn at one of the limits is enough: to have it at all of them at once would be
    chance.
    """
    for rate_limit in rate_limits:
        if rate_limit.left(now) > 0.0:
            rate_limit.wait(waiter, now)
            return False
    if ready or any(rate_limit.is_turn_of(waiter) for rate_limit in rate_limits):
        return True
    for rate_limit in rate_limits:
        if rate_limit.is_waited_for:
            rate_limit.wait(waiter, now)
            return False
    return True
