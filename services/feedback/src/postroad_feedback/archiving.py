"""Reads batches of content from their queue and stores them, as they are, in the archive."""

from collections.abc import Awaitable, Callable, Sequence

from postroad_common.broker import Delivery
from postroad_common.schemas.archive import ArchiveBatch
from postroad_common.schemas.framing import FrameError, decode
from postroad_feedback import metrics

Add = Callable[[Sequence[tuple[ArchiveBatch, bytes]]], Awaitable[None]]


class ArchiveHandler:
    """The handler of `feedback.archive`; `add` stores batches and leaves known ones alone."""

    def __init__(self, add: Add) -> None:
        self._add = add

    async def __call__(self, deliveries: list[Delivery]) -> None:
        """End each delivery: ack when its batch is stored, dead when it holds none.

        Raises:
            StoreAway: the consumer holds the deliveries and calls again.
        """
        batches: list[tuple[ArchiveBatch, bytes]] = []
        readable: list[Delivery] = []
        for delivery in deliveries:
            try:
                batch, data = decode(ArchiveBatch, delivery.body)
            except FrameError as error:
                await delivery.dead(f"unreadable: {error}")
                continue
            batches.append((batch, bytes(data)))
            readable.append(delivery)
        await self._add(batches)
        for delivery in readable:
            delivery.ack()
        metrics.ARCHIVED.inc(sum(len(batch.entries) for batch, _ in batches))
        metrics.ARCHIVED_BYTES.inc(sum(len(data) for _, data in batches))
