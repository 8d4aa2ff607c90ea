"""The channel on which is published: another one when it seems that it confirms nothing any more.

When the leader of a queue goes away, RabbitMQ (3.10 to 4.x) sends again what a channel has
published to it, as soon as another node leads. A channel that has not published to that queue
before asks the old leader first: it confirms nothing until the cluster has noticed that the node is
gone, then refuses one message and asks again. So a channel that has confirmed is kept for as long
as it may come back, and one that has not is soon given up for another.
"""

import asyncio
import contextlib
import time

import aio_pika.exceptions
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.channel import Channel as RawChannel

from postroad_common.broker.confirming import ConfirmingChannel
from postroad_common.broker.link import BrokerLink

STALL = 1.5
"""Seconds without a confirm after which a channel that has never had one is given up."""
LONG_STALL = 6.0
"""The same of one that has: by then its queue has another leader."""
LINGER = 4.5
"""Seconds for which the old one stays: what was published on it may still be confirmed."""
SETTLE_SECONDS = 6.0
"""A connection that is younger may be to a cluster that has not noticed yet that a node is gone."""
_log = structlog.get_logger("broker")


class PublishChannel:
    """Keeps a channel with confirms open on a link."""

    def __init__(self, link: BrokerLink) -> None:
        self.link = link
        self.heard = 0.0
        """When the last confirm came, by `time.perf_counter`: whoever waits for them says so."""
        self._connection: AbstractConnection | None = None
        self._attached = 0.0
        self._wrapper: AbstractChannel | None = None
        self._current: ConfirmingChannel | None = None
        self.is_opening = False
        link.on_connect(self._attach)

    @property
    def current(self) -> ConfirmingChannel | None:
        """The channel on which a publication would be tried now."""
        current = self._current
        if current is None or current.raw.is_closed or not self.link.up.is_set():
            return None
        return current

    @property
    def is_settled(self) -> bool:
        """Whether its connection is old enough that the cluster is as it seems."""
        return time.perf_counter() - self._attached > SETTLE_SECONDS

    def look(self, channel: ConfirmingChannel, now: float) -> None:
        """Open another channel if this one has confirmed nothing for too long."""
        if channel.stall(now) > (LONG_STALL if channel.is_proven else STALL):
            self._renew(channel)

    def refused(self, channel: ConfirmingChannel) -> None:
        """Note that the broker has refused a publication there."""
        if not channel.is_proven:
            self._renew(channel)

    def _renew(self, channel: ConfirmingChannel) -> None:
        if channel is self._current and not self.is_opening:
            self.is_opening = True
            self.link.spawn(self._replace(), "another publishing channel")

    async def _attach(self, connection: AbstractConnection) -> None:
        self._connection = connection
        await self._open(connection)
        self._attached = time.perf_counter()

    async def _open(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        raw = await channel.get_underlay_channel()
        assert isinstance(raw, RawChannel)  # noqa: S101 - what aio-pika is made of
        if connection is not self._connection:
            return  # it was lost meanwhile, and there is another
        # The wrapper is kept alive by its underlay's callbacks; hot paths use the underlay, which
        # costs about half as much per message.
        self._wrapper = channel
        self._current = current = ConfirmingChannel(raw)

        def on_close(_: object) -> None:
            if self._current is current:
                self.link.renew("the publishing channel is gone")

        raw.closing.add_done_callback(on_close)

    async def _replace(self) -> None:
        connection, old = self._connection, self._wrapper
        if connection is None or old is None:
            return
        _log.info("nothing is confirmed, opening another channel", role=self.link.role)
        try:
            async with asyncio.timeout(LINGER):
                await self._open(connection)
        except (TimeoutError, OSError, RuntimeError, aio_pika.exceptions.AMQPError) as error:
            _log.warning("no other channel can be opened", error=repr(error))
            return
        finally:
            self.is_opening = False
        await asyncio.sleep(LINGER)
        with contextlib.suppress(Exception):  # it may be broken
            await old.close()
