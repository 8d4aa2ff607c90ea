"""Connections to a real broker that break, freeze or never come, and what goes on after them."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from pamqp import commands, frame
from structlog.testing import capture_logs
from yarl import URL

from postroad_common.broker import (
    BrokerLink,
    Consumer,
    Delivery,
    Publisher,
    topology,
)
from postroad_common.broker.confirming import ConfirmingChannel
from postroad_common.broker.publishchannel import LONG_STALL, STALL, PublishChannel
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.mail.identifiers import new_id
from postroad_testing.broker import Broker, connected
from postroad_testing.forwarder import Forwarder
from postroad_testing.queues import Queues
from postroad_testing.waiting import until


async def publish(broker: Broker, *bodies: bytes) -> None:
    await broker.publisher.publish_many([("", topology.ACCEPTED.name, body) for body in bodies])


async def test_publishing_without_a_broker_fails_at_once() -> None:
    link = BrokerLink("amqp://guest:guest@127.0.0.1:1/", "nowhere")
    publisher = Publisher(link)
    with pytest.raises(BrokerAway):
        await publisher.publish("", topology.ACCEPTED.name, b"x")


@pytest.mark.parametrize("at_once", [False, True])
async def test_while_the_broker_is_blocked_all_is_refused_at_once_and_not_published_later(
    amqp_url: str, *, at_once: bool
) -> None:
    line, url = Forwarder.to(amqp_url, 5672)
    await line.open()
    seen: list[bytes] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            seen.append(delivery.body)
            delivery.ack()

    async with connected(amqp_url) as broker:
        await broker.consume(handler, parallel=1)
        link = BrokerLink(url, "test blocked")
        publisher = Publisher(link)
        link.start()

        async def publish(body: bytes) -> None:
            if at_once:
                await publisher.publish_many([("", topology.ACCEPTED.name, body)])
            else:
                await publisher.publish("", topology.ACCEPTED.name, body, timeout=600.0)

        async def is_published(body: bytes) -> bool:
            try:
                await publish(body)
            except BrokerAway:
                return False
            return True

        await until(lambda: is_published(b"before"))
        line.say(frame.marshal(commands.Connection.Blocked("low on disk"), 0))
        await until(lambda: not publisher.is_up)
        assert link.up.is_set()
        with pytest.raises(ConnectionError, match="takes nothing"):
            await publisher.check()
        with pytest.raises(BrokerAway, match="takes nothing"):
            await publish(b"refused")
        line.say(frame.marshal(commands.Connection.Unblocked(), 0))
        await until(lambda: is_published(b"after"))
        await until(lambda: b"after" in seen)
        assert b"refused" not in seen
        await link.close()
    await line.close()


async def test_after_a_while_no_mail_is_what_finds_out_that_the_broker_takes_nothing(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, url = Forwarder.to(amqp_url, 5672)
    await line.open()
    link = BrokerLink(url, "test blocked")
    publisher = Publisher(link)
    link.start()
    await asyncio.wait_for(link.up.wait(), 90)
    await publisher.publish("", topology.ACCEPTED.name, b"asks, as the first one")
    monkeypatch.setattr("postroad_common.broker.publishing.QUIET", 0.0)
    line.freeze()  # a node that runs short reads nothing after the next publication
    refused = asyncio.create_task(
        publisher.publish("", topology.ACCEPTED.name, b"refused", timeout=600.0)
    )
    channel = publisher._current
    assert channel is not None
    await until(lambda: bool(channel.raw.confirmations))
    line.say(frame.marshal(commands.Connection.Blocked("low on disk"), 0))
    with pytest.raises(BrokerAway, match="takes nothing"):
        await refused
    line.thaw()
    line.say(frame.marshal(commands.Connection.Unblocked(), 0))
    await until(lambda: publisher.is_up)
    await publisher.publish("", topology.ACCEPTED.name, b"asks again", timeout=90.0)
    bodies = await Queues(amqp_url).take(topology.ACCEPTED.name, 10)
    assert bodies == [b"asks, as the first one", b"asks again"]
    await link.close()
    await line.close()


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


async def test_acknowledgement_that_cannot_be_written_ends_with_its_connection(
    broker: Broker,
) -> None:
    taken: list[Delivery] = []

    async def take(deliveries: list[Delivery]) -> None:
        taken.extend(deliveries)

    await broker.consume(take, ends_later=True)
    await broker.publisher.publish("", topology.ACCEPTED.name, b"mail")
    await until(lambda: bool(taken))
    line: asyncio.Queue[object] = asyncio.Queue(maxsize=1)
    line.put_nowait(None)  # it is full, as that of a connection whose peer reads no more
    taken[0]._channel.raw.write_queue = line

    def writing() -> list[str]:
        return [str(task) for task in asyncio.all_tasks() if "ConsumerChannel._flush" in str(task)]

    taken[0].ack()
    await until(lambda: bool(writing()))
    broker.incoming.renew("the test ends it")
    await until(lambda: not writing())
