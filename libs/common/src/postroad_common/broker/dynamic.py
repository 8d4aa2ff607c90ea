"""Queues that come and go: declared and deleted while the service runs, by name and on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika.exceptions
from aio_pika.abc import AbstractChannel, AbstractConnection

from postroad_common.broker.link import BrokerLink
from postroad_common.broker.topology import Queue
from postroad_common.errors import BrokerAway

PATIENCE_SECONDS = 5.0


class DynamicQueues:
    """Each call has a channel of its own: asking for a queue that is not there closes it."""

    def __init__(self, link: BrokerLink) -> None:
        self._link = link
        self._connection: AbstractConnection | None = None

    async def start(self) -> None:
        """Begin, now or as soon as the link is up."""
        await self._link.add(self._attach)

    async def declare(self, queue: Queue) -> None:
        """Make the queue, if it is not there.

        Raises:
            BrokerAway: it could not be made now.
        """
        async with self._channel() as channel:
            await channel.declare_queue(queue.name, durable=True, arguments=queue.declaration)

    async def count(self, name: str) -> int | None:
        """How many messages wait there for a consumer; None if there is no such queue.

        It may be 0 although there are some: RabbitMQ says so when the queue's leader does not
        answer it within a quarter of a second.

        Raises:
            BrokerAway: RabbitMQ cannot be asked.
        """
        found = await self._ask(name)
        return None if found is None else found[0]

    async def is_worked_off(self, name: str) -> bool:
        """Whether nothing is left there for the consumers that it has.

        A queue that has a consumer and seems to have none has not answered.

        Raises:
            BrokerAway: RabbitMQ cannot be asked.
        """
        found = await self._ask(name)
        return found is None or (found[0] == 0 and found[1] > 0)

    async def delete_empty(self, name: str) -> bool:
        """Delete the queue unless something is in it. Whether it is gone.

        Quorum queues cannot be deleted on a condition: the caller sees to it that nobody publishes
        to it or consumes from it at the same time.

        Raises:
            BrokerAway: not now.
        """
        count = await self.count(name)
        if count:
            return False
        if count is not None:
            async with self._channel() as channel:
                await channel.queue_delete(name)
        return True

    async def _ask(self, name: str) -> tuple[int, int] | None:
        async with self._channel() as channel:
            try:
                declared = await channel.declare_queue(name, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return None
            found = declared.declaration_result
            return found.message_count or 0, found.consumer_count or 0

    async def _attach(self, connection: AbstractConnection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        connection = self._connection
        if connection is None or connection.is_closed:
            raise BrokerAway("no connection to RabbitMQ")
        channel: AbstractChannel | None = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                channel = await connection.channel(publisher_confirms=False)
                yield channel
        except (TimeoutError, OSError, RuntimeError, aio_pika.exceptions.AMQPError) as error:
            raise BrokerAway(f"RabbitMQ did not do it: {error!r}") from error
        finally:
            if channel is not None and not channel.is_closed:
                await channel.close()
