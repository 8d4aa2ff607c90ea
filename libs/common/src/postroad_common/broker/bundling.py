"""Publishing mails together: what comes up while confirms are awaited shares one AMQP message.

A lone mail leaves at once and alone; nothing waits for a timer, unless a confirm is late. Each mail
is safe, or not, with the confirm of the AMQP message that it left in.
"""

import asyncio
from dataclasses import dataclass

from postroad_common.broker.publisher import LATE, PUBLISH_TIMEOUT, Publisher
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.metrics import BUNDLE_MAILS, BUNDLES
from postroad_common.schemas.bundle import bundle
from postroad_common.tasks import BackgroundTasks

MOST_OCTETS = 131_072
"""Of a bundle; a larger frame leaves alone."""
MOST_UNDER_WAY = 4
"""AMQP messages that may be unconfirmed before mails wait for each other: at half load hardly any
mail waits for two confirms, and at full load bundles are as large as with one."""


@dataclass(slots=True, eq=False)
class _Mail:
    """A frame that waits to leave; `deadline` is in loop time."""

    frame: bytes
    deadline: float
    safe: "asyncio.Future[None]"


class BundlePublisher:
    """Publishes mails to one queue, at most `most` in one AMQP message."""

    def __init__(self, publisher: Publisher, queue: str, *, most: int) -> None:
        self._publisher = publisher
        self._queue = queue
        self._most = most
        self._waiting: list[_Mail] = []
        self._octets = 0  # of those that wait
        self._under_way = 0  # AMQP messages that are not confirmed
        self._late: asyncio.TimerHandle | None = None  # when what waits leaves in any case
        self._tasks = BackgroundTasks("bundles")

    async def publish(
        self,
        frame: bytes,
        *,
        timeout: float = PUBLISH_TIMEOUT,  # noqa: ASYNC109 - as that of the publisher
    ) -> None:
        """Publish the mail in `frame` and wait for the confirm.

        Raises:
            BrokerAway, Unroutable: as `Publisher.publish`.
        """
        if self._most == 1 or self._under_way < MOST_UNDER_WAY:
            await self._publish_now([frame], timeout)
            return
        loop = asyncio.get_running_loop()
        mail = _Mail(frame, loop.time() + timeout, loop.create_future())
        if self._octets + len(frame) > MOST_OCTETS:
            self._leave()
        if not self._waiting:
            self._late = loop.call_later(LATE, self._leave)
        self._waiting.append(mail)
        self._octets += len(frame)
        if len(self._waiting) >= self._most:
            self._leave()
        try:
            async with asyncio.timeout(timeout):
                await mail.safe
        except TimeoutError:
            raise BrokerAway("RabbitMQ did not confirm in time") from None
        finally:
            if mail in self._waiting:  # nobody waits for it any more
                self._waiting.remove(mail)
                self._octets -= len(frame)

    async def _publish_now(self, frames: list[bytes], timeout: float) -> None:  # noqa: ASYNC109
        self._under_way += 1
        try:
            await self._publisher.publish("", self._queue, bundle(frames), timeout=timeout)
        finally:
            self._under_way -= 1
            if self._waiting and self._under_way < MOST_UNDER_WAY:
                self._leave()
        BUNDLES.inc()
        BUNDLE_MAILS.inc(len(frames))

    def _leave(self) -> None:
        """Let what waits leave together."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._waiting:
            mails, self._waiting, self._octets = self._waiting, [], 0
            self._tasks.spawn(self._publish_all(mails))

    async def _publish_all(self, mails: list[_Mail]) -> None:
        left = max(mail.deadline for mail in mails) - asyncio.get_running_loop().time()
        failure: BrokerAway | Unroutable | None = None
        try:
            await self._publish_now([mail.frame for mail in mails], left)
        except (BrokerAway, Unroutable) as error:
            failure = error
        for mail in mails:
            if mail.safe.done():
                continue
            if failure is None:
                mail.safe.set_result(None)
            else:
                mail.safe.set_exception(type(failure)(str(failure)))
