"""Publishing and consuming on a real broker: order, acknowledgements, what nobody takes."""

import asyncio

import pytest

from postroad_common.broker import (
    Delivery,
    EventWriter,
    topology,
)
from postroad_common.broker.eventwriter import ENOUGH
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.schemas.events import Event, EventBatch, EventName, happened
from postroad_common.schemas.framing import decode
from postroad_testing.broker import Broker
from postroad_testing.waiting import until


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


async def test_message_without_a_queue_is_unroutable(broker: Broker) -> None:
    with pytest.raises(Unroutable):
        await broker.publisher.publish("", "no.such.queue", b"lost?")
    await broker.publisher.publish("", topology.ACCEPTED.name, b"still works")


async def test_of_several_publications_only_those_without_a_queue_fail(broker: Broker) -> None:
    large = b"x" * 300_000  # more than one AMQP frame
    failures = await broker.publisher.publish_each(
        [
            ("", "nowhere", b"lost"),
            ("", topology.ACCEPTED.name, b"small"),
            ("", "nowhere", b"lost, too"),
            ("", topology.ACCEPTED.name, large),
        ]
    )
    assert [type(one) for one in failures] == [Unroutable, type(None), Unroutable, type(None)]
    got: list[bytes] = []

    async def take(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            got.append(delivery.body)
            delivery.ack()

    await broker.consume(take)
    await until(lambda: got == [b"small", large])
    assert await broker.publisher.publish_each([]) == []


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
