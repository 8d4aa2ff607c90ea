"""Declares the topology at the broker: exchanges, queues, bindings."""

import aiormq.exceptions
from aio_pika.abc import AbstractChannel, AbstractConnection

from postroad_common.broker import topology
from postroad_common.broker.rights import ALL_RIGHTS, BrokerRights


async def declare(connection: AbstractConnection, rights: BrokerRights = ALL_RIGHTS) -> None:
    """Declare the whole topology, or what is of `rights` where the user may declare no other.

    What exists already stays as it is.

    Raises:
        aiormq.exceptions.AMQPError: something exists with other arguments.
    """
    try:
        await _declare(connection, ALL_RIGHTS)
    except aiormq.exceptions.ChannelAccessRefused:
        await _declare(connection, rights)


async def _declare(connection: AbstractConnection, rights: BrokerRights) -> None:
    channel: AbstractChannel = await connection.channel(publisher_confirms=False)
    try:
        for exchange in filter(rights.is_declared, topology.EXCHANGES):
            await channel.declare_exchange(exchange.name, exchange.kind, durable=True)
        for queue in filter(rights.is_declared, topology.QUEUES):
            declared = await channel.declare_queue(
                queue.name, durable=True, arguments=queue.declaration
            )
            for name, key in queue.bindings:
                await declared.bind(name, routing_key=key)
    finally:
        if not channel.is_closed:
            await channel.close()
