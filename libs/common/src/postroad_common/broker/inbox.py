"""The deliveries of one consumer that have not ended: some wait for a handler, others have one."""

import asyncio
import random
from collections import deque
from collections.abc import Callable

from postroad_common.broker.delivery import Delivery

_QUIET = 0.5  # of the time for which more is waited for, without anything new, is the end of it


class Inbox:
    """Keeps count of them. Deliveries whose channel is gone are not handed out any more."""

    def __init__(self) -> None:
        self._waiting: deque[Delivery] = deque()
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

    def put(self, delivery: Delivery) -> None:
        """Let `delivery` wait for a handler."""
        self._open.add(delivery)
        self._all_ended.clear()
        self._waiting.append(delivery)
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
        to `longest` seconds.
        """
        while True:
            while not self._waiting:
                if self._closed:
                    return []
                self._wake.clear()
                await self._wake.wait()
            if linger:
                await self._gather(most, linger, longest)
            batch: list[Delivery] = []
            while self._waiting and len(batch) < most:
                delivery = self._waiting.popleft()
                if delivery.stale:
                    self.forget(delivery)
                else:
                    batch.append(delivery)
            if batch:
                return batch

    async def _gather(self, most: int, linger: float, longest: float) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        rest = linger
        while rest > 0.0 and len(self._waiting) < most and not self._closed:
            await asyncio.sleep(rest)
            quiet = now() - self._moved
            rest = min(linger * _QUIET - quiet, began + longest - now())

    def forget(self, delivery: Delivery) -> None:
        """Wait no longer for the end of `delivery`."""
        self._open.discard(delivery)
        self._settle(delivery)
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
        count = len(self._waiting)
        while self._waiting:
            self.forget(self._waiting.popleft())
        return count

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
