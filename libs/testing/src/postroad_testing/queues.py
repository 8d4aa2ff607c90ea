"""RabbitMQ from outside the services: what is on a queue, and putting something there."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aio_pika
import aio_pika.abc
import aio_pika.exceptions

from postroad_common.broker import topology
from postroad_common.schemas.bundle import is_bundle, unbundle
from postroad_common.schemas.events import Event, EventBatch
from postroad_common.schemas.framing import decode
from postroad_common.schemas.returns import DeliveryFailure

_AT_ONCE = 500


@asynccontextmanager
async def channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """Open a connection of its own, for a channel that confirms."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        yield await connection.channel()


class Queues:
    """The queues of one broker, by name. Each call has a connection of its own."""

    def __init__(self, amqp_url: str) -> None:
        self.amqp_url = amqp_url

    async def take(self, name: str, most: int | None = None) -> list[bytes]:
        """Take what is ready on a queue, each frame of a bundle by itself, `most` or a few more."""
        found: list[bytes] = []
        async with channel(self.amqp_url) as opened:
            queue = await opened.get_queue(name)
            while most is None or len(found) < most:
                message = await queue.get(fail=False)
                if message is None:
                    break
                body = message.body
                found += unbundle(body) if is_bundle(body) else [body]
                await message.ack()
        return found

    async def events(self) -> list[Event]:
        """Take the events that are on their queue."""
        frames = await self.take(topology.EVENTS.name)
        return [event for frame in frames for event in decode(EventBatch, frame)[0].events]

    async def failures(self) -> list[tuple[DeliveryFailure, bytes]]:
        """Take the failures that are on their queue, each with what is quoted."""
        decoded = [
            decode(DeliveryFailure, frame) for frame in await self.take(topology.FAILURES.name)
        ]
        return [(failure, bytes(body)) for failure, body in decoded]

    async def put(self, name: str, frames: Iterable[bytes]) -> None:
        """Publish frames to a queue; each is confirmed."""
        messages = [aio_pika.Message(frame) for frame in frames]
        async with channel(self.amqp_url) as opened:
            publish = opened.default_exchange.publish
            for start in range(0, len(messages), _AT_ONCE):
                batch = messages[start : start + _AT_ONCE]
                await asyncio.gather(*(publish(message, name) for message in batch))

    async def depth(self, *names: str) -> int:
        """Count the messages that are ready on these queues; a queue that is missing has none."""
        return sum([await self._depth(name) or 0 for name in names])

    async def exists(self, name: str) -> bool:
        """Say whether there is such a queue."""
        return await self._depth(name) is not None

    async def purge(self, *names: str) -> None:
        """Empty these queues."""
        async with channel(self.amqp_url) as opened:
            for name in names:
                await (await opened.get_queue(name)).purge()

    async def _depth(self, name: str) -> int | None:
        async with channel(self.amqp_url) as opened:
            try:
                declared = await opened.declare_queue(name, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return None
            return declared.declaration_result.message_count or 0
