"""Several mails in one AMQP message: published together, ended one by one."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from postroad_common.broker import BrokerLink, Consumer, Delivery, Publisher, topology
from postroad_common.broker.bundling import MOST_OCTETS, MOST_UNDER_WAY, BundlePublisher
from postroad_common.broker.deadletters import DeadLetters
from postroad_common.errors import BrokerAway, StoreAway
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.bundle import bundle, is_bundle, unbundle
from postroad_common.schemas.framing import FrameError, encode
from postroad_testing.broker import Broker
from postroad_testing.factories import submission
from postroad_testing.forwarder import Forwarder
from postroad_testing.waiting import until

QUEUE = topology.ACCEPTED.name


@given(st.lists(st.binary(max_size=200), min_size=2, max_size=40))
def test_bundle_taken_apart_has_the_same_frames(frames: list[bytes]) -> None:
    body = bundle(frames)
    assert is_bundle(body)
    assert unbundle(body) == frames


def test_single_frame_travels_as_it_is() -> None:
    frame = encode(submission())
    assert bundle([frame]) == frame
    assert not is_bundle(frame)


@given(st.binary(max_size=40), st.integers(1, 30))
def test_octets_that_are_no_bundle_are_refused(noise: bytes, cut: int) -> None:
    for body in (noise, noise + b"PRB1", bundle([b"one", b"two", b"three"])[:-cut]):
        with pytest.raises(FrameError):
            unbundle(body)


@given(st.binary(max_size=40))
def test_noise_behind_the_magic_is_refused_or_taken_apart(noise: bytes) -> None:
    try:
        frames = unbundle(b"PRB1" + noise)
    except FrameError:
        return
    assert sum(map(len, frames)) + 4 * (len(frames) + 1) == len(noise)


async def waits(broker: Broker, queue: str, messages: int) -> None:
    """Wait until so many AMQP messages are ready there; a busy broker may say 0 at first."""

    async def is_so() -> bool:
        return await broker.depth(queue) == messages

    await until(is_so)


async def put(broker: Broker, *frames: bytes) -> None:
    await broker.publisher.publish("", QUEUE, bundle(frames))


async def test_bundle_is_acknowledged_when_each_of_its_mails_has_ended(broker: Broker) -> None:
    await put(broker, b"one", b"two", b"three")
    taken: list[Delivery] = []

    async def handler(deliveries: list[Delivery]) -> None:
        taken.extend(deliveries)

    await broker.consume(handler, ends_later=True, batch=2)
    await until(lambda: [one.body for one in taken] == [b"one", b"two", b"three"])
    taken[2].ack()
    await taken[0].dead("not wanted")
    await waits(broker, f"{QUEUE}.dead", 1)
    second = taken[1]
    second.ack()
    assert second.bundle is not None
    assert second.bundle.left == 0
    await broker.consumers.pop().stop()
    await waits(broker, QUEUE, 0)


async def test_bundle_half_done_is_brought_again_whole_when_its_process_dies(
    broker: Broker,
) -> None:
    await put(broker, b"one", b"two")
    link = BrokerLink(broker.url, "dies")
    begun = asyncio.Event()

    async def ends_one(deliveries: list[Delivery]) -> None:
        deliveries[0].ack()
        begun.set()

    link.start()
    await Consumer(link, broker.publisher, topology.ACCEPTED, ends_later=True).start(ends_one)
    await asyncio.wait_for(begun.wait(), 90)
    await link.close()
    again: list[Delivery] = []

    async def handler(deliveries: list[Delivery]) -> None:
        again.extend(deliveries)
        for delivery in deliveries:
            delivery.ack()

    await broker.consume(handler)
    await until(lambda: [one.body for one in again] == [b"one", b"two"])
    assert all(one.redelivered for one in again)


@pytest.mark.parametrize("way", ["retry", "leave", "transient"])
async def test_mail_that_waits_goes_back_alone_and_holds_up_none_of_its_bundle(
    broker: Broker, way: str
) -> None:
    await put(broker, b"one", b"waits", b"two")
    alone: list[Delivery] = []
    others: list[bytes] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.bundle is None:
                alone.append(delivery)
                delivery.ack()
            elif delivery.body != b"waits":
                others.append(delivery.body)
                delivery.ack()
        for delivery in deliveries:
            if delivery.bundle is None or delivery.ended:
                continue
            if way == "transient":
                raise StoreAway("for a while")
            if way == "retry":
                await delivery.retry(RequeueReason.BODY_UNAVAILABLE, "later")
            else:
                delivery.leave(RequeueReason.DRAIN)

    await broker.consume(handler, ends_later=True)
    await until(lambda: [one.body for one in alone] == [b"waits"])
    assert others == [b"one", b"two"]
    assert not alone[0].redelivered
    assert alone[0].routing_key == ""
    await broker.consumers.pop().stop()
    await waits(broker, QUEUE, 0)


async def test_bundle_that_was_brought_again_and_again_is_taken_apart(broker: Broker) -> None:
    await put(broker, b"one", b"two")
    for _ in range(2):
        link = BrokerLink(broker.url, "dies")
        begun = asyncio.Event()

        async def never_ends(_: list[Delivery], begun: asyncio.Event = begun) -> None:
            begun.set()

        link.start()
        await Consumer(link, broker.publisher, topology.ACCEPTED, ends_later=True).start(never_ends)
        await asyncio.wait_for(begun.wait(), 90)
        await link.close()
    found: list[Delivery] = []

    async def handler(deliveries: list[Delivery]) -> None:
        found.extend(deliveries)
        for delivery in deliveries:
            delivery.ack()

    await broker.consume(handler)
    await until(lambda: sorted(one.body for one in found) == [b"one", b"two"])
    assert [one.bundle for one in found] == [None, None]
    assert [one.redeliveries for one in found] == [2, 2]


async def test_no_more_mails_are_begun_than_there_is_room_for(broker: Broker) -> None:
    await put(broker, *(f"{number}".encode() for number in range(4)))
    await put(broker, *(f"{number}".encode() for number in range(4, 8)))
    begun: list[Delivery] = []

    async def handler(deliveries: list[Delivery]) -> None:
        begun.extend(deliveries)

    consumer = await broker.consume(handler, ends_later=True, room=3, parallel=1)
    await until(lambda: consumer.under_way == 8 and bool(begun))
    assert len(begun) == 4  # of the first bundle, which is handed out whole
    for delivery in begun[:2]:
        delivery.ack()
    await until(lambda: len(begun) == 8)
    for delivery in begun[2:]:
        delivery.ack()


def mails_per_message() -> tuple[float, float]:
    """Return how many AMQP messages left, and how many mails in them."""
    count = REGISTRY.get_sample_value("postroad_bundles_total")
    mails = REGISTRY.get_sample_value("postroad_bundle_mails_total")
    assert count is not None
    assert mails is not None
    return count, mails


async def test_first_mails_leave_at_once_and_others_share_the_next_message(broker: Broker) -> None:
    publisher = BundlePublisher(broker.publisher, QUEUE, most=16)
    messages, mails = mails_per_message()
    await asyncio.gather(*(publisher.publish(f"{number}".encode()) for number in range(9)))
    assert mails_per_message() == (messages + MOST_UNDER_WAY + 1, mails + 9)
    await waits(broker, QUEUE, MOST_UNDER_WAY + 1)
    taken: list[bytes] = []

    async def handler(deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            taken.append(delivery.body)
            delivery.ack()

    await broker.consume(handler)
    await until(lambda: taken == [f"{number}".encode() for number in range(9)])


@pytest.mark.parametrize(
    ("most", "octets", "messages"),
    [(1, 10, 9), (4, 10, 6), (16, MOST_OCTETS // 4, 6), (16, MOST_OCTETS + 1, 9)],
    ids=["one each", "four each", "as many octets", "too large to share"],
)
async def test_bundle_is_bounded_in_mails_and_octets(
    broker: Broker, most: int, octets: int, messages: int
) -> None:
    publisher = BundlePublisher(broker.publisher, QUEUE, most=most)
    await asyncio.gather(*(publisher.publish(b"x" * octets) for _ in range(9)))
    await waits(broker, QUEUE, messages)


async def test_each_mail_of_a_bundle_is_told_that_it_is_not_safe(amqp_url: str) -> None:
    publisher = BundlePublisher(Publisher(BrokerLink(amqp_url, "test")), QUEUE, most=16)
    ends = await asyncio.gather(
        *(publisher.publish(b"mail") for _ in range(3)), return_exceptions=True
    )
    assert [type(end) for end in ends] == [BrokerAway] * 3


async def test_mail_that_nobody_waits_for_any_more_does_not_leave(
    amqp_url: str, broker: Broker
) -> None:
    line, through = Forwarder.to(amqp_url, 5672)
    await line.open()
    link = BrokerLink(through, "test")
    publisher = BundlePublisher(Publisher(link), QUEUE, most=16)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        line.freeze()
        first = [
            asyncio.create_task(publisher.publish(b"first", timeout=90))
            for _ in range(MOST_UNDER_WAY)
        ]
        await asyncio.sleep(0)
        with pytest.raises(BrokerAway):
            await publisher.publish(b"given up", timeout=0.01)
        line.thaw()
        await asyncio.gather(*first)
        await publisher.publish(b"last")
    finally:
        await link.close()
        await line.close()
    await waits(broker, QUEUE, MOST_UNDER_WAY + 1)


async def test_dead_letter_of_the_broker_names_the_mails_of_a_bundle_and_goes_back(
    broker: Broker,
) -> None:
    mails = [submission() for _ in range(3)]
    dead = f"{QUEUE}.dead"
    headers = {"x-first-death-queue": QUEUE}
    body = bundle([encode(one) for one in mails])
    await broker.publisher.publish("", dead, body, headers=headers)
    link = BrokerLink(broker.url, "test")
    letters = DeadLetters(link, broker.publisher)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        [found] = await letters.look(dead, 10)
        assert found.messages == tuple(one.id for one in mails)
        assert (await letters.replay(dead, 10)).replayed == 1
    finally:
        await link.close()
    await waits(broker, QUEUE, 1)
