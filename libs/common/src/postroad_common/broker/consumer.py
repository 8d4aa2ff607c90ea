"""Consuming in micro-batches, where every delivery ends in exactly one of ack, retry, dead.

The handler gets what is there, up to `batch` deliveries, and ends each of them. Trouble outside
(`Transient`) holds the batch in this process, because putting it back would count as a failed
delivery; a handler that raises anything else is tried with each delivery alone, so that one bad
message takes nobody with it, and is set aside after three failures.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

import aiormq.exceptions
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage

from postroad_common.broker.delivery import ConsumerChannel, Delivery
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.topology import Queue
from postroad_common.errors import Transient
from postroad_common.metrics import CONSUMED, DEAD_LETTERED, ENDINGS, QUEUE_AGE

FAILURES_ALLOWED = 3
HOLD_FIRST = 0.25  # seconds
HOLD_LONGEST = 10.0
RETRY_PAUSE = 1.0
RETRY_LONGEST = 30.0

_log = structlog.get_logger("consumer")


Handler = Callable[[list[Delivery]], Awaitable[None]]


class Consumer:
    """Takes messages from `queue` and gives them to `handler`.

    `prefetch` bounds what is in this process at once; `parallel` is how many handlers run at the
    same time. With `ends_later` the handler may return before its deliveries have ended. After a
    first message a worker waits `linger` seconds for more, where larger batches save work. `lost`
    is called whenever the channel is gone without having been closed here.

    Where the queue has a single active consumer, stopping and pausing keep the place until what was
    begun has ended: the broker gives the queue to the next consumer only then.
    """

    def __init__(
        self,
        link: BrokerLink,
        publisher: Publisher,
        queue: Queue,
        handler: Handler,
        *,
        batch: int = 64,
        prefetch: int = 256,
        parallel: int = 2,
        ends_later: bool = False,
        linger: float = 0.0,
        lost: Callable[[], None] | None = None,
    ) -> None:
        self._link = link
        self._publisher = publisher
        self._queue = queue
        self._handler = handler
        self._batch = batch
        self._prefetch = prefetch
        self._parallel = parallel
        self._ends_later = ends_later
        self._linger = linger
        self._lost = lost
        self._keeps_place = bool(queue.declaration.get("x-single-active-consumer"))
        self._paused = False
        self._pending: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._channel: ConsumerChannel | None = None
        self._wrapper: AbstractChannel | None = None
        self._tag: str | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._held: set[asyncio.TimerHandle] = set()
        self._open: set[Delivery] = set()
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        self._stopping = False
        self._stop_called = asyncio.Event()
        self._counts = {ending: CONSUMED.labels(queue.label, ending) for ending in ENDINGS}
        self._dead = DEAD_LETTERED.labels(queue.label)
        QUEUE_AGE.labels(queue.label)

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
        return len(self._open)

    @property
    def _takes(self) -> bool:
        return not (self._paused or self._stopping)

    async def start(self) -> None:
        """Begin, now or as soon as the link is up."""
        self._workers = [
            asyncio.create_task(self._work(), name=f"{self._queue.name}-{number}")
            for number in range(self._parallel)
        ]
        await self._link.add(self._attach)

    async def stop(self) -> None:
        """Take no more; return when what was begun has ended. What was not begun goes back."""
        self._stopping = True
        self._stop_called.set()
        self._link.remove(self._attach)
        channel = self._channel
        await self._cancel(channel)
        for handle in self._held:
            handle.cancel()
        self._drop_pending()
        self._wake.set()
        for worker in self._workers:
            await worker
        if self._ends_later:
            await self._all_ended.wait()
        if channel is not None and self._wrapper is not None and not channel.raw.is_closed:
            await channel.flushed()
            with contextlib.suppress(Exception):  # the broker puts back what is not acknowledged
                await self._wrapper.close()

    async def pause(self, patience: float | None = None) -> None:
        """Take no more, drop what was not begun, and detach when what was begun has ended.

        After `patience` seconds it detaches all the same; the broker then brings again what has not
        ended. `resume` attaches anew: behind the others, where a single one is active.
        """
        self._paused = True
        self._link.remove(self._attach)
        channel, wrapper = self._channel, self._wrapper
        await self._cancel(channel)
        self._drop_pending()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended.wait(), patience)
        self._channel = self._wrapper = None
        if channel is not None and wrapper is not None and not channel.raw.is_closed:
            await channel.flushed()
            channel.stale = True
            with contextlib.suppress(Exception):  # as in stop
                await wrapper.close()

    async def resume(self) -> None:
        """Take messages again, after `pause` has returned."""
        self._paused = False
        await self._link.add(self._attach)

    async def _cancel(self, channel: ConsumerChannel | None) -> None:
        """Ask for no more; not where that would give the queue to another consumer too early."""
        if self._keeps_place or channel is None or self._tag is None or channel.raw.is_closed:
            return
        with contextlib.suppress(aiormq.exceptions.AMQPError, OSError, RuntimeError):
            await channel.raw.basic_cancel(self._tag)

    def _drop_pending(self) -> None:
        for delivery in self._pending:
            self._forget(delivery)
        self._pending.clear()

    async def _attach(self, connection: AbstractConnection) -> None:
        if self._channel is not None:
            self._channel.stale = True
            self._drop_pending()
            for delivery in list(self._open):
                if delivery.stale and self._ends_later is False:
                    self._forget(delivery)
        wrapper = await connection.channel(publisher_confirms=False)
        raw = await wrapper.get_underlay_channel()
        channel = ConsumerChannel(raw)
        self._channel, self._wrapper = channel, wrapper
        await raw.basic_qos(prefetch_count=self._prefetch)

        async def on_message(message: DeliveredMessage) -> None:
            channel.delivered = True
            if not self._takes:
                return  # it goes to the next consumer when this channel closes
            delivery = Delivery(self, channel, message)
            self._open.add(delivery)
            self._all_ended.clear()
            self._pending.append(delivery)
            self._wake.set()

        def on_close(*_: object) -> None:
            unexpected = not channel.stale and self._takes
            channel.stale = True
            if unexpected:
                self._link.renew(f"the channel of {self._queue.name} is gone")
                if self._lost is not None:
                    self._lost()

        async def on_cancel(_: object) -> None:
            self._link.renew(f"the broker cancelled the consumer of {self._queue.name}")

        raw.closing.add_done_callback(on_close)
        raw.on_consumer_cancel_callbacks.add(on_cancel)
        answer = await raw.basic_consume(self._queue.name, on_message)
        self._tag = answer.consumer_tag
        if not self._takes and self._channel is channel:  # paused meanwhile
            channel.stale = True
            await wrapper.close()

    def ended(self, delivery: Delivery, how: str) -> None:
        """Count; called by the delivery."""
        self._counts[how].inc()
        self._forget(delivery)

    def left(self, delivery: Delivery) -> None:
        """Wait for it no longer; called by the delivery."""
        self._forget(delivery)

    def _forget(self, delivery: Delivery) -> None:
        self._open.discard(delivery)
        if not self._open:
            self._all_ended.set()

    def hold(self, delivery: Delivery, reason: str) -> None:
        """Give the delivery to the handler again after a pause."""
        pause = min(RETRY_LONGEST, RETRY_PAUSE * 2 ** (delivery.tries - 1))
        self._counts["retry"].inc()
        _log.info("held for another try", queue=self._queue.name, reason=reason, seconds=pause)
        if self._stopping:
            self._forget(delivery)
            return
        loop = asyncio.get_running_loop()
        handle: asyncio.TimerHandle

        def again() -> None:
            self._held.discard(handle)
            self._pending.append(delivery)
            self._wake.set()

        handle = loop.call_later(pause * random.uniform(0.8, 1.2), again)
        self._held.add(handle)

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

    async def _work(self) -> None:
        while True:
            while not self._pending:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
            if self._linger and len(self._pending) < self._batch and not self._stopping:
                await asyncio.sleep(self._linger)
            batch: list[Delivery] = []
            while self._pending and len(batch) < self._batch:
                delivery = self._pending.popleft()
                if delivery.stale:
                    self._forget(delivery)
                else:
                    batch.append(delivery)
            if batch:
                await self._handle(batch)

    async def _handle(self, batch: list[Delivery]) -> None:
        """Run the handler until each delivery has ended, is held, or is no longer ours."""
        pause = HOLD_FIRST
        failures = 0
        while True:
            todo = [delivery for delivery in batch if self._is_ours(delivery)]
            if not todo:
                return
            held_before = {delivery: delivery.tries for delivery in todo}
            try:
                await self._handler(todo)
            except Transient as error:
                _log.warning(
                    "held: something is away",
                    queue=self._queue.name,
                    error=str(error),
                    messages=len(todo),
                    seconds=round(pause, 2),
                )
                if await self._stopped_within(pause * random.uniform(0.8, 1.2)):
                    self._abandon(todo)
                    return
                pause = min(HOLD_LONGEST, pause * 2)
                batch = [d for d in todo if d.tries == held_before[d]]
                continue
            except Exception as error:  # noqa: BLE001 - one bad message must not stop the queue
                _log.exception("handler failed", queue=self._queue.name, messages=len(todo))
                left = [d for d in todo if not d.ended and d.tries == held_before[d]]
                if len(left) > 1:
                    for delivery in left:
                        await self._handle([delivery])
                    return
                failures += 1
                if failures >= FAILURES_ALLOWED and left:
                    await self._bury_or_hold(left[0], f"handler failed: {error!r}")
                    return
                batch = left
                if await self._stopped_within(pause):
                    self._abandon(left)
                    return
                continue
            if not self._ends_later:
                for delivery in todo:
                    if not delivery.ended and delivery.tries == held_before[delivery]:
                        _log.error("the handler forgot a delivery", queue=self._queue.name)
                        await delivery.retry("the handler did not end it")
            return

    def _is_ours(self, delivery: Delivery) -> bool:
        if delivery.stale and not delivery.ended:
            self._forget(delivery)
        return not delivery.ended and not delivery.stale

    def _abandon(self, deliveries: list[Delivery]) -> None:
        """At shutdown: what has not ended goes back to the broker with the channel."""
        for delivery in deliveries:
            self._forget(delivery)

    async def _bury_or_hold(self, delivery: Delivery, reason: str) -> None:
        try:
            await delivery.dead(reason)
        except Transient:
            await delivery.retry(reason)

    async def _stopped_within(self, seconds: float) -> bool:
        """Wait; cut short by `stop`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_called.wait(), seconds)
        return self._stopping
