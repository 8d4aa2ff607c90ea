"""The running bounce-processor for tests: real RabbitMQ and MongoDB, its own main.build."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from postroad_bounce_processor.main import build
from postroad_bounce_processor.settings import Settings
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.topology import EVENTS, FAILURES, RETURNS, SHARD_QUEUES
from postroad_common.health import Health
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, EventBatch, EventName, accepted, is_own_mail
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.returns import DeliveryFailure, Return
from postroad_common.service import ServiceContext
from postroad_common.store.database import Database
from postroad_testing import factories
from postroad_testing.process import ServiceProcess
from postroad_testing.waiting import PATIENCE

BOUNCE_DOMAIN = "bounce.example"
WAIT = 90.0


class Bench:
    """Puts work on the queues of the service, and looks at what comes out."""

    def __init__(self, context: ServiceContext[Settings], amqp_url: str) -> None:
        self.context = context
        self.database = context.database
        self.events: list[Event] = []
        self.own: list[Event] = []
        """What is told of the mail that the service writes itself."""
        self.outbound: list[tuple[OutboundMessage, bytes]] = []
        self._amqp_url = amqp_url
        self._news = asyncio.Event()
        self._channel: Any = None
        self._connection: Any = None

    async def open(self) -> None:
        self._connection = await aio_pika.connect(self._amqp_url)
        self._channel = await self._connection.channel()
        for name in (EVENTS.name, *(queue.name for queue in SHARD_QUEUES)):
            queue = await self._channel.get_queue(name)
            await queue.consume(self._take, no_ack=True)

    async def close(self) -> None:
        await self._connection.close()

    async def message(self, **changes: Any) -> str:
        """Put a message into the store, as feedback would; returns its id."""
        recipient = factories.recipient(
            changes.pop("recipient", "kim@example.net"), notify=changes.pop("notify", ())
        )
        values: dict[str, Any] = {
            "account": "acc",
            "envelope": "orders@sender.example",
            "recipients": (recipient,),
            "features": Features(bouncetracking=True),
        }
        submission = factories.submission(**(values | changes))
        event = accepted(submission, recipient)
        await self.database.messages.apply([event])
        return recipient.id

    async def returned(self, message_id: str, raw: bytes, **changes: Any) -> Return:
        """Put a return on the queue."""
        values: dict[str, Any] = {
            "id": new_id(),
            "received": time.time(),
            "mail_from": "",
            "recipient": f"b{message_id}-00@{BOUNCE_DOMAIN}",
            "message_id": message_id,
            "size": len(raw),
        }
        item = Return(**(values | changes))
        await self.put(RETURNS.name, encode(item, b"" if item.body else raw))
        return item

    async def failed(
        self, quoted: bytes = b"Subject: x\r\n\r\n", **changes: Any
    ) -> DeliveryFailure:
        """Put a failure on the queue."""
        message: dict[str, Any] = {
            "account": "acc",
            "envelope": "orders@sender.example",
            "mail_from": "orders@sender.example",
            "recipients": (factories.outbound_recipient("kim@example.net"),),
        }
        outbound = factories.outbound(**(message | changes.pop("message", {})))
        item = factories.failure(outbound, **({"host": "mx.example.net"} | changes))
        await self.put(FAILURES.name, encode(item, quoted))
        return item

    async def put(self, queue: str, frame: bytes) -> None:
        await self.context.publisher.publish("", queue, frame, timeout=WAIT)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what the service has sent fulfils the condition."""
        async with asyncio.timeout(WAIT):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def _take(self, message: AbstractIncomingMessage) -> None:
        if message.routing_key == EVENTS.name:
            batch, _ = decode(EventBatch, message.body)
            for event in batch.events:
                own = is_own_mail(event) or event.event is EventName.NOTIFIED
                (self.own if own else self.events).append(event)
        else:
            outbound, body = decode(OutboundMessage, message.body)
            self.outbound.append((outbound, bytes(body)))
        self._news.set()

    async def count(self, queue: str) -> int:
        """How many messages are ready on a queue."""
        declared = await self._channel.declare_queue(queue, passive=True)
        return int(declared.declaration_result.message_count or 0)

    async def idle(self) -> None:
        """Wait until the service has ended everything.

        A marker passes through both queues, so that all before it has been begun; then the service
        stops, which ends what was begun, and goes on.
        """
        for put in (self._returned_marker, self._failed_marker):
            await put()
        if self.context.drain_hooks:  # it runs in this process
            await self.stop()
            await build(self.context)

    async def stop(self) -> None:
        """End the service in this process as at SIGTERM; its connections stay."""
        for hook in self.context.drain_hooks:
            await hook()
        self.context.drain_hooks.clear()

    async def _returned_marker(self) -> None:
        marker = await self.message(forward_bounces=False)
        await self.returned(marker, b"Subject: Automatic reply\n\n")
        await self.until(lambda: any(event.message == marker for event in self.events))
        self.events = [event for event in self.events if event.message != marker]

    async def _failed_marker(self) -> None:
        failure = await self.failed(
            message={"envelope": "marker@sender.example"}, reply="550 policy", enhanced=""
        )
        await self.until(lambda: bool(self.sent_to("marker@sender.example")))
        self.outbound = [
            item for item in self.outbound if item not in self.sent_to("marker@sender.example")
        ]
        assert failure.id

    def sent_to(self, address: str) -> list[tuple[OutboundMessage, bytes]]:
        return [item for item in self.outbound if item[0].recipients[0].address == address]

    def named(self, name: EventName) -> list[Event]:
        return [event for event in self.events if event.event is name]


def settings_of(amqp_url: str, mongodb_uri: str) -> dict[str, str]:
    """Return the settings of the service, by name without the prefix."""
    return {
        "AMQP_URL": amqp_url,
        "MONGODB_URI": mongodb_uri,
        "SECRET": "0123456789abcdef",
        "HOSTNAME": "relay.example",
        "BOUNCE_DOMAIN": BOUNCE_DOMAIN,
        "INLINE_BODY_MAX": "65536",
    }


@pytest.fixture
async def bench(
    amqp_url: str, mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    for name, value in settings_of(amqp_url, mongodb_uri).items():
        monkeypatch.setenv(f"POSTROAD_{name}", value)
    settings = Settings()
    outgoing = BrokerLink(amqp_url, "test publish")
    incoming = BrokerLink(amqp_url, "test consume")
    publisher = Publisher(outgoing)
    events = EventWriter(publisher)
    database = Database(mongodb_uri, patience=PATIENCE)
    context = ServiceContext(
        name="bounce-processor",
        settings=settings,
        link=incoming,
        publisher=publisher,
        events=events,
        database=database,
        health=Health(),
    )
    outgoing.start()
    incoming.start()
    events.start()
    await asyncio.wait_for(outgoing.up.wait(), WAIT)
    bench = Bench(context, amqp_url)
    await bench.open()
    await build(context)
    try:
        yield bench
    finally:
        await bench.stop()
        await events.close()
        await incoming.close()
        await outgoing.close()
        await database.close()
        await bench.close()


@pytest.fixture
async def process(
    bench: Bench, amqp_url: str, mongodb_uri: str, tmp_path: Path
) -> AsyncIterator[ServiceProcess]:
    """Yield the service as a process of its own, which does the work alone once it is started."""
    await bench.stop()
    settings = settings_of(amqp_url, mongodb_uri)
    with ServiceProcess("bounce-processor", tmp_path / "log", **settings) as process:
        yield process
