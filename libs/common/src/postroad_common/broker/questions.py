"""Questions to another service over RabbitMQ, and their answers: for what somebody waits for.

A question goes to a queue whose messages expire. Its answer comes by RabbitMQ's direct reply-to: no
queue of its own, and an answer that nobody waits for any more is dropped by the broker. Nothing
here is durable: whoever gets no answer asks again.
"""

import asyncio
from collections.abc import Awaitable, Callable

import aiormq.exceptions
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel as RawChannel
from pamqp import commands as spec

from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import translated
from postroad_common.broker.topology import Queue
from postroad_common.errors import BrokerAway, Transient
from postroad_common.mail.identifiers import new_id
from postroad_common.tasks import BackgroundTasks

_REPLIES = "amq.rabbitmq.reply-to"
_log = structlog.get_logger("questions")

Answer = Callable[[bytes], Awaitable[bytes]]


class NoAnswer(Transient):
    """Nobody has answered in time."""


class Asker:
    """Asks on a channel of its own."""

    def __init__(self, link: BrokerLink) -> None:
        self._link = link
        self._channel: RawChannel | None = None
        self._wrapper: AbstractChannel | None = None
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        link.on_connect(self._attach)

    async def ask(self, queue: Queue, body: bytes, seconds: float) -> bytes:
        """Return the answer to `body` from a consumer of `queue`.

        Raises:
            NoAnswer: none came within `seconds`.
            BrokerAway: it cannot be asked, or the queue is full.
        """
        channel = self._channel
        if channel is None or channel.is_closed or not self._link.up.is_set():
            raise BrokerAway("no connection to RabbitMQ")
        name = new_id()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[name] = answer
        try:
            async with asyncio.timeout(seconds):
                with translated(queue.name):
                    await channel.basic_publish(
                        body,
                        routing_key=queue.name,
                        mandatory=True,
                        properties=spec.Basic.Properties(
                            reply_to=_REPLIES,
                            correlation_id=name,
                            expiration=str(max(1, int(seconds * 1000))),
                            message_id=name,
                        ),
                    )
                return await answer
        except TimeoutError:
            raise NoAnswer(f"no answer from {queue.name} within {seconds:g} s") from None
        finally:
            del self._waiting[name]

    async def _attach(self, connection: AbstractConnection) -> None:
        self._wrapper = await connection.channel(publisher_confirms=True, on_return_raises=True)
        raw = await self._wrapper.get_underlay_channel()
        assert isinstance(raw, RawChannel)  # noqa: S101 - what aio-pika is made of
        await raw.basic_consume(_REPLIES, self._on_answer, no_ack=True)
        self._channel = raw
        raw.closing.add_done_callback(lambda _: self._on_close(raw))

    async def _on_answer(self, message: DeliveredMessage) -> None:
        waiting = self._waiting.get(message.header.properties.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(bytes(message.body))

    def _on_close(self, channel: RawChannel) -> None:
        if self._channel is channel:
            self._channel = None
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(BrokerAway("the channel was closed"))
            self._link.renew("the channel for questions is gone")


class Answerer:
    """Answers the questions in `queue`, at most `at_once` at a time."""

    def __init__(self, link: BrokerLink, queue: Queue, answer: Answer, at_once: int = 1) -> None:
        self._link = link
        self._queue = queue
        self._answer = answer
        self._at_once = at_once
        self._channel: RawChannel | None = None
        self._wrapper: AbstractChannel | None = None
        self._tag: str | None = None
        self._tasks = BackgroundTasks("answers")

    async def start(self) -> None:
        """Begin to answer, now or as soon as the link is up."""
        await self._link.add(self._attach)

    async def stop(self) -> None:
        """Take no more questions; return when those that were begun are answered."""
        self._link.remove(self._attach)
        channel, self._channel = self._channel, None
        if channel is not None and self._tag is not None and not channel.is_closed:
            try:
                await channel.basic_cancel(self._tag)
            except (OSError, RuntimeError, aiormq.exceptions.AMQPError) as error:
                _log.warning(
                    "not cancelled; the broker gives questions to others", error=str(error)
                )
        await self._tasks.join()

    async def _attach(self, connection: AbstractConnection) -> None:
        self._wrapper = await connection.channel(publisher_confirms=False)
        raw = await self._wrapper.get_underlay_channel()
        assert isinstance(raw, RawChannel)  # noqa: S101 - what aio-pika is made of
        await raw.basic_qos(prefetch_count=self._at_once)

        async def on_question(message: DeliveredMessage) -> None:
            self._tasks.spawn(self._reply(raw, message), "answer")

        self._channel = raw
        self._tag = (await raw.basic_consume(self._queue.name, on_question)).consumer_tag
        raw.closing.add_done_callback(lambda _: self._on_close(raw))

    async def _reply(self, channel: RawChannel, message: DeliveredMessage) -> None:
        asked = message.header.properties
        answer = None
        try:
            answer = await self._answer(bytes(message.body))
        except Exception:  # noqa: BLE001 - one bad question must not keep others from an answer
            _log.exception("a question is not answered", queue=self._queue.name)
        try:
            with translated(self._queue.name):
                if answer is not None and asked.reply_to:
                    await channel.basic_publish(
                        answer,
                        routing_key=asked.reply_to,
                        properties=spec.Basic.Properties(correlation_id=asked.correlation_id),
                    )
                if message.delivery_tag is not None:
                    await channel.basic_ack(message.delivery_tag)
        except BrokerAway as error:
            _log.warning("an answer is lost", queue=self._queue.name, error=str(error))

    def _on_close(self, channel: RawChannel) -> None:
        if self._channel is channel:
            self._channel = None
            self._link.renew(f"the channel of {self._queue.name} is gone")
