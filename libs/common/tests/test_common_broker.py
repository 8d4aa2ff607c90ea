import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from prometheus_client import REGISTRY
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs
from yarl import URL

from postroad_common.broker import (
    BrokerLink,
    Consumer,
    Delivery,
    DynamicQueues,
    EventWriter,
    Publisher,
    topology,
)
from postroad_common.broker.confirming import ConfirmingChannel
from postroad_common.broker.eventwriter import ENOUGH
from postroad_common.broker.publishchannel import LONG_STALL, STALL, PublishChannel
from postroad_common.broker.suspects import MARKS_ALLOWED, REDELIVERIES, MarkStore
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.bundle import bundle
from postroad_common.schemas.events import Event, EventBatch, EventName, happened
from postroad_common.schemas.framing import decode
from postroad_common.store.database import Database
from postroad_testing.broker import Broker, connected
from postroad_testing.forwarder import Forwarder
from postroad_testing.waiting import PATIENCE, until


@pytest.fixture
async def broker(amqp_url: str) -> AsyncIterator[Broker]:
    async with connected(amqp_url) as broker:
        yield broker


async def publish(broker: Broker, *bodies: bytes) -> None:
    await broker.publisher.publish_many([("", topology.ACCEPTED.name, body) for body in bodies])


async def test_what_was_published_arrives_once_and_in_order(broker: Broker) -> None:
    seen: list[bytes] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            seen.append(delivery.body)
            delivery.ack()

    bodies = [f"m{n}".encode() for n in range(500)]
    for body in bodies:
        await broker.publisher.publish("", topology.ACCEPTED.name, body)
    consumer = await broker.consume(handler, parallel=1)
    await until(lambda: len(seen) == len(bodies))
    assert seen == bodies
    await consumer.stop()
    assert await broker.depth(topology.ACCEPTED.name) == 0


async def test_acknowledging_out_of_order_leaves_only_what_was_not_acknowledged(
    broker: Broker,
) -> None:
    kept: list[Delivery] = []
    count = 0

    async def handler(deliveries: list[Delivery]) -> None:
        nonlocal count
        for delivery in deliveries:
            count += 1
            if delivery.body in {b"m3", b"m7"}:
                kept.append(delivery)
        for delivery in reversed(deliveries):
            if delivery not in kept:
                delivery.ack()

    consumer = await broker.consume(handler, parallel=1, ends_later=True)
    await publish(broker, *(f"m{n}".encode() for n in range(20)))
    await until(lambda: count == 20)
    for delivery in kept:
        delivery.ack()
    await consumer.stop()
    assert await broker.depth(topology.ACCEPTED.name) == 0


async def test_what_was_not_acknowledged_comes_again_after_a_stop(broker: Broker) -> None:
    seen = asyncio.Event()

    async def never_ends(_: list[Delivery]) -> None:
        seen.set()
        raise BrokerAway("something is away")

    consumer = await broker.consume(never_ends)
    await publish(broker, b"precious")
    await asyncio.wait_for(seen.wait(), 90)
    await consumer.stop()
    again: list[tuple[bytes, bool]] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            again.append((delivery.body, delivery.redelivered))
            delivery.ack()

    await broker.consume(handler)
    await until(lambda: bool(again))
    assert again == [(b"precious", True)]


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


async def test_message_without_a_queue_is_unroutable(broker: Broker) -> None:
    with pytest.raises(Unroutable):
        await broker.publisher.publish("", "no.such.queue", b"lost?")
    await broker.publisher.publish("", topology.ACCEPTED.name, b"still works")


