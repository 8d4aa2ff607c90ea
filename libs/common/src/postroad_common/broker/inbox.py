"""The deliveries of one consumer that have not ended: some wait for a handler, others have one.

What came in one AMQP message is handed out together, so that what waits has not begun.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable

from postroad_common.broker.delivery import Delivery

_QUIET = 0.5  # of the time for which more is waited for, without anything new, is the end of it


class Inbox:
    """Keeps count of them. Deliveries whose channel is gone are not handed out any more.

    No more are handed out while `room` or more of those that were have not ended.
    """

    def __init__(self, room: float = math.inf) -> None:
        self._room = room
        self._waiting: deque[tuple[Delivery, ...]] = deque()
        self._count = 0  # of the deliveries that wait
        self._some_stale = False  # whether there may be stale ones
        self._open: set[Delivery] = set()
        self._settled: dict[Delivery, asyncio.Future[None]] = {}
        self._later: dict[asyncio.TimerHandle, Delivery] = {}
        self._wake = asyncio.Event()
        self._moved = 0.0  # when the last one was put, loop time
        self._closed = False
        self._all_ended = asyncio.Event()
        self._all_ended.set()

    def __len__(self) -> int:
        """Count the deliveries that have not ended."""
        return len(self._open)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is waited for any more."""
        return self._closed

    def put(self, *deliveries: Delivery) -> None:
        """Let `deliveries`, which are handed out together, wait for a handler."""
        self._open.update(deliveries)
        self._all_ended.clear()
        self._waiting.append(deliveries)
        self._count += len(deliveries)
        self._moved = asyncio.get_running_loop().time()
        self._wake.set()

    def put_later(self, delivery: Delivery, seconds: float) -> None:
        """Let `delivery` wait for a handler again, after about `seconds`."""
        self._settle(delivery)
        handle: asyncio.TimerHandle

        def again() -> None:
            del self._later[handle]
            self.put(delivery)

        loop = asyncio.get_running_loop()
        handle = loop.call_later(seconds * random.uniform(0.8, 1.2), again)
        self._later[handle] = delivery

    async def take(self, most: int, linger: float = 0.0, longest: float = 0.0) -> list[Delivery]:
        """Take up to `most` deliveries, waiting for the first; none once the inbox is closed.

        After the first it waits `linger` seconds for more, and goes on while more keep coming, up
        to `longest` seconds. They are more than `most` only if so many came together.
        """
        while True:
            while not self._waiting or self._space() <= 0:
                if self._closed and not self._waiting:
                    return []
                self._wake.clear()
                await self._wake.wait()
            if linger:
                await self._gather(most, linger, longest)
            batch: list[Delivery] = []
            enough = min(most, self._space())
            while self._waiting and (not batch or len(batch) + len(self._waiting[0]) <= enough):
                for delivery in self._take_first():
                    if delivery.stale:
                        self.forget(delivery)
                    else:
                        batch.append(delivery)
            if batch:
                return batch

    def _space(self) -> float:
        """How many more may be handed out; those that are stale take no room."""
        begun = len(self._open) - self._count - len(self._later)
        if begun >= self._room and self._some_stale:
            stale = sum(delivery.stale for delivery in self._open)
            self._some_stale = stale > 0
            begun -= stale
        return math.inf if self._closed else self._room - begun

    def _take_first(self) -> tuple[Delivery, ...]:
        deliveries = self._waiting.popleft()
        self._count -= len(deliveries)
        return deliveries

    async def _gather(self, most: int, linger: float, longest: float) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        rest = linger
        while rest > 0.0 and self._count < most and not self._closed:
            await asyncio.sleep(rest)
            quiet = now() - self._moved
            rest = min(linger * _QUIET - quiet, began + longest - now())

    def forget(self, delivery: Delivery) -> None:
        """Wait no longer for the end of `delivery`."""
        self._open.discard(delivery)
        self._settle(delivery)
        if self._waiting:
            self._wake.set()  # there may be room now
        if not self._open:
            self._all_ended.set()

    async def settled(self, delivery: Delivery) -> None:
        """Wait until `delivery` has ended, was forgotten, or waits for another try."""
        if delivery in self._open and delivery not in self._later.values():
            future = self._settled.setdefault(delivery, asyncio.get_running_loop().create_future())
            await future

    def _settle(self, delivery: Delivery) -> None:
        future = self._settled.pop(delivery, None)
        if future is not None and not future.done():
            future.set_result(None)

    def drop_waiting(self) -> int:
        """Forget what waits for a handler; returns how many those were."""
        count = self._count
        while self._waiting:
            for delivery in self._take_first():
                self.forget(delivery)
        return count

    def channel_lost(self) -> int:
        """Drop what waits, and let deliveries that have become stale take no room."""
        self._some_stale = True
        self._wake.set()
        return self.drop_waiting()

    def drop(self, concerned: Callable[[Delivery], bool]) -> None:
        """Forget the deliveries that `concerned` is true for."""
        for delivery in [one for one in self._open if concerned(one)]:
            self.forget(delivery)

    def close(self) -> int:
        """Let `take` return nothing when nothing waits; returns how many were to come later."""
        self._closed = True
        self._wake.set()
        count = len(self._later)
        while self._later:
            handle, delivery = self._later.popitem()
            handle.cancel()
            self.forget(delivery)
        return count

    async def all_ended(self) -> None:
        """Wait until every delivery has ended or was forgotten."""
        await self._all_ended.wait()
