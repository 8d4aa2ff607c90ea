"""A message from a queue, ended exactly once, and the channel that acknowledges it.

Several may share one AMQP message (`schemas.bundle`): each is a delivery of its own, and the AMQP
message is acknowledged when all of them have ended.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

import aiormq.exceptions
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage

from postroad_common.mail.requeue import RequeueReason

ALONE = "x-postroad-alone"
"""The header of a message that came in a bundle and went back alone: how often it was redelivered
before."""


class ConsumerChannel:
    """A channel with its acknowledgements, coalesced per turn of the event loop."""

    def __init__(self, raw: RawChannel) -> None:
        self.raw = raw
        self.stale = False
        self.delivered = False  # anything at all
        self._lowest = 1  # the first delivery tag that is not acknowledged yet
        self._acked: set[int] = set()
        self._sent: set[int] = set()  # acknowledged singly, above _lowest
        self._flushing: asyncio.Task[None] | None = None

    def ack(self, tag: int) -> None:
        """Acknowledge the delivery with this tag soon, together with others."""
        self._acked.add(tag)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        await asyncio.sleep(0)
        with contextlib.suppress(aiormq.exceptions.AMQPError, OSError, RuntimeError):
            while self._acked:
                upto = 0
                while self._lowest in self._acked or self._lowest in self._sent:
                    if self._lowest in self._acked:
                        self._acked.discard(self._lowest)
                        upto = self._lowest
                    self._sent.discard(self._lowest)
                    self._lowest += 1
                if upto:
                    await self.raw.basic_ack(upto, multiple=True, wait=False)
                singly, self._acked = self._acked, set()
                for tag in sorted(singly):
                    self._sent.add(tag)
                    await self.raw.basic_ack(tag, wait=False)

    async def flushed(self) -> None:
        """Wait until all acknowledgements are written."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing})

    def give_up(self) -> None:
        """Write no more: the connection is lost, and nobody reads from its line."""
        if self._flushing is not None:
            self._flushing.cancel()


class Bundle:
    """An AMQP message that brought several deliveries, until each of them has ended."""

    __slots__ = ("_channel", "_tag", "ended_at", "left", "mails")

    def __init__(self, channel: ConsumerChannel, tag: int, mails: int) -> None:
        self._channel = channel
        self._tag = tag
        self.mails = mails
        self.left = mails
        self.ended_at: float | None = None
        """When the first of them ended (loop time): were all brought again now, it would be too."""

    def end_one(self) -> None:
        """Count one that has ended; acknowledge the AMQP message with the last."""
        if self.ended_at is None:
            self.ended_at = asyncio.get_running_loop().time()
        self.left -= 1
        if not self.left:
            self._channel.ack(self._tag)


class Ender(Protocol):
    """What a delivery needs of its consumer."""

    def hold(self, delivery: "Delivery", reason: RequeueReason, text: str) -> None:
        """Give the delivery to the handler again after a pause."""

    async def bury(self, delivery: "Delivery", reason: str, part: bytes | None = None) -> None:
        """Put the body, or a part of it, on the dead-letter queue, confirmed."""

    def ended(self, delivery: "Delivery", how: str) -> None:
        """Count a delivery that has ended."""

    def left(self, delivery: "Delivery", reason: RequeueReason) -> None:
        """Wait for the delivery no longer."""


class Delivery:
    """A message from the queue, to be ended exactly once."""

    __slots__ = ("_channel", "_consumer", "_frame", "_message", "bundle", "ended", "tries")

    def __init__(
        self,
        consumer: Ender,
        channel: ConsumerChannel,
        message: DeliveredMessage,
        frame: bytes | None = None,
        bundle: Bundle | None = None,
    ) -> None:
        self._consumer = consumer
        self._channel = channel
        self._message = message
        self._frame = frame
        self.bundle = bundle  # what it came in together with others
        self.ended = False
        self.tries = 0  # how often `retry` was called

    @property
    def body(self) -> bytes:
        """The frame."""
        return self._message.body if self._frame is None else self._frame

    @property
    def redelivered(self) -> bool:
        """Whether it may have been delivered before, here or elsewhere."""
        return bool(self._message.redelivered)

    @property
    def redeliveries(self) -> int:
        """How often the broker has brought it before, as far as it counts that."""
        headers = self.headers
        counts = (headers.get("x-delivery-count"), headers.get(ALONE))
        return sum(count for count in counts if isinstance(count, int))

    @property
    def routing_key(self) -> str:
        """The key it was published with; empty if it was published together with others."""
        if self.bundle is not None or ALONE in self.headers:
            return ""
        return self._message.routing_key or ""

    @property
    def headers(self) -> Mapping[str, Any]:
        """The AMQP headers."""
        return self._message.header.properties.headers or {}

    @property
    def stale(self) -> bool:
        """Whether its channel is gone: the broker delivers it again, ending it has no effect."""
        return self._channel.stale

    def ack(self) -> None:
        """Done: what follows from it is safe elsewhere."""
        self._end("ack")
        self._acknowledge()

    async def retry(self, reason: RequeueReason, text: str) -> None:
        """Not now: it stays unacknowledged in this process and comes to the handler again.

        The pause grows with `tries`, to 30 seconds. `text` says more about `reason`, for people.
        One of a bundle goes back to its queue alone instead, so that it does not hold up the end of
        the others.
        """
        self.tries += 1
        self._consumer.hold(self, reason, text)

    async def dead(self, reason: str) -> None:
        """Never: it goes to the dead-letter queue with its reason.

        Raises:
            BrokerAway: it could not be put there; the delivery has not ended.
        """
        await self._consumer.bury(self, reason)
        self._end("dead")
        self._acknowledge()

    async def set_aside(self, part: bytes, reason: str) -> None:
        """Put a part of it on the dead-letter queue; the delivery itself goes on and has to end.

        Raises:
            BrokerAway: as `dead`.
        """
        await self._consumer.bury(self, reason, part)

    def leave(self, reason: RequeueReason) -> None:
        """Not ended here: the broker delivers it again once the channel closes.

        One of a bundle goes back to its queue alone: others of it may have ended.
        """
        self._consumer.left(self, reason)

    def moved(self) -> None:
        """End it: a copy of it is in its queue, confirmed. For the consumer."""
        self.ended = True
        self._acknowledge()

    def _acknowledge(self) -> None:
        if self.bundle is None:
            self._channel.ack(self._message.delivery_tag or 0)
        else:
            self.bundle.end_one()

    def _end(self, how: str) -> None:
        if self.ended:
            raise RuntimeError("a delivery ends once")
        self.ended = True
        self._consumer.ended(self, how)
