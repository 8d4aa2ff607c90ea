"""What does not end at the first try, on a real broker: retries, reasons, what is set aside."""

import asyncio

import aio_pika
import pytest
from prometheus_client import REGISTRY
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs

from postroad_common.broker import (
    BrokerLink,
    Consumer,
    Delivery,
    DynamicQueues,
    topology,
)
from postroad_common.broker.suspects import MARKS_ALLOWED, REDELIVERIES, MarkStore
from postroad_common.errors import BrokerAway
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.bundle import bundle
from postroad_common.store.database import Database
from postroad_testing.broker import Broker
from postroad_testing.waiting import PATIENCE, until


async def publish(broker: Broker, *bodies: bytes) -> None:
    await broker.publisher.publish_many([("", topology.ACCEPTED.name, body) for body in bodies])


async def test_one_bad_message_is_set_aside_with_its_reason_and_takes_nobody_with_it(
    broker: Broker,
) -> None:
    done: list[bytes] = []

    async def handler(deliveries: list[Delivery]) -> None:
        if any(delivery.body == b"poison" for delivery in deliveries):
            raise ValueError("cannot read this")
        for delivery in deliveries:
            done.append(delivery.body)
            delivery.ack()

    await publish(broker, b"a", b"poison", b"b")
    await broker.consume(handler)
    await until(lambda: sorted(done) == [b"a", b"b"])

    async def set_aside() -> bool:
        return await broker.depth("transformer.accepted.dead") == 1

    await until(set_aside)
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue("transformer.accepted.dead")
        message = await queue.get(timeout=90)
        assert message.body == b"poison"
        assert "cannot read this" in str(message.headers["x-postroad-reason"])
        await message.ack()


async def test_bad_message_in_a_backlog_is_set_aside_with_those_of_the_shards(
    broker: Broker,
) -> None:
    queue = topology.parked_queue("|set.aside.test")
    queues = DynamicQueues(broker.incoming)
    await queues.start()
    await queues.declare(queue)

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            await delivery.dead("nonsense")

    consumer = await broker.consume(handler, queue)
    await broker.publisher.publish("", queue.name, b"nonsense")

    async def is_aside() -> bool:
        return await broker.depth("sender.shard.dead") == 1

    await until(is_aside)
    await consumer.stop()
    assert await queues.delete_empty(queue.name)


async def test_retry_keeps_the_message_and_brings_it_again(broker: Broker) -> None:
    tries: list[int] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            tries.append(delivery.tries)
            if delivery.tries == 0:
                await delivery.retry(RequeueReason.MESSAGE_UNKNOWN, "not yet")
            else:
                delivery.ack()

    await broker.consume(handler)
    await publish(broker, b"later")
    await until(lambda: tries == [0, 1])


def requeued(reason: RequeueReason) -> float:
    """Return how many deliveries of this process went back for `reason`."""
    return REGISTRY.get_sample_value("postroad_requeued_total", {"reason": reason}) or 0.0


async def test_each_way_back_is_counted_and_logged_with_its_reason(broker: Broker) -> None:
    before = {reason: requeued(reason) for reason in RequeueReason}
    handled = asyncio.Event()

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            times[delivery.body] = times.get(delivery.body, 0) + 1
            if delivery.body == b"unknown" and delivery.tries == 0:
                await delivery.retry(RequeueReason.MESSAGE_UNKNOWN, "not yet")
            elif delivery.body == b"away" and times[b"away"] == 1:
                raise BrokerAway("the store is away")
            elif delivery.body == b"defect" and times[b"defect"] == 1:
                raise ValueError("cannot read this")
            elif delivery.body == b"forgotten" and delivery.tries == 0:
                continue
            else:
                delivery.ack()
        if len(times) == 4 and min(times.values()) > 1:
            handled.set()

    times: dict[bytes, int] = {}
    with capture_logs() as logs:
        consumer = await broker.consume(handler, batch=1, parallel=1)
        await publish(broker, b"unknown", b"away", b"defect", b"forgotten")
        await asyncio.wait_for(handled.wait(), 90)
        await consumer.stop()
    told = {reason: requeued(reason) - before[reason] for reason in RequeueReason}
    assert {reason: count for reason, count in told.items() if count} == {
        RequeueReason.MESSAGE_UNKNOWN: 1,
        RequeueReason.DEPENDENCY_AWAY: 1,
        RequeueReason.HANDLER_FAILED: 2,  # of them one that was forgotten
    }
    found = [
        (line["requeue"], line["reason"], line["messages"])
        for line in logs
        if line["event"] == "requeued" and line["queue"] == topology.ACCEPTED.name
    ]
    assert sorted(found) == [
        ("dependency_away", "the store is away", 1),
        ("handler_failed", "handler failed: ValueError('cannot read this')", 1),
        ("handler_failed", "the handler did not end it", 1),
        ("message_unknown", "not yet", 1),
    ]


