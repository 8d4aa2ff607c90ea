"""How much waits in each queue, asked of RabbitMQ by passive declarations."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aio_pika.exceptions
from aio_pika.abc import AbstractChannel, AbstractConnection

from postroad_common.broker.link import BrokerLink
from postroad_common.broker.topology import DEAD_QUEUES, QUEUES, Queue
from postroad_common.errors import BrokerAway

PATIENCE_SECONDS = 4.0
_DEAD = frozenset(queue.name for queue in DEAD_QUEUES)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A queue: messages that are ready for a consumer, and consumers; None when not there."""

    name: str
    purpose: str
    ready: int | None
    consumers: int | None
    dead: bool


class QueueDepths:
    """Asks on a channel of its own; a queue that is missing closes it, so it is opened anew."""

    def __init__(self, link: BrokerLink) -> None:
        self._connection: AbstractConnection | None = None
        self._lock = asyncio.Lock()
        link.on_connect(self._attach)

    async def _attach(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def all(self) -> list[QueueDepth]:
        """Every queue of the topology.

        Raises:
            BrokerAway: RabbitMQ cannot be asked.
        """
        return await self.of(QUEUES)

    async def of(self, queues: Sequence[Queue]) -> list[QueueDepth]:
        """Return these queues, in their order.

        Raises:
            BrokerAway: RabbitMQ cannot be asked.
        """
        connection = self._connection
        if connection is None or connection.is_closed:
            raise BrokerAway("no connection to RabbitMQ")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._lock:
                return await self._ask(connection, queues)
        except (TimeoutError, OSError, RuntimeError, aio_pika.exceptions.AMQPError) as error:
            raise BrokerAway(f"RabbitMQ cannot be asked: {error!r}") from error

    async def _ask(
        self, connection: AbstractConnection, queues: Sequence[Queue]
    ) -> list[QueueDepth]:
        found = []
        channel: AbstractChannel | None = None
        try:
            for queue in queues:
                if channel is None or channel.is_closed:
                    channel = await connection.channel(publisher_confirms=False)
                found.append(await _depth(channel, queue))
        finally:
            if channel is not None and not channel.is_closed:
                await channel.close()
        return found


async def _depth(channel: AbstractChannel, queue: Queue) -> QueueDepth:
    ready = consumers = None
    try:
        declared = await channel.declare_queue(queue.name, passive=True)
    except aio_pika.exceptions.ChannelClosed:
        pass
    else:
        ready = declared.declaration_result.message_count
        consumers = declared.declaration_result.consumer_count
    return QueueDepth(queue.name, queue.purpose, ready, consumers, queue.name in _DEAD)
