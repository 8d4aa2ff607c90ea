"""The channel on which is published: another one as soon as it confirms nothing any more.

When the leader of a queue goes away, RabbitMQ sends again what a channel has published to it, but
a channel that was opened meanwhile does so only after ten seconds, long after another node leads.
A new channel finds the new leader at once.
"""

import asyncio
import contextlib
import time

import aio_pika.exceptions
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.channel import Channel as RawChannel

from postroad_common.broker.link import BrokerLink

STALL = 1.5
"""Seconds without a confirm, while some are missing, after which another channel is opened."""
LINGER = 4.5
"""Seconds for which the old one stays: what was published on it may still be confirmed."""
_log = structlog.get_logger("broker")


class PublishChannel:
    """Keeps a channel with confirms open on a link."""

    def __init__(self, link: BrokerLink) -> None:
        self.heard = 0.0
        """When the last confirm came, by `time.perf_counter`: whoever waits for them says so."""
        self._link = link
        self._connection: AbstractConnection | None = None
        self._wrapper: AbstractChannel | None = None
        self._raw: RawChannel | None = None
        self._missing_since = 0.0
        self._is_opening = False
        link.on_connect(self._attach)

    @property
    def is_open(self) -> bool:
        """Whether a publication would be tried now."""
        return self._link.up.is_set() and self._raw is not None and not self._raw.is_closed

    def for_next(self) -> RawChannel | None:
        """Return the channel for the next publication; None while there is none."""
        raw = self._raw
        if raw is None or not self.is_open:
            return None
        now = time.perf_counter()
        if not raw.confirmations:
            self._missing_since = now
        elif not self._is_opening and now - max(self._missing_since, self.heard) > STALL:
            self._is_opening = True
            self._link.spawn(self._replace(), "another publishing channel")
        return raw

    async def _attach(self, connection: AbstractConnection) -> None:
        self._connection = connection
        await self._open(connection)

    async def _open(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        raw = await channel.get_underlay_channel()
        assert isinstance(raw, RawChannel)  # noqa: S101 - what aio-pika is made of
        if connection is not self._connection:
            return  # it was lost meanwhile, and there is another
        # The wrapper is kept alive by its underlay's callbacks; hot paths use the underlay, which
        # costs about half as much per message.
        self._wrapper = channel
        self._raw = raw
        self._missing_since = time.perf_counter()

        def on_close(_: object) -> None:
            if self._raw is raw:
                self._link.renew("the publishing channel is gone")

        raw.closing.add_done_callback(on_close)

    async def _replace(self) -> None:
        connection, old = self._connection, self._wrapper
        if connection is None or old is None:
            return
        _log.info("nothing is confirmed, opening another channel")
        try:
            async with asyncio.timeout(LINGER):
                await self._open(connection)
        except (TimeoutError, OSError, RuntimeError, aio_pika.exceptions.AMQPError) as error:
            _log.warning("no other channel can be opened", error=repr(error))
            return
        finally:
            self._is_opening = False
        await asyncio.sleep(LINGER)
        with contextlib.suppress(Exception):  # it may be broken
            await old.close()
