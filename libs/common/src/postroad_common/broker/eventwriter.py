"""Writes events to the broker in batches that form by themselves.

While one batch waits for its confirm, the next gathers: a lone event leaves at once, and under
load hundreds share one AMQP message.
"""

import asyncio
import contextlib
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
_PAUSE = 0.5  # seconds between tries while the broker is away

_log = structlog.get_logger("events")


class EventsFull(Transient):
    """More events wait than this process may keep."""


class EventWriter:
    """One per process. `add` never waits; its future tells when the event is safe."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._leaving: list[tuple[Event, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._tasks = BackgroundTasks("event writer")
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Begin to write."""
        self._tasks.spawn(self._run(), name="event-writer")

    def __len__(self) -> int:
        return len(self._waiting) + len(self._leaving)

    def add(self, event: Event) -> "asyncio.Future[None]":
        """Write `event` with the next batch; the future is done when the broker has confirmed it.

        Raises:
            EventsFull: 50,000 events wait already.
        """
        if len(self._waiting) >= CAPACITY:
            raise EventsFull("too many events wait for the broker")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        self._idle.clear()
        self._wake.set()
        return future

    async def write(self, events: Iterable[Event]) -> None:
        """Add all of `events` and wait until every one is safe."""
        futures = [self.add(event) for event in events]
        if futures:
            await asyncio.gather(*futures)

    async def flush(self, timeout: float = 10.0) -> bool:  # noqa: ASYNC109 - seconds, part of drain
        """Wait until nothing is left, at most `timeout` seconds; whether that was reached."""
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
                self._leaving = self._waiting[:MAX_BATCH]
                del self._waiting[:MAX_BATCH]
                continue
            frame = encode(EventBatch(events=tuple(event for event, _ in self._leaving)))
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