async def test_of_several_publications_only_those_without_a_queue_fail(broker: Broker) -> None:
    large = b"x" * 300_000  # more than one AMQP frame
    failures = await broker.publisher.publish_each(
        [
            ("", topology.ACCEPTED.name, b"small"),
            ("", "nowhere", b"lost"),
            ("", topology.ACCEPTED.name, large),
        ]
    )
    assert [type(failure) for failure in failures] == [type(None), Unroutable, type(None)]
    got: list[bytes] = []

    async def take(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            got.append(delivery.body)
            delivery.ack()

    await broker.consume(take)
    await until(lambda: got == [b"small", large])
    assert await broker.publisher.publish_each([]) == []


async def test_publishing_without_a_broker_fails_at_once() -> None:
    link = BrokerLink("amqp://guest:guest@127.0.0.1:1/", "nowhere")
    publisher = Publisher(link)
    with pytest.raises(BrokerAway):
        await publisher.publish("", topology.ACCEPTED.name, b"x")


async def test_connection_lost_is_made_again_and_consuming_goes_on(amqp_url: str) -> None:
    line, url = Forwarder.to(amqp_url, 5672)
    await line.open()
    seen: set[bytes] = set()

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            seen.add(delivery.body)
            delivery.ack()

    async with connected(url) as broker:
        await broker.consume(handler)
        await publish(broker, b"before")
        await until(lambda: b"before" in seen)
        await line.close()
        await until(lambda: not broker.outgoing.up.is_set())
        await line.open()
        await until(broker.outgoing.up.is_set)
        await publish(broker, b"after")
        await until(lambda: b"after" in seen)
    await line.close()


async def test_consumer_of_a_backlog_that_is_gone_leaves_the_connection_to_the_others(
    broker: Broker,
) -> None:
    seen: set[bytes] = set()
    losses: list[int] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            seen.add(delivery.body)
            delivery.ack()

    shard = topology.SHARD_QUEUES[0]
    consumer = Consumer(broker.incoming, broker.publisher, shard)
    broker.consumers.append(consumer)
    await consumer.start(handler, lost=lambda: losses.append(1))
    with capture_logs() as logs:
        await broker.consume(handler, topology.parked_queue(f"|{new_id()}.test"))
    assert [line["event"] for line in logs] == ["there is no such queue"]
    await broker.publisher.publish("", shard.name, b"goes on")
    await until(lambda: b"goes on" in seen)
    assert losses == []


async def test_what_is_added_while_a_connection_is_set_up_has_its_turn(amqp_url: str) -> None:
    link = BrokerLink(amqp_url, "test")
    begun, goes_on, turns = asyncio.Event(), asyncio.Event(), []

    async def first(_: object) -> None:
        turns.append("first")
        begun.set()
        await goes_on.wait()

    async def second(_: object) -> None:
        turns.append("second")

    link.on_connect(first)
    link.start()
    await asyncio.wait_for(begun.wait(), 90)
    link.remove(first)  # as a consumer that is paused and resumed meanwhile
    await link.add(first)
    await link.add(second)
    goes_on.set()
    await asyncio.wait_for(link.up.wait(), 90)
    assert turns == ["first", "first", "second"]
    await link.close()


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


async def test_events_added_together_share_a_message(broker: Broker) -> None:
    batches: list[EventBatch] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            batches.append(decode(EventBatch, delivery.body)[0])
            delivery.ack()

    writer = EventWriter(broker.publisher)
    writer.start()
    await broker.consume(handler, topology.EVENTS)
    await writer.write(
        happened(EventName.CLICKED, f"m{n}", 1.0, {"url": "http://a.test/"}) for n in range(300)
    )
    await until(lambda: sum(len(batch.events) for batch in batches) == 300)
    assert len(batches) < 5
    assert await writer.flush()
    await writer.close()


async def test_an_event_that_cannot_be_written_is_left_out_and_keeps_no_other(
    broker: Broker,
) -> None:
    found: list[str] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            batch = decode(EventBatch, delivery.body)[0]
            found.extend(event.message for event in batch.events)
            delivery.ack()

    await broker.consume(handler, topology.EVENTS)
    writer = EventWriter(broker.publisher)
    writer.start()
    for lone in ("", "\ud800"):  # half a character, which nothing can encode
        events = [happened(EventName.OPENED, "before", 1.0, {})]
        events += [happened(EventName.OPENED, "lone", 1.0, {"user_agent": lone})] if lone else []
        await writer.write([*events, happened(EventName.OPENED, "after", 1.0, {})])
    await until(lambda: sorted(found) == ["after", "after", "before", "before"])
    assert await writer.flush()
    await writer.close()


async def test_events_gather_behind_a_batch_until_one_is_urgent_or_they_are_enough(
    broker: Broker,
) -> None:
    batches: list[list[str]] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            batch = decode(EventBatch, delivery.body)[0]
            batches.append([event.message for event in batch.events])
            delivery.ack()

    def opened(message: str) -> Event:
        return happened(EventName.OPENED, message, 1.0, {})

    writer = EventWriter(broker.publisher, gather_seconds=3600.0)
    writer.start()
    await broker.consume(handler, topology.EVENTS)
    await asyncio.wait_for(writer.add(opened("alone")), 60)
    gathering = [writer.add(opened(message)) for message in ("first", "second")]
    await asyncio.wait_for(writer.write([opened("urgent")]), 60)
    assert all(future.done() for future in gathering)
    many = [f"m{number}" for number in range(ENOUGH)]
    await asyncio.wait_for(asyncio.wait([writer.add(opened(message)) for message in many]), 60)
    left = writer.add(opened("left"))
    assert await writer.flush(60)
    assert left.done()
    await writer.close()
    await until(lambda: len(batches) == 4)
    assert batches == [["alone"], ["first", "second", "urgent"], many, ["left"]]


async def test_queue_deleted_under_a_consumer_is_declared_anew_and_consumed_again(
    amqp_url: str,
) -> None:
    outgoing = BrokerLink(amqp_url, "test publish", declare=True)
    broker = Broker(amqp_url)
    broker.outgoing, broker.publisher = outgoing, Publisher(outgoing)
    broker.incoming = BrokerLink(amqp_url, "test consume", declare=True)
    outgoing.start()
    broker.incoming.start()
    seen: list[bytes] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            seen.append(delivery.body)
            delivery.ack()

    await asyncio.wait_for(broker.incoming.up.wait(), 90)
    consumer = await broker.consume(handler)
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete(topology.ACCEPTED.name)
    await until(lambda: not broker.incoming.up.is_set())

    async def arrives() -> bool:
        try:
            await publish(broker, b"again")
        except (BrokerAway, Unroutable):
            return False
        return True

    await until(arrives)
    await until(lambda: b"again" in seen)
    await consumer.stop()
    broker.consumers.clear()
    await broker.incoming.close()
    await outgoing.close()


async def test_publisher_whose_channel_was_closed_by_the_broker_publishes_again(
    broker: Broker,
) -> None:
    with pytest.raises((BrokerAway, Unroutable)):
        await broker.publisher.publish("no such exchange", "key", b"x", timeout=2)

    async def works() -> bool:
        try:
            await publish(broker, b"x")
        except BrokerAway:
            return False
        return True

    await until(works)


@pytest.fixture
async def frozen(amqp_url: str) -> AsyncIterator[Forwarder]:
    """Yield a line to the broker that can be frozen."""
    line, _ = Forwarder.to(amqp_url, 5672)
    await line.open()
    try:
        yield line
    finally:
        await line.close()


@pytest.mark.parametrize(
    ("nodes", "speaks", "is_left"), [(1, False, False), (2, False, True), (2, True, False)]
)
async def test_a_node_that_confirms_nothing_is_left_if_it_is_silent_and_there_is_another(
    frozen: Forwarder,
    amqp_url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    nodes: int,
    speaks: bool,
    is_left: bool,
):
    through = str(URL(amqp_url).with_host("127.0.0.1").with_port(frozen.port))
    link = BrokerLink(",".join([through] * nodes), "test publish", declare=True)
    publisher = Publisher(link)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        await publisher.publish("", topology.EVENTS.name, b"before")
        await publisher.check()
        frozen.freeze()
        if speaks:  # heartbeats come, but no confirms
            monkeypatch.setattr(BrokerLink, "heard", property(lambda _: time.perf_counter()))
        with pytest.raises(BrokerAway, match="did not confirm in time"):
            await publisher.publish("", topology.EVENTS.name, b"after", timeout=0.5)
        assert link.up.is_set() != is_left
        with pytest.raises(ConnectionError):
            await publisher.check()
    finally:
        await link.close()


async def test_a_node_that_never_confirms_is_left_in_the_end_though_it_speaks(
    frozen: Forwarder, amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(BrokerLink, "heard", property(lambda _: time.perf_counter()))
    monkeypatch.setattr("postroad_common.broker.publisher.LONGEST_STALL", 0.4)
    through = str(URL(amqp_url).with_host("127.0.0.1").with_port(frozen.port))
    link = BrokerLink(f"{through},{through}", "test publish", declare=True)
    publisher = Publisher(link)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        await publisher.publish("", topology.EVENTS.name, b"before")
        frozen.freeze()
        with pytest.raises(BrokerAway):
            await publisher.publish_many([("", topology.EVENTS.name, b"x")] * 2)
        assert not link.up.is_set()
    finally:
        await link.close()


async def test_a_channel_that_confirms_nothing_any_more_is_replaced_and_closed_later(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postroad_common.broker.publishchannel.LINGER", 1.0)
    link = BrokerLink(amqp_url, "test publish")
    place = PublishChannel(link)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        first = place.current
        assert first is not None
        first.begin(100.0)
        first.begin(100.0)
        first.confirmed(101.0, "some.queue")
        place.look(first, 101.0 + LONG_STALL)  # it has confirmed: it may come back
        place.refused(first)
        assert not place.is_opening
        place.look(first, 101.1 + LONG_STALL)
        second = await renewed(place, first)
        second.begin(200.0)
        place.look(second, 200.1 + STALL)  # it never has
        third = await renewed(place, second)
        place.refused(third)
        await renewed(place, third)
        await until(lambda: first.raw.is_closed and second.raw.is_closed and third.raw.is_closed)
        assert link.up.is_set()
    finally:
        await link.close()


async def renewed(place: PublishChannel, old: ConfirmingChannel) -> ConfirmingChannel:
    """Return the channel that comes after `old`."""
    await until(lambda: place.current not in {old, None})
    assert place.current is not None
    return place.current


async def test_what_was_declared_once_is_not_declared_at_each_connect(
    frozen: Forwarder, amqp_url: str
):
    through = str(URL(amqp_url).with_host("127.0.0.1").with_port(frozen.port))
    link = BrokerLink(through, "test publish", declare=True)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            await channel.queue_delete(topology.EVENTS.name)
            await frozen.close()
            await until(lambda: not link.up.is_set())
            await frozen.open()
            await until(link.up.is_set)
            with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
                await channel.declare_queue(topology.EVENTS.name, passive=True)
    finally:
        await link.close()


async def test_a_node_that_does_not_answer_is_passed_over(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    url = URL(amqp_url)
    assert url.port is not None
    monkeypatch.setattr("random.randrange", lambda _: 0)
    async with silent("127.0.0.2", url.port):
        link = BrokerLink(f"{url.with_host('127.0.0.2')},{url}", "test")
        with capture_logs() as logs:
            link.start()
            await until(link.up.is_set, what="the link is up")
        await link.close()
    errors = [entry["error"] for entry in logs if "error" in entry]
    assert errors[0] == "127.0.0.2 does not answer"


async def test_processes_begin_with_different_nodes(amqp_url: str):
    ports = set()
    for _ in range(20):
        lines = [Forwarder.to(amqp_url, 5672) for _ in range(2)]
        await asyncio.gather(*(line.open() for line, _ in lines))
        link = BrokerLink(",".join(url for _, url in lines), "test publish")
        seen: list[int] = []

        async def note(connection: AbstractConnection, seen: list[int] = seen) -> None:
            seen.append(int(str(connection.transport.connection.url.port)))  # type: ignore[union-attr]

        link.on_connect(note)
        link.start()
        await asyncio.wait_for(link.up.wait(), 90)
        ports.add([line.port for line, _ in lines].index(seen[0]))
        await link.close()
        await asyncio.gather(*(line.close() for line, _ in lines))
        if len(ports) == 2:
            return
    pytest.fail("all began with the same one")


@asynccontextmanager
async def silent(address: str, port: int) -> AsyncIterator[None]:
    """Have an address where the system answers to nobody: its queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((address, port))
        server.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 - the standard library's
            waiting.connect_ex((address, port))
        yield


async def test_an_address_of_a_name_that_is_dead_does_not_keep_from_the_next(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    url = URL(amqp_url)
    assert url.port is not None
    resolve = socket.getaddrinfo

    def two(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host != "headless.test":
            return resolve(host, port, *args, **options)
        return [
            each
            for address in ("127.0.0.2", "127.0.0.1")
            for each in resolve(address, port, *args, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    async with silent("127.0.0.2", url.port):
        link = BrokerLink(str(url.with_host("headless.test")), "test")
        link.start()
        await until(link.up.is_set, what="the link is up")
        assert link.has_choice
        await link.close()


async def test_a_name_without_an_address_is_told_and_tried_again():
    link = BrokerLink("amqp://nowhere.invalid/", "test")
    with capture_logs() as logs:
        link.start()
        await until(lambda: len(logs) > 1)
        await link.close()
    assert {(entry["event"], entry["host"]) for entry in logs} == {
        ("broker not reachable, trying again", "nowhere.invalid")
    }
