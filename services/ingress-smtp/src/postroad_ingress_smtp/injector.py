"""Where accepted messages go: to the broker, and the bodies of large ones to the store first."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from postroad_common.broker.bundling import BundlePublisher
from postroad_common.broker.publisher import Publisher
from postroad_common.errors import BrokerAway
from postroad_common.mail.reply import Reply
from postroad_common.schemas.submission import BodyReference
from postroad_common.store.access import within
from postroad_common.store.bodies import Bodies
from postroad_ingress_smtp import metrics, replies

ANSWER_WITHIN = 4.0
"""Seconds from the dot to the reply, whatever is away; the contract says 5."""
_LEAST_PUBLISH_SECONDS = 0.75


@dataclass(frozen=True, slots=True)
class Injector:
    """Puts messages on a durable queue, within the time that a client waits."""

    publisher: Publisher
    submissions: BundlePublisher
    bodies: Bodies
    inline_body_max: int
    """Octets above which a body goes by way of the store."""
    expire_seconds: float
    """Seconds after which a message is given up, and its stored body may go."""
    body_keep_seconds: float
    """Seconds for which a stored body is kept beyond that, for DSNs and the archive."""
    clock: Callable[[], float] = time.monotonic

    def ready(self) -> Reply | None:
        """Return the refusal to read a message while the broker is away."""
        return None if self.publisher.is_up else replies.UNREADY

    async def store(self, body: bytes, expires: float, *, dot: float) -> BodyReference | None:
        """Store a body that is too large for the broker; None for a smaller one.

        It is kept for `body_keep_seconds` after `expires` (Unix time). `dot`: when the message had
        arrived.

        Raises:
            StoreAway, BrokerAway: it is not stored, or would be in vain.
        """
        if len(body) <= self.inline_body_max:
            return None
        if not self.publisher.is_up:
            raise BrokerAway("no connection to RabbitMQ")
        with within(max(_LEAST_PUBLISH_SECONDS, self._left(dot) - _LEAST_PUBLISH_SECONDS)):
            return await self.bodies.put(body, expires + self.body_keep_seconds)

    async def submit(self, frame: bytes, *, dot: float) -> None:
        """Return when the broker has confirmed a submission. `dot`: when it had arrived.

        It may share an AMQP message with others that arrive at the same time.

        Raises:
            BrokerAway, Unroutable: it has not, within `ANSWER_WITHIN` of the dot.
        """
        await self.submissions.publish(frame, timeout=self._left(dot))
        metrics.PUBLISH_SECONDS.observe(self.clock() - dot)

    async def publish(self, queue: str, frames: Sequence[bytes], *, dot: float) -> None:
        """Return when the broker has confirmed `frames`. `dot`: when the message had arrived.

        Raises:
            BrokerAway, Unroutable, TimeoutError: it has not, within `ANSWER_WITHIN` of the dot.
        """
        left = self._left(dot)
        if len(frames) == 1:
            await self.publisher.publish("", queue, frames[0], timeout=left)
        else:
            async with asyncio.timeout(left):
                await self.publisher.publish_many([("", queue, frame) for frame in frames])
        metrics.PUBLISH_SECONDS.observe(self.clock() - dot)

    def _left(self, dot: float) -> float:
        return max(_LEAST_PUBLISH_SECONDS, ANSWER_WITHIN - (self.clock() - dot))
