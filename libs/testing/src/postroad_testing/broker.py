"""A process as RabbitMQ sees it: connections to publish and to consume, without a service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from postroad_common.broker import BrokerLink, Consumer, Delivery, Publisher, topology
from postroad_testing.queues import Queues


class Broker:
    """Both connections of a process, and what a test started on them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.outgoing = BrokerLink(url, "test publish")
        self.incoming = BrokerLink(url, "test consume")
        self.publisher = Publisher(self.outgoing)
        self.consumers: list[Consumer] = []

    async def consume(
        self,
        handler: Callable[[list[Delivery]], Awaitable[None]],
        queue: topology.Queue = topology.ACCEPTED,
        **options: Any,
    ) -> Consumer:
        """Consume `queue` until the end of the test."""
        consumer = Consumer(self.incoming, self.publisher, queue, **options)
        self.consumers.append(consumer)
        await consumer.start(handler)
        return consumer

    async def depth(self, queue: str) -> int:
        """Count the AMQP messages that are ready on a queue."""
        return await Queues(self.url).depth(queue)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Broker]:
    """Connect, and stop what was begun at the end."""
    broker = Broker(url)
    broker.outgoing.start()
    broker.incoming.start()
    await asyncio.wait_for(broker.outgoing.up.wait(), 90)
    await asyncio.wait_for(broker.incoming.up.wait(), 90)
    yield broker
    for consumer in broker.consumers:
        await consumer.stop()
    await broker.incoming.close()
    await broker.outgoing.close()
