"""Publishing with confirms: what `publish` returns from is on a replicated, durable queue."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import aio_pika.exceptions
import aiormq.exceptions
import structlog
from aiormq.exceptions import DeliveryError, PublishError

from postroad_common.broker.confirming import ConfirmingChannel
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publishchannel import PublishChannel
from postroad_common.broker.publishing import (
    BLOCKED,
    Publication,
    ensure_taken,
    refuse_if_blocked,
    send,
)
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.metrics import PUBLISH_FAILURES, PUBLISH_SECONDS

PUBLISH_TIMEOUT = 4.0  # seconds; SMTP and REST clients are promised an answer within 5
SILENT = 2.0
"""Seconds for which a node has sent nothing, although it is asked after one, when it is gone."""
LATE = 1.0
"""Seconds without a confirm after which the standby is used, if that does better."""
CONFIRMS_MISSED = 10.0
"""Seconds after an overdue confirm, and until another one comes, in which it is not ready."""
TRIAL_SECONDS = 0.25
"""While none comes, one publication in so many seconds is tried, and the others fail at once."""
LONGEST_STALL = 9.0
"""Seconds without any confirm after which a node is left, though it says that it is there."""
MAX_IN_FLIGHT = 2000
_log = structlog.get_logger("broker")
_AWAY = PUBLISH_FAILURES.labels("away")
_UNROUTABLE = PUBLISH_FAILURES.labels("unroutable")


class Publisher:
    """Many publications in flight on one channel, each awaited by its own caller only.

    While the broker takes nothing, because its disk or its memory is short, nothing is written, and
    nobody waits: what lay in the line would be delivered later, though it was refused and handed in
    again. The broker says when it goes on, and the next publication is tried.

    With a `standby`, a link to another node, a publication to a queue goes there now and then, so
    that its channel is known to all queues; and all of them do while the other link confirms
    nothing or less.
    """

    def __init__(self, link: BrokerLink, standby: BrokerLink | None = None) -> None:
        self._main = PublishChannel(link)
        self._standby = None if standby is None else PublishChannel(standby)
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._heard = 0.0  # when the last confirm came
        self._stalled = 0.0  # since when none comes, or before the last one that came
        self._missed = -CONFIRMS_MISSED  # when one was last overdue, and none had come meanwhile
        self._tried = -TRIAL_SECONDS

    @property
    def is_up(self) -> bool:
        """Whether a publication would be tried now."""
        current = self._current
        return current is not None and not current.is_blocked

    @property
    def _current(self) -> ConfirmingChannel | None:
        current = self._main.current
        if current is None and self._standby is not None:
            current = self._standby.current
        return current

    async def check(self) -> None:
        """Raise ConnectionError while publications are not confirmed: a readiness check."""
        current = self._current
        if current is None:
            raise ConnectionError("no connection to RabbitMQ")
        if current.is_blocked:
            raise ConnectionError(BLOCKED)
        if self._confirms_are_missing(time.perf_counter()):
            raise ConnectionError("RabbitMQ does not confirm what is published")

    def _confirms_are_missing(self, now: float) -> bool:
        return self._missed > max(self._heard, now - CONFIRMS_MISSED)

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
                message may or may not have arrived. At once while the broker takes nothing, and
                while the confirms of others are overdue, but for one that is tried now and then.
            Unroutable: no queue takes it.
        """
        one = Publication(exchange, routing_key, body, expires)
        queue = "" if exchange else routing_key
        began = time.perf_counter()
        with _counted(), translated(f"{exchange or 'default exchange'} {routing_key}"):
            place, channel = self._choose(queue, began)
            raw = channel.raw
            with self._awaiting(place, channel, began):
                async with asyncio.timeout(timeout), self._slots:
                    await ensure_taken(channel)
                    async with raw.lock:
                        confirmation = await send(raw, one, headers)
                    await confirmation
        self._confirmed(place, channel, began, queue)

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
        if not wanted:
            return []
        confirmations: list[asyncio.Future[Any]] = []
        trouble: BrokerAway | Unroutable | None = None
        began = time.perf_counter()
        try:
            with translated("one of several messages"):
                place, channel = self._choose("", began)
                raw = channel.raw
                with self._awaiting(place, channel, began):
                    async with asyncio.timeout(PUBLISH_TIMEOUT), self._slots:
                        await ensure_taken(channel)
                        async with raw.lock:
                            for one in wanted:
                                confirmations.append(await send(raw, one, None))  # noqa: PERF401
                        await asyncio.wait(confirmations)
                    refusal = confirmations[0].exception()
                    if isinstance(refusal, DeliveryError) and not _has_no_queue(refusal):
                        raise refusal
                self._confirmed(place, channel, began, "")
        except BrokerAway as error:
            trouble = error
        finally:
            for confirmation in confirmations:
                confirmation.cancel()  # nobody waits any longer for those that are left
        failures = [_failure(*pair) for pair in zip(wanted, confirmations, strict=False)]
        missing = BrokerAway("not published") if trouble is None else trouble
        failures += [missing] * (len(wanted) - len(failures))
        for failure in failures:
            if failure is not None:
                _count(failure)
        return failures

    def _choose(self, queue: str, now: float) -> tuple[PublishChannel, ConfirmingChannel]:
        """Return the channel for a publication to `queue`, and the place that it belongs to.

        Raises:
            BrokerAway: there is none, or they confirm nothing, or the broker takes nothing.
        """
        place, standby = self._main, self._standby
        channel = place.current
        if standby is not None:
            other = standby.current
            if channel is None or channel.stall(now) > LATE:
                if other is not None and self._does_better(other, channel, queue, now):
                    _log.warning("publishing by way of another node", role=standby.link.role)
                    self._main, self._standby = standby, place
                    place, channel = standby, other
                elif other is not None:
                    standby.look(other, now)
            elif (
                queue
                and other is not None
                and not other.knows(queue)
                and standby.is_settled
                and not other.stall(now)
                and not other.is_blocked
            ):
                return standby, other
        if channel is None:
            raise BrokerAway("no connection to RabbitMQ")
        refuse_if_blocked(channel)
        if self._confirms_are_missing(now):
            if now - self._tried < TRIAL_SECONDS:
                raise BrokerAway("RabbitMQ does not confirm what is published")
            self._tried = now
        place.look(channel, now)
        return place, channel

    def _does_better(
        self,
        other: ConfirmingChannel,
        channel: ConfirmingChannel | None,
        queue: str,
        now: float,
    ) -> bool:
        """Tell whether the standby's channel is to be used instead of the one that confirms late.

        One that the queue does not know is worse than one that will be told of a new leader, unless
        that one's node is gone.
        """
        if channel is None:
            return True
        if other.stall(now) >= channel.stall(now):
            return False
        gone = now - self._main.link.heard > SILENT
        return gone or not queue or other.knows(queue) or not channel.is_proven

    @contextlib.contextmanager
    def _awaiting(
        self, place: PublishChannel, channel: ConfirmingChannel, began: float
    ) -> Iterator[None]:
        """Note what becomes of a publication that fails."""
        channel.begin(began)
        try:
            yield
        except TimeoutError:
            channel.given_up(overdue=True)
            self._suspect(place, began)
            raise
        except DeliveryError as error:
            channel.given_up(overdue=False)
            if not _has_no_queue(error):
                place.refused(channel)
            raise
        except BaseException:
            channel.given_up(overdue=False)
            raise

    def _confirmed(
        self, place: PublishChannel, channel: ConfirmingChannel, began: float, queue: str
    ) -> None:
        self._heard = place.heard = heard = time.perf_counter()
        channel.confirmed(heard, queue)
        PUBLISH_SECONDS.observe(heard - began)

    def _suspect(self, place: PublishChannel, began: float) -> None:
        """Leave a node that has sent nothing since `began`: a confirm is overdue.

        It has vanished without closing (power, network). One that sends heartbeats, but no
        confirms, has lost the leader of a queue, as all nodes have then: it is left only when that
        lasts, and another channel is tried before. Where there is no other node, leaving it would
        help nobody.
        """
        now = time.perf_counter()
        if self._heard < began:
            self._missed = now
        if place.heard < began:
            if self._stalled < place.heard:
                self._stalled = began
            lasts = now - self._stalled > LONGEST_STALL
            if place.link.has_choice and (lasts or place.link.heard < began):
                self._stalled = now
                place.link.leave("it does not confirm any more")


def _has_no_queue(error: DeliveryError) -> bool:
    """Whether the broker has sent a publication back, rather than refused it."""
    return isinstance(error, PublishError)


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
