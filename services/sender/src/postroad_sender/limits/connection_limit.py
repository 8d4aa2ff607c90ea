"""Connection limits: how many connections there may be, of a process or of whatever has a cap.

Those who find none free are woken, one after the other, when there are some. Idle connections give
way to those that are needed.
"""

import asyncio
from typing import Protocol


class Waiter(Protocol):
    """Somebody who looks again whether something can start."""

    @property
    def is_waiting(self) -> bool:
        """Whether there still is something to start."""

    def schedule(self) -> None:
        """Look again."""


class Idler(Protocol):
    """A connection that carries nothing now."""

    def retire(self) -> None:
        """Its connection is needed elsewhere."""


class ConnectionLimit:
    """`most` at the same time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self.idle: dict[Idler, None] = {}
        self._waiting: dict[Waiter, None] = {}
        self._waking = False

    @property
    def is_over(self) -> bool:
        """Whether more are used than there may be: since `most` has become less."""
        return self.used > self.most

    def ask(self, waiter: Waiter) -> bool:
        """Whether one is free. If not, `waiter` is woken when one is."""
        if self.used < self.most:
            return True
        self._waiting[waiter] = None
        if self.idle:
            next(iter(self.idle)).retire()
        return False

    def is_wanted_by_others(self, waiter: Waiter) -> bool:
        """Whether somebody else than `waiter` waits."""
        return any(other is not waiter and other.is_waiting for other in self._waiting)

    def acquire(self, waiter: Waiter) -> bool:
        """Whether one more connection may be opened now. If not, `waiter` is woken when it may."""
        if not self.ask(waiter):
            return False
        self.used += 1
        self._waiting.pop(waiter, None)
        return True

    def release(self) -> None:
        """Give a connection back."""
        self.used -= 1
        self._wake_soon()

    def resize(self, most: int) -> None:
        """There may be `most` from now on; idle ones that are too many close."""
        self.most = most
        for idler in list(self.idle)[: max(0, self.used - most)]:
            idler.retire()
        self._wake_soon()

    def forget(self, waiter: Waiter) -> None:
        """Stop waiting."""
        self._waiting.pop(waiter, None)

    def _wake_soon(self) -> None:
        if self._waiting and not self._waking:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        """Wake those that wait until what is free is used; each once."""
        self._waking = False
        for waiter in list(self._waiting):
            if self.used >= self.most:
                return
            self._waiting.pop(waiter, None)
            waiter.schedule()
