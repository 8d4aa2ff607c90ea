"""Dead letters: looked at, put back to where they came from, or thrown away.

Looking takes messages and gives them back, which the broker counts as a failed delivery, and some
versions drop a message that failed too often. So one that was looked at often is put behind the
others instead, as new.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import aio_pika.exceptions
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.topology import DEAD_QUEUES, OUTBOUND, WORK_QUEUES
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.mail.address import domain_of
from postroad_common.schemas.bundle import is_bundle, unbundle
from postroad_common.schemas.framing import FrameError, read_envelope

MOST = 500
"""Dead letters that one call looks at or puts back."""
PATIENCE_SECONDS = 15.0
_NAMED = 5  # messages of one dead letter that are named
_LOOKS = 10  # RabbitMQ 4 drops a message after twenty deliveries, if nothing else is said
_DEAD = frozenset(queue.name for queue in DEAD_QUEUES)
_WORK = frozenset(queue.name for queue in WORK_QUEUES)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is known of one, without its content. `time` is Unix seconds.

    `queue` is where it came from; `messages` are ids of mail that it is about, a few at most.
    """

    queue: str
    reason: str
    time: float | None
    size: int
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many went back, and how many stay because nobody knows where to."""

    replayed: int
    left: int


class DeadLetters:
    """Works on the dead-letter queues of the topology, each call on a channel of its own."""

    def __init__(self, link: BrokerLink, publisher: Publisher) -> None:
        self._connection: AbstractConnection | None = None
        self._publisher = publisher
        self._lock = asyncio.Lock()  # two lookers would each see what the other left
        link.on_connect(self._attach)

    async def _attach(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def look(self, name: str, limit: int) -> list[DeadLetter]:
        """Return the first messages of the queue `name`, up to `limit`.

        Raises:
            KeyError: it is no dead-letter queue.
            BrokerAway: RabbitMQ cannot be asked.
        """
        found = []
        async with self._queue(name) as queue:
            tired = []
            async for message in _take(queue, min(limit, MOST)):
                found.append(_describe(message))
                if _deliveries(message) >= _LOOKS:
                    tired.append(message)
            for message in tired:
                headers = _headers(message)
                await self._publisher.publish("", name, message.body, headers=headers)
                await message.ack()
        return found

    async def replay(self, name: str, limit: int) -> Replayed:
        """Put up to `limit` messages back into the queues they came from.

        Each is acknowledged when it is safe there: an interrupted call may have put one back twice.

        Raises:
            KeyError, BrokerAway: as `look`.
        """
        replayed = left = 0
        async with self._queue(name) as queue:
            async for message in _take(queue, min(limit, MOST)):
                if await self._put_back(message):
                    await message.ack()
                    replayed += 1
                else:
                    left += 1
        return Replayed(replayed, left)

    async def purge(self, name: str) -> int:
        """Throw away what is ready in the queue `name`; how many that were.

        Raises:
            KeyError, BrokerAway: as `look`.
        """
        async with self._queue(name) as queue:
            return (await queue.purge()).message_count or 0

    async def _put_back(self, message: AbstractIncomingMessage) -> bool:
        origin = _origin(message)
        try:
            if origin in _WORK:
                await self._publisher.publish("", origin, message.body)
                return True
            # a queue that has come and gone, with mail that is on its way out
            domain = _domain(message.body)
            if origin and domain:
                await self._publisher.publish(OUTBOUND.name, domain, message.body)
                return True
        except Unroutable:
            return False
        return False

    @asynccontextmanager
    async def _queue(self, name: str) -> AsyncIterator[AbstractQueue]:
        if name not in _DEAD:
            raise KeyError(name)
        connection = self._connection
        if connection is None or connection.is_closed:
            raise BrokerAway("no connection to RabbitMQ")
        channel: AbstractChannel | None = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._lock:
                channel = await connection.channel(publisher_confirms=False)
                yield await channel.get_queue(name, ensure=False)
        except (TimeoutError, OSError, RuntimeError, aio_pika.exceptions.AMQPError) as error:
            raise BrokerAway(f"RabbitMQ did not do it: {error!r}") from error
        finally:
            if channel is not None and not channel.is_closed:
                await channel.close()  # what was not acknowledged goes back to its place


async def _take(queue: AbstractQueue, limit: int) -> AsyncIterator[AbstractIncomingMessage]:
    for _ in range(limit):
        message = await queue.get(no_ack=False, fail=False)
        if message is None:
            return
        yield message


def _describe(message: AbstractIncomingMessage) -> DeadLetter:
    headers = message.headers
    moment = headers.get("x-postroad-time")
    return DeadLetter(
        queue=_origin(message),
        reason=str(headers.get("x-postroad-reason") or _broker_reason(headers)),
        time=float(moment) if isinstance(moment, int | float) else None,
        size=len(message.body),
        messages=_messages(message.body),
    )


def _headers(message: AbstractIncomingMessage) -> Mapping[str, Any]:
    return {name: value for name, value in message.headers.items() if name != "x-delivery-count"}


def _deliveries(message: AbstractIncomingMessage) -> int:
    count = message.headers.get("x-delivery-count")
    return count if isinstance(count, int) else 0


def _origin(message: AbstractIncomingMessage) -> str:
    headers = message.headers
    return str(headers.get("x-postroad-queue") or headers.get("x-first-death-queue") or "")


def _broker_reason(headers: Mapping[str, Any]) -> str:
    reason = headers.get("x-first-death-reason")
    return f"set aside by RabbitMQ: {reason}" if reason else "no reason was given"


def _messages(body: bytes) -> tuple[str, ...]:
    try:
        if is_bundle(body):
            return tuple(name for frame in unbundle(body)[:_NAMED] for name in _messages(frame))
        envelope = read_envelope(body)
    except FrameError:
        return ()
    events, outbound = envelope.get("events"), envelope.get("outbound")
    if isinstance(events, list):
        named = [event.get("message") for event in events[:_NAMED] if isinstance(event, dict)]
    elif isinstance(outbound, dict):
        named = [outbound.get("id")]
    else:
        named = [envelope.get("message_id") or envelope.get("id")]
    return tuple(str(name)[:100] for name in named if isinstance(name, str))


def _domain(body: bytes) -> str:
    try:
        recipients = read_envelope(body).get("recipients")
        return domain_of(str(recipients[0]["address"])) if recipients else ""
    except (FrameError, LookupError, TypeError):
        return ""
