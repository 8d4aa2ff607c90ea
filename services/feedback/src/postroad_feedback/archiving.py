"""Reads batches of content from their queue and stores them, as they are, in the archive."""

from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import Counter

from postroad_common.broker import Delivery
from postroad_common.schemas.archive import ArchiveBatch
from postroad_common.schemas.framing import FrameError, decode

Add = Callable[[Sequence[tuple[ArchiveBatch, bytes]]], Awaitable[None]]
_ENTRIES = Counter("postroad_feedback_archived", "Entries of the archive that were stored.")
_OCTETS = Counter("postroad_feedback_archived_octets", "Octets of them, compressed.")


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
        _ENTRIES.inc(sum(len(batch.entries) for batch, _ in batches))
        _OCTETS.inc(sum(len(data) for _, data in batches))
