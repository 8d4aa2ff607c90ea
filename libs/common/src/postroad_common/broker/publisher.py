"""Publishing with confirms: what `publish` returns from is on a replicated, durable queue."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import aio_pika.exceptions
import aiormq.exceptions
from aiormq.channel import Channel as RawChannel

from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publishchannel import PublishChannel
from postroad_common.broker.publishframes import publication
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.metrics import PUBLISH_FAILURES, PUBLISH_SECONDS

PUBLISH_TIMEOUT = 4.5  # seconds; SMTP and REST clients are promised an answer within 5
CONFIRMS_MISSED = 10.0
"""Seconds after an overdue confirm, and until another one comes, in which it is not ready."""
LONGEST_STALL = 9.0
"""Seconds without any confirm after which a node is left, though it says that it is there."""
MAX_IN_FLIGHT = 2000
_AWAY = PUBLISH_FAILURES.labels("away")
_UNROUTABLE = PUBLISH_FAILURES.labels("unroutable")


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
        self._channel = PublishChannel(link)
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._stalled = 0.0  # since when none comes, or before the last one that came
        self._missed = -CONFIRMS_MISSED  # when one was last overdue

    @property
    def is_up(self) -> bool:
        """Whether a publication would be tried now."""
        return self._channel.is_open

    async def check(self) -> None:
        """Raise ConnectionError while publications are not confirmed: a readiness check."""
        await self._link.check()
        if self._missed > max(self._channel.heard, time.perf_counter() - CONFIRMS_MISSED):
            raise ConnectionError("RabbitMQ does not confirm what is published")

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
        one = Publication(exchange, routing_key, body, expires)
        where = f"{exchange or 'default exchange'} {routing_key}"
        began = time.perf_counter()
        with _counted(), translated(where):
            channel = self._open_channel()
            with self._suspecting(began):
                async with asyncio.timeout(timeout), self._slots:
                    async with channel.lock:
                        confirmation = await _send(channel, one, headers)
                    await confirmation
        self._channel.heard = heard = time.perf_counter()
        PUBLISH_SECONDS.observe(heard - began)

    async def publish_many(
        self, publications: Iterable[Publication | tuple[str, str, bytes]]
    ) -> None:
        """Publish all at once and wait until every one is confirmed.

        Raises:
            BrokerAway, Unroutable: at least one was not; others may have arrived.
        """
        for failure in await self.publish_each(publications):
            if failure is not None:
                raise failure

    async def publish_each(
        self, publications: Iterable[Publication | tuple[str, str, bytes]]
    ) -> "list[BrokerAway | Unroutable | None]":
        """Publish all at once; for each of them why it is not confirmed, or None if it is.

        One of those with `BrokerAway` may have arrived all the same.
        """
        wanted = [Publication(*publication) for publication in publications]
        confirmations: list[asyncio.Future[Any]] = []
        trouble: BrokerAway | Unroutable | None = None
        began = time.perf_counter()
        try:
            with translated("one of several messages"):
                channel = self._open_channel()
                with self._suspecting(began):
                    async with asyncio.timeout(PUBLISH_TIMEOUT), self._slots:
                        async with channel.lock:
                            for one in wanted:
                                confirmations.append(await _send(channel, one, None))  # noqa: PERF401
                        if confirmations:
                            await asyncio.wait(confirmations)
        except BrokerAway as error:
            trouble = error
        finally:
            for confirmation in confirmations:
                confirmation.cancel()  # nobody waits any longer for those that are left
        failures = [_failure(*pair) for pair in zip(wanted, confirmations, strict=False)]
        missing = BrokerAway("not published") if trouble is None else trouble
        failures += [missing] * (len(wanted) - len(failures))
        if wanted and not any(failures):
            self._channel.heard = heard = time.perf_counter()
            PUBLISH_SECONDS.observe(heard - began)
        for failure in failures:
            if failure is not None:
                _count(failure)
        return failures

    @contextlib.contextmanager
    def _suspecting(self, began: float) -> Iterator[None]:
        """Leave a node that has sent nothing since `began` when a confirm is overdue.

        It has vanished without closing (power, network): heartbeats would take longer to tell. One
        that sends them, but no confirms, has lost the leader of a queue, as all nodes have then: it
        is left only when that lasts, and another channel is tried before. Where there is no other
        node, leaving it would help nobody.
        """
        try:
            yield
        except TimeoutError:
            self._missed = time.perf_counter()
            if self._channel.heard < began:
                if self._stalled < self._channel.heard:
                    self._stalled = began
                lasts = self._missed - self._stalled > LONGEST_STALL
                if self._link.has_choice and (lasts or self._link.heard < began):
                    self._stalled = self._missed
                    self._link.leave("it does not confirm any more")
            raise

    def _open_channel(self) -> RawChannel:
        channel = self._channel.for_next()
        if channel is None:
            raise BrokerAway("no connection to RabbitMQ")
        return channel


async def _send(
    channel: RawChannel, one: Publication, headers: Mapping[str, Any] | None
) -> "asyncio.Future[Any]":
    """Write one publication; the future ends with its confirm. The channel's lock must be held.

    What `basic_publish` of the library does, for a third of its processor time: it makes a random
    id, a timer and three contexts for each message.
    """
    channel.delivery_tag += 1
    tag = channel.delivery_tag
    name = str(tag)  # by which the library finds the confirmation of what is returned
    try:
        frame = publication(
            channel.number,
            one.exchange,
            one.routing_key,
            one.body,
            message_id=name,
            expiration=None if one.expires is None else str(max(1, int(one.expires * 1000))),
            headers=headers,
            most=channel.max_content_size,
        )
        confirmation = channel.create_future()
        channel.confirmations[tag] = confirmation
        channel.message_id_delivery_tag[name] = tag
        confirmation.add_done_callback(lambda _: channel.message_id_delivery_tag.pop(name, None))
        await channel.write_queue.put(frame)
    except BaseException:
        channel.delivery_tag -= 1  # the broker has not seen it
        channel.confirmations.pop(tag, None)
        channel.message_id_delivery_tag.pop(name, None)
        raise
    return confirmation


def _failure(
    one: Publication, confirmation: "asyncio.Future[Any]"
) -> "BrokerAway | Unroutable | None":
    """Why `one` is not confirmed, if it is not."""
    if confirmation.cancelled():
        return BrokerAway("RabbitMQ did not confirm in time")
    if confirmation.exception() is None:
        return None
    try:
        with translated(f"{one.exchange or 'default exchange'} {one.routing_key}"):
            confirmation.result()
    except (BrokerAway, Unroutable) as error:
        return error
    return None


def _count(failure: BrokerAway | Unroutable) -> None:
    (_UNROUTABLE if isinstance(failure, Unroutable) else _AWAY).inc()


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """Count a publication that fails."""
    try:
        yield
    except (BrokerAway, Unroutable) as failure:
        _count(failure)
        raise


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Say in our words what went wrong with a publication to `where`."""
    try:
        yield
    except aiormq.exceptions.PublishError as error:
        raise Unroutable(f"no queue for {where}") from error
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