async def test_what_waits_at_a_pause_or_a_stop_goes_back_with_its_reason(broker: Broker) -> None:
    goes_on, done = asyncio.Event(), set()

    async def handler(deliveries: list[Delivery]) -> None:
        await goes_on.wait()
        for delivery in deliveries:
            done.add(delivery.body)
            delivery.ack()

    consumer = await broker.consume(handler, batch=1, parallel=1)
    await publish(broker, b"a", b"b", b"c")
    await until(lambda: consumer.under_way == 3)
    moved, drained = requeued(RequeueReason.SHARD_MOVED), requeued(RequeueReason.DRAIN)
    pausing = asyncio.create_task(consumer.pause(RequeueReason.SHARD_MOVED))
    await until(lambda: requeued(RequeueReason.SHARD_MOVED) == moved + 2)
    goes_on.set()
    await pausing
    assert done == {b"a"}
    goes_on.clear()
    await consumer.resume()
    await until(lambda: consumer.under_way == 2)
    stopping = asyncio.create_task(consumer.stop())
    await until(lambda: requeued(RequeueReason.DRAIN) == drained + 1)
    goes_on.set()
    await stopping
    assert len(done) == 2

    async def has_one() -> bool:  # a busy broker may say 0 at first
        return await broker.depth(topology.ACCEPTED.name) == 1

    await until(has_one)


class Process:
    """A process that consumes, and dies of a message that is `poison`."""

    def __init__(self, broker: Broker, marks: MarkStore) -> None:
        self._link = BrokerLink(broker.url, "test process")
        self._consumer = Consumer(
            self._link, broker.publisher, topology.ACCEPTED, marks=marks, batch=3, parallel=1
        )
        self.taken: list[bytes] = []
        self.dying = asyncio.Event()

    async def handle(self, deliveries: list[Delivery]) -> None:
        """End everything, until there is poison."""
        for delivery in deliveries:
            if delivery.body == b"poison":
                self.dying.set()
                await asyncio.Event().wait()
            self.taken.append(delivery.body)
            delivery.ack()

    async def start(self) -> None:
        """Begin to consume."""
        self._link.start()
        await asyncio.wait_for(self._link.up.wait(), 90)
        await self._consumer.start(self.handle)

    async def die(self) -> None:
        """Be gone, with nothing ended or tidied up."""
        await self._link.close()

    async def stop(self) -> None:
        """End in good order."""
        await self._consumer.stop()
        await self._link.close()


MORTAL = (b"before", b"poison", b"after")


@pytest.mark.parametrize("bodies", [MORTAL, (bundle(MORTAL),)], ids=["alone", "together"])
async def test_message_that_kills_each_process_is_set_aside_and_takes_nobody_with_it(
    broker: Broker, mongodb_uri: str, bodies: tuple[bytes, ...]
) -> None:
    database = Database(mongodb_uri, patience=PATIENCE)
    await publish(broker, *bodies)
    taken: list[bytes] = []
    for _ in range(REDELIVERIES + MARKS_ALLOWED):
        process = Process(broker, database.marks)
        await process.start()
        await asyncio.wait_for(process.dying.wait(), 90)
        await process.die()
        taken += process.taken
    assert b"after" not in taken  # it waits for its turn, alone, after the poison
    last = Process(broker, database.marks)
    await last.start()
    await until(lambda: last.taken == [b"after"])
    await last.stop()
    assert not last.dying.is_set()

    async def set_aside() -> bool:
        return await broker.depth("transformer.accepted.dead") == 1

    await until(set_aside)
    connection = await aio_pika.connect(broker.url)
    async with connection:
        queue = await (await connection.channel()).get_queue("transformer.accepted.dead")
        message = await queue.get(timeout=90)
        assert message.body == b"poison"
        assert message.headers["x-postroad-reason"] == "redelivered 4 times without an outcome"
        await message.ack()
    await database.close()


async def test_suspects_that_end_leave_no_mark(broker: Broker, mongodb_uri: str) -> None:
    database = Database(mongodb_uri, patience=PATIENCE)
    await publish(broker, b"poison", b"one", b"two")
    for _ in range(REDELIVERIES):
        process = Process(broker, database.marks)
        await process.start()
        await asyncio.wait_for(process.dying.wait(), 90)
        await process.die()
    suspects: list[int] = []

    async def handler(deliveries: list[Delivery]) -> None:
        suspects.append(len(deliveries))
        for delivery in deliveries:
            delivery.ack()

    consumer = Consumer(
        broker.incoming, broker.publisher, topology.ACCEPTED, marks=database.marks, batch=3
    )
    await consumer.start(handler)
    await until(lambda: suspects == [1, 1, 1])
    await consumer.stop()
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(mongodb_uri)
    assert await client.get_default_database()["marks"].count_documents({}) == 0
    await client.close()
    await database.close()


async def test_retry_tier_returns_a_message_to_the_shard_of_its_destination(
    broker: Broker,
) -> None:
    arrived: list[tuple[str, str, bytes]] = []
    for queue in topology.SHARD_QUEUES:

        async def handler(deliveries: list[Delivery], name: str = queue.name) -> None:
            for delivery in deliveries:
                arrived.append((name, delivery.routing_key, delivery.body))
                delivery.ack()

        await broker.consume(handler, queue)
    domains = [f"d{n}.test" for n in range(12)]
    await broker.publisher.publish_many([("outbound", d, d.encode()) for d in domains])
    await until(lambda: len(arrived) == 12)
    first = {body: name for name, _, body in arrived}
    assert len(set(first.values())) > 1
    arrived.clear()
    tier = topology.RETRY_TIERS[0]
    await broker.publisher.publish_many([(tier.name, d, d.encode()) for d in domains])
    await until(lambda: len(arrived) == 12)
    assert {body: name for name, _, body in arrived} == first
    assert all(key.encode() == body for _, key, body in arrived)
