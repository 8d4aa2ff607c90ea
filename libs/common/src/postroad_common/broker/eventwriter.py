"""Writes events to the broker in batches that form by themselves.

While one batch waits for its confirm, the next gathers, for a moment at least where nobody waits
for it: a lone event leaves at once, and under load hundreds share one AMQP message.
"""

import asyncio
import contextlib
import math
from collections.abc import Iterable

import structlog

from postroad_common.broker import topology
from postroad_common.broker.publisher import Publisher
from postroad_common.errors import BrokerAway, Transient, Unroutable
from postroad_common.schemas.events import Event, EventBatch
from postroad_common.schemas.framing import encode
from postroad_common.tasks import BackgroundTasks

MAX_BATCH = 500
CAPACITY = 50_000
GATHER_SECONDS = 0.05
"""Between two batches of which nobody waits for the second."""
ENOUGH = 100
"""Events for which a batch does not wait for more."""
_PAUSE = 0.5  # seconds between tries while the broker is away

_log = structlog.get_logger("events")


class EventsFull(Transient):
    """More events wait than this process may keep."""


class EventWriter:
    """One per process. `add` never waits; its future tells when the event is safe.

    What is not urgent gathers for up to `gather_seconds` after a batch has left.
    """

    def __init__(self, publisher: Publisher, *, gather_seconds: float = GATHER_SECONDS) -> None:
        self._publisher = publisher
        self._gather_seconds = gather_seconds
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._leaving: list[tuple[Event, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()  # what waits is not to gather any longer
        self._left_at = -math.inf  # when the last batch left, loop time
        self._tasks = BackgroundTasks("event writer")
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Begin to write."""
        self._tasks.spawn(self._run(), name="event-writer")

    def __len__(self) -> int:
        return len(self._waiting) + len(self._leaving)

    def add(self, event: Event, *, urgent: bool = False) -> "asyncio.Future[None]":
        """Write `event` with the next batch; the future is done when the broker has confirmed it.

        The batch may gather for a moment, unless one of its events is `urgent`.

        Raises:
            EventsFull: 50,000 events wait already.
        """
        if len(self._waiting) >= CAPACITY:
            raise EventsFull("too many events wait for the broker")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        self._idle.clear()
        self._wake.set()
        if urgent or len(self._waiting) >= ENOUGH:
            self._hurry.set()
        return future

    async def write(self, events: Iterable[Event], *, urgent: bool = True) -> None:
        """Add all of `events` and wait until every one is safe."""
        futures = [self.add(event, urgent=urgent) for event in events]
        if futures:
            await asyncio.gather(*futures)

    async def flush(self, timeout: float = 10.0) -> bool:  # noqa: ASYNC109 - seconds, part of drain
        """Wait until nothing is left, at most `timeout` seconds; whether that was reached."""
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout)
        return self._idle.is_set()

    async def close(self) -> None:
        """Stop; what still waits is lost to this process: flush first."""
        await self._tasks.close()

    async def _run(self) -> None:
        while True:
            if not self._leaving:
                if not self._waiting:
                    self._idle.set()
                    self._wake.clear()
                    await self._wake.wait()
                    await asyncio.sleep(0)  # let the rest of this turn of the loop join the batch
                await self._gather()
                self._leaving = self._waiting[:MAX_BATCH]
                del self._waiting[:MAX_BATCH]
                if not self._waiting:
                    self._hurry.clear()
                continue
            frame = self._frame()
            if frame is None:
                continue
            try:
                await self._publisher.publish("", topology.EVENTS.name, frame)
            except (BrokerAway, Unroutable) as error:
                _log.warning("events wait for the broker", waiting=len(self), error=str(error))
                await asyncio.sleep(_PAUSE)
                continue
            done, self._leaving = self._leaving, []
            for _, future in done:
                if not future.done():
                    future.set_result(None)

    def _frame(self) -> bytes | None:
        """Return what leaves as one frame; None after events were left out that are none.

        One that nothing can encode must not keep the others, and what waits for them, for ever.
        """
        try:
            return encode(EventBatch(events=tuple(event for event, _ in self._leaving)))
        except ValueError:
            sound = []
            for event, future in self._leaving:
                try:
                    encode(EventBatch(events=(event,)))
                except ValueError as error:
                    _log.error(
                        "event left out: it cannot be written",
                        kind=event.event,
                        id=event.message,
                        error=str(error),
                    )
                    if not future.done():
                        future.set_result(None)
                else:
                    sound.append((event, future))
            self._leaving = sound
            return None

    async def _gather(self) -> None:
        """Let more join, if the last batch has just left and nothing is urgent."""
        loop = asyncio.get_running_loop()
        left = self._left_at + self._gather_seconds - loop.time()
        if left > 0.0 and not self._hurry.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._hurry.wait()
        self._left_at = loop.time()
