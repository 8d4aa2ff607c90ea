"""Reads the batches of events from the queue, has them filed, and ends the deliveries."""

from collections.abc import Awaitable, Callable, Sequence

from postroad_common.broker import Delivery
from postroad_common.schemas.events import Event, EventBatch
from postroad_common.schemas.framing import FrameError, decode

CHUNK = 2000
"""Events in memory at once: a queue that has grown long holds hundreds in each message."""

FileEvents = Callable[[Sequence[Event]], Awaitable[None]]


class Handler:
    """One micro-batch at a time; `file` stores the events and raises when it cannot."""

    def __init__(self, file: FileEvents) -> None:
        self._file = file

    async def __call__(self, deliveries: list[Delivery]) -> None:
        """Ends each delivery: ack when its events are filed, dead when it holds none.

        Raises:
            StoreAway: the consumer holds the deliveries and calls again.
        """
        events: list[Event] = []
        readable: list[Delivery] = []
        for delivery in deliveries:
            try:
                batch, _ = decode(EventBatch, delivery.body)
            except FrameError as error:
                await delivery.dead(f"unreadable: {error}")
                continue
            events += batch.events
            readable.append(delivery)
            if len(events) >= CHUNK:
                await self._file_and_ack(events, readable)
                events, readable = [], []
        await self._file_and_ack(events, readable)

    async def _file_and_ack(self, events: Sequence[Event], readable: Sequence[Delivery]) -> None:
        if events:
            await self._file(events)
        for delivery in readable:
            delivery.ack()
