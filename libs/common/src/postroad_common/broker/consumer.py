"""Consuming in micro-batches, where every delivery ends in exactly one of ack, retry, dead.

The handler gets what is there, up to `batch` deliveries, and ends each of them. What becomes of
those that it fails with is in `handling`.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

import aiormq.exceptions
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage

from postroad_common.broker.bundles import (
    deliveries_of,
    is_suspect,
    put_back,
    without_suspects,
)
from postroad_common.broker.delivery import ConsumerChannel, Delivery
from postroad_common.broker.handling import Handler, Handling
from postroad_common.broker.inbox import Inbox
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.requeued import note_requeued
from postroad_common.broker.suspects import MarkStore, Suspects
from postroad_common.broker.topology import QUEUES, Queue
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.mail.requeue import RequeueReason
from postroad_common.metrics import CONSUMED, DEAD_LETTERED, ENDINGS, QUEUE_AGE
from postroad_common.tasks import BackgroundTasks

RETRY_PAUSE = 1.0  # seconds; doubled with each try
RETRY_LONGEST = 30.0

_log = structlog.get_logger("consumer")


class Consumer:
    """Takes messages from `queue` and gives them to a handler.

    `prefetch` bounds how many AMQP messages are in this process at once, `room` how many mails
    handlers have begun with (a message may bring several); `parallel` is how many handlers run at
    the same time. With `ends_later` the handler may return before its deliveries have ended. After
    a first message a worker waits `linger` seconds for more, where larger batches save work, and on
    while more keep coming, up to `linger_longest` seconds. With `marks`, a message that kills its
    process again and again is set aside (`suspects`). Several mails in one AMQP message are
    deliveries like others (`bundles`).

    Where the queue has a single active consumer, stopping and pausing keep the place until what was
    begun has ended: the broker gives the queue to the next consumer only then.
    """

    def __init__(
        self,
        link: BrokerLink,
        publisher: Publisher,
        queue: Queue,
        *,
        batch: int = 64,
        prefetch: int = 256,
        room: float = math.inf,
        parallel: int = 2,
        ends_later: bool = False,
        linger: float = 0.0,
        linger_longest: float = 0.0,
        marks: MarkStore | None = None,
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._queue = queue
        self._batch = batch
        self._prefetch = prefetch
        self._parallel = parallel
        self._ends_later = ends_later
        self._linger = linger
        self._linger_longest = linger_longest
        self._lost: Callable[[], None] | None = None
        self._keeps_place = bool(queue.declaration.get("x-single-active-consumer"))
        self._inbox = Inbox(room)
        self._suspects = None if marks is None else Suspects(queue.name, self._inbox, marks)
        self._stop_called = asyncio.Event()
        self._channel: ConsumerChannel | None = None
        self._wrapper: AbstractChannel | None = None
        self._tag: str | None = None
        self._workers = BackgroundTasks("consumer")
        self._going_back = BackgroundTasks("mail put back alone")
        self._refuses: RequeueReason | None = None  # why it takes no more, if it does not
        self._counts = {ending: CONSUMED.labels(queue.label, ending) for ending in ENDINGS}
        self._dead = DEAD_LETTERED.labels(queue.label)
        QUEUE_AGE.labels(queue.label)
        self.attached_at = 0.0
        """When it last took its place in the broker's list of consumers (loop time)."""

    @property
    def is_active(self) -> bool:
        """Whether the broker gives the queue's messages to this consumer: it has given some.

        Of several consumers of a queue with a single active one, this is true for at most one.
        """
        channel = self._channel
        return channel is not None and channel.delivered and not channel.stale and self._takes

    @property
    def is_attached(self) -> bool:
        """Whether it has its place in the broker's list of consumers."""
        return self._channel is not None and not self._channel.stale and self._takes

    @property
    def under_way(self) -> int:
        """How many deliveries have not ended."""
        return len(self._inbox)

    @property
    def _takes(self) -> bool:
        return self._refuses is None

    async def start(self, handler: Handler, *, lost: Callable[[], None] | None = None) -> None:
        """Begin to give messages to `handler`, now or as soon as the link is up.

        `lost` is called whenever the channel is gone without having been closed here.
        """
        self._lost = lost
        handling = Handling(
            self._queue.name,
            handler,
            self._inbox,
            self._stop_called,
            ends_later=self._ends_later,
        )
        for number in range(self._parallel):
            self._workers.spawn(self._work(handling), name=f"{self._queue.name}-{number}")
        await self._link.add(self._attach)

    async def stop(self) -> None:
        """Take no more; return when what was begun has ended. What was not begun goes back."""
        await self._refuse(RequeueReason.DRAIN)
        self._stop_called.set()
        note_requeued(self._queue.name, RequeueReason.DRAIN, self._inbox.close())
        await self._workers.join()
        await self._going_back.join()
        if self._ends_later:
            await self._inbox.all_ended()
        channel, wrapper = self._channel, self._wrapper
        if channel is not None and wrapper is not None and not channel.raw.is_closed:
            await channel.flushed()
            with contextlib.suppress(Exception):  # the broker puts back what is not acknowledged
                await wrapper.close()

    async def pause(self, reason: RequeueReason, patience: float | None = None) -> None:
        """Take no more, drop what was not begun, and detach when what was begun has ended.

        After `patience` seconds it detaches all the same; the broker then brings again what has not
        ended. `resume` attaches anew: behind the others, where a single one is active.
        """
        await self._refuse(reason)
        channel, wrapper = self._channel, self._wrapper
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._inbox.all_ended(), patience)
        self._channel = self._wrapper = None
        if channel is not None and wrapper is not None and not channel.raw.is_closed:
            await channel.flushed()
            channel.stale = True
            with contextlib.suppress(Exception):  # as in stop
                await wrapper.close()

    async def resume(self) -> None:
        """Take messages again, after `pause` has returned."""
        self._refuses = None
        await self._link.add(self._attach)

    async def _refuse(self, reason: RequeueReason) -> None:
        """Take no more, for `reason`; what was not begun goes back."""
        self._refuses = reason
        self._link.remove(self._attach)
        await self._cancel(self._channel)
        note_requeued(self._queue.name, reason, self._inbox.drop_waiting())

    async def _cancel(self, channel: ConsumerChannel | None) -> None:
        """Ask for no more; not where that would give the queue to another consumer too early."""
        if self._keeps_place or channel is None or self._tag is None or channel.raw.is_closed:
            return
        with contextlib.suppress(aiormq.exceptions.AMQPError, OSError, RuntimeError):
            await channel.raw.basic_cancel(self._tag)

    async def _attach(self, connection: AbstractConnection) -> None:
        if self._channel is not None:
            self._on_close(self._channel)  # one that vanished was never closed
            self._detach(self._channel)
        wrapper = await connection.channel(publisher_confirms=False)
        raw = await wrapper.get_underlay_channel()
        channel = ConsumerChannel(raw)
        self._channel, self._wrapper = channel, wrapper
        # Others may ask before the broker has answered: it is about to be attached, not long ago.
        self.attached_at = asyncio.get_running_loop().time()
        await raw.basic_qos(prefetch_count=self._prefetch)

        async def on_message(message: DeliveredMessage) -> None:
            self._receive(channel, message)

        async def on_cancel(_: object) -> None:
            self._link.renew(f"the broker cancelled the consumer of {self._queue.name}")

        raw.on_consumer_cancel_callbacks.add(on_cancel)
        try:
            answer = await raw.basic_consume(self._queue.name, on_message)
        except aiormq.exceptions.ChannelNotFoundEntity:
            channel.stale = True
            if self._queue in QUEUES:
                raise  # it is declared with the next connection
            # One that comes and goes is no reason to give up the connection that others use.
            self._link.remove(self._attach)
            _log.warning("there is no such queue", queue=self._queue.name)
            return
        raw.closing.add_done_callback(lambda _: self._on_close(channel))
        self._tag = answer.consumer_tag
        self.attached_at = asyncio.get_running_loop().time()
        if not self._takes and self._channel is channel:  # paused meanwhile
            channel.stale = True
            await wrapper.close()

    def _detach(self, channel: ConsumerChannel) -> None:
        """Forget what came through `channel`, which is gone: the broker brings it again."""
        channel.stale = True
        self._inbox.channel_lost()
        if not self._ends_later:
            self._inbox.drop(lambda delivery: delivery.stale)

    def _receive(self, channel: ConsumerChannel, message: DeliveredMessage) -> None:
        channel.delivered = True
        if self._refuses is not None:  # it goes to the next consumer when this channel closes
            note_requeued(self._queue.name, self._refuses)
        else:
            self._inbox.put(*deliveries_of(self, channel, message))

    def _on_close(self, channel: ConsumerChannel) -> None:
        unexpected = not channel.stale and self._takes
        channel.stale = True
        channel.give_up()
        if unexpected:
            note_requeued(self._queue.name, RequeueReason.CONNECTION_LOST, len(self._inbox))
            self._link.renew(f"the channel of {self._queue.name} is gone")
            if self._lost is not None:
                self._lost()

    def ended(self, delivery: Delivery, how: str) -> None:
        """Count; called by the delivery."""
        self._counts[how].inc()
        self._inbox.forget(delivery)

    def left(self, delivery: Delivery, reason: RequeueReason) -> None:
        """Wait for it no longer; called by the delivery."""
        note_requeued(self._queue.name, reason)
        if delivery.bundle is None:
            self._inbox.forget(delivery)
        else:
            self._going_back.spawn(self._put_back(delivery))

    def hold(self, delivery: Delivery, reason: RequeueReason, text: str) -> None:
        """Give the delivery to the handler again after a pause."""
        pause = min(RETRY_LONGEST, RETRY_PAUSE * 2 ** (delivery.tries - 1))
        self._counts["retry"].inc()
        note_requeued(self._queue.name, reason, text=text, seconds=pause)
        if delivery.bundle is not None:
            self._going_back.spawn(self._put_back(delivery, pause))
        elif self._inbox.is_closed:
            self._inbox.forget(delivery)
        else:
            self._inbox.put_later(delivery, pause)

    async def _put_back(self, delivery: Delivery, pause: float | None = None) -> None:
        """Put it back alone; if that fails, it comes again after `pause`, or with its bundle."""
        try:
            if not delivery.stale:
                await put_back(self._publisher, self._queue.name, delivery)
        except (BrokerAway, Unroutable) as error:
            _log.warning("not put back alone", queue=self._queue.name, error=str(error))
            if pause is not None and not self._inbox.is_closed:
                self._inbox.put_later(delivery, pause)
                return
        self._inbox.forget(delivery)

    async def bury(self, delivery: Delivery, reason: str, part: bytes | None = None) -> None:
        """Put the body, or a part of it, on the dead-letter queue, confirmed."""
        target = self._queue.dead or self._queue.aside
        if target is None:
            raise RuntimeError(f"{self._queue.name} has no dead-letter queue")
        await self._publisher.publish(
            "",
            target,
            delivery.body if part is None else part,
            headers={
                "x-postroad-reason": reason[:1000],
                "x-postroad-queue": self._queue.name,
                "x-postroad-routing-key": delivery.routing_key,
                "x-postroad-time": int(time.time()),
            },
        )
        self._dead.inc()
        _log.error("dead-lettered", queue=self._queue.name, reason=reason)

    async def _work(self, handling: Handling) -> None:
        while batch := await self._inbox.take(self._batch, self._linger, self._linger_longest):
            for delivery in batch:
                if is_suspect(delivery):
                    note_requeued(self._queue.name, RequeueReason.TAKEN_APART)
                    await self._put_back(delivery, RETRY_PAUSE)
            rest = without_suspects(batch)
            if self._suspects is None:
                await handling.run(rest)
            else:
                await self._suspects.run(handling, rest)
