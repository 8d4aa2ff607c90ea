"""Slots: how many connections there may be, of a process or of whatever has a cap.

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

    def kick(self) -> None:
        """Look again."""


class Idler(Protocol):
    """A connection that carries nothing now."""

    def dismiss(self) -> None:
        """Its connection is needed elsewhere."""


class Slots:
    """`most` at the same time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self.idle: dict[Idler, None] = {}
        self._hungry: dict[Waiter, None] = {}
        self._feeding = False

    @property
    def is_over(self) -> bool:
        """Whether more are used than there may be: since `most` has become less."""
        return self.used > self.most

    def ask(self, waiter: Waiter) -> bool:
        """Whether one is free. If not, `waiter` is kicked when one is."""
        if self.used < self.most:
            return True
        self._hungry[waiter] = None
        if self.idle:
            next(iter(self.idle)).dismiss()
        return False

    def take(self, waiter: Waiter) -> bool:
        """Whether one more connection may be opened now. If not, `waiter` is kicked when it may."""
        if not self.ask(waiter):
            return False
        self.used += 1
        self._hungry.pop(waiter, None)
        return True

    def give_back(self) -> None:
        """A connection is gone."""
        self.used -= 1
        self._feed_soon()

    def resize(self, most: int) -> None:
        """There may be `most` from now on; idle ones that are too many close."""
        self.most = most
        for idler in list(self.idle)[: max(0, self.used - most)]:
            idler.dismiss()
        self._feed_soon()

    def forget(self, waiter: Waiter) -> None:
        """It does not wait any more."""
        self._hungry.pop(waiter, None)

    def _feed_soon(self) -> None:
        if self._hungry and not self._feeding:
            self._feeding = True
            asyncio.get_running_loop().call_soon(self._feed)

    def _feed(self) -> None:
        """Kick those that wait until what is free is used; each once."""
        self._feeding = False
        for waiter in list(self._hungry):
            if self.used >= self.most:
                return
            self._hungry.pop(waiter, None)
            waiter.kick()
