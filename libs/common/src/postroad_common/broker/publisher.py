"""Publishing with confirms: what `publish` returns from is on a replicated, durable queue."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import aio_pika.exceptions
import aiormq.exceptions
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel as RawChannel
from pamqp import commands as spec

from postroad_common.broker.link import BrokerLink
from postroad_common.errors import BrokerAway, Unroutable

PUBLISH_TIMEOUT = 4.5  # seconds; SMTP and REST clients are promised an answer within 5
MAX_IN_FLIGHT = 2000
_PERSISTENT = 2


class Publication(NamedTuple):
    """One publication. After `expires` seconds in a queue it is dead-lettered; None: never."""

    exchange: str
    routing_key: str
    body: bytes
    expires: float | None = None


class Publisher:
    """Many publications in flight on one channel, each awaited by its own caller only."""

    def __init__(self, link: BrokerLink) -> None:
        self._link = link
        self._channel: RawChannel | None = None
        self._connection: AbstractConnection | None = None
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        link.on_connect(self._attach)

    async def _attach(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        self._connection = connection
        # The wrapper is kept alive by its underlay's callbacks; hot paths use the underlay, which
        # costs about half as much per message.
        self._wrapper = channel
        raw = await channel.get_underlay_channel()
        assert isinstance(raw, RawChannel)  # noqa: S101 - what aio-pika is made of
        self._channel = raw

        def on_close(_: object) -> None:
            if self._channel is raw:
                self._link.renew("the publishing channel is gone")

        raw.closing.add_done_callback(on_close)

    @property
    def is_up(self) -> bool:
        """Whether a publication would be tried now."""
        return self._link.up.is_set() and self._channel is not None and not self._channel.is_closed

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        expires: float | None = None,
        timeout: float = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - the caller's promise to its own client
    ) -> None:
        """Publish and wait for the confirm; the default exchange is `""`.

        After `expires` seconds in a queue the message is dead-lettered.

        Raises:
            BrokerAway: not connected, not confirmed within `timeout` seconds, or refused. The
                message may or may not have arrived.
            Unroutable: no queue takes it.
        """
        channel = self._channel
        if not self.is_up or channel is None:
            raise BrokerAway("no connection to RabbitMQ")
        properties = spec.Basic.Properties(
            delivery_mode=_PERSISTENT,
            headers=dict(headers) if headers else None,
            expiration=None if expires is None else str(max(1, int(expires * 1000))),
        )
        try:
            async with asyncio.timeout(timeout), self._slots:
                await channel.basic_publish(
                    body,
                    exchange=exchange,
                    routing_key=routing_key,
                    properties=properties,
                    mandatory=True,
                    wait=False,
                )
        except aiormq.exceptions.PublishError as error:
            raise Unroutable(
                f"no queue for {exchange or 'default exchange'} {routing_key}"
            ) from error
        except TimeoutError as error:
            raise BrokerAway("RabbitMQ did not confirm in time") from error
        except (
            OSError,
            aio_pika.exceptions.AMQPError,
            aiormq.exceptions.AMQPError,
            RuntimeError,  # raised by the library when its writer is closed under our hands
            asyncio.InvalidStateError,
        ) as error:
            raise BrokerAway(f"publishing failed: {error!r}") from error
        except asyncio.CancelledError:
            # The library cancels what waits for a confirm when the channel dies. A cancellation
            # that was meant for this task must go through, the library's own must not.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise BrokerAway("the channel was closed") from None

    async def publish_many(
        self, publications: Iterable[Publication | tuple[str, str, bytes]]
    ) -> None:
        """Publish all at once and wait until every one is confirmed.

        Raises:
            BrokerAway, Unroutable: at least one was not; others may have arrived.
        """
        tasks = [
            self.publish(one.exchange, one.routing_key, one.body, expires=one.expires)
            for one in (Publication(*publication) for publication in publications)
        ]
        if len(tasks) == 1:
            await tasks[0]
            return
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
