"""A bad event in a batch takes no other with it: real broker, real database."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest

from postroad_common.broker import BrokerLink, Consumer, Publisher
from postroad_common.broker.topology import EVENTS
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, EventBatch, EventName, accepted, happened
from postroad_common.schemas.framing import decode, encode
from postroad_common.store import Database
from postroad_feedback.handler import Handler
from postroad_feedback.ingest import Ingest
from postroad_feedback.message_cache import MessageCache
from postroad_feedback.recovery import Recovery
from postroad_feedback.subscriptions import Subscriptions
from postroad_testing import factories
from postroad_testing.waiting import PATIENCE


class Bench:
    """The consumer of events, with its queues."""

    def __init__(self, database: Database, publisher: Publisher, channel: Any) -> None:
        self.database = database
        self._publisher = publisher
        self._channel = channel

    async def publish(self, frame: bytes) -> None:
        await self._publisher.publish("", EVENTS.name, frame)

    async def filed(self, *events: Event) -> None:
        """Wait until these are in the log."""
        wanted = {event.id for event in events}
        found: set[str] = set()
        deadline = time.monotonic() + 90
        while found != wanted:
            assert time.monotonic() < deadline, wanted - found
            for event in events:
                found |= {item.id for item in await self.database.events.timeline(event.message)}
            found &= wanted

    async def dead(self) -> list[tuple[bytes, str]]:
        """Return what was set aside, with the reasons."""
        queue = await self._channel.get_queue(f"{EVENTS.name}.dead")
        found = []
        while (message := await queue.get(fail=False)) is not None:
            found.append((message.body, str(message.headers["x-postroad-reason"])))
            await message.ack()
        return found


@pytest.fixture
async def bench(amqp_url: str, mongodb_uri: str) -> AsyncIterator[Bench]:
    outgoing, incoming = BrokerLink(amqp_url, "test out"), BrokerLink(amqp_url, "test in")
    publisher = Publisher(outgoing)
    database = Database(mongodb_uri, patience=PATIENCE)
    cache = MessageCache(database.messages.find_many)
    ingest = Ingest(
        database, cache, Subscriptions(database.webhooks, database.outbox, lambda: None)
    )
    outgoing.start()
    incoming.start()
    await outgoing.up.wait()
    consumer = Consumer(incoming, publisher, EVENTS, batch=50)
    await consumer.start(Handler(ingest.record))
    connection = await aio_pika.connect(amqp_url)
    yield Bench(database, publisher, await connection.channel())
    await consumer.stop()
    await connection.close()
    await incoming.close()
    await outgoing.close()
    await database.close()


def click(**data: Any) -> Event:
    return happened(EventName.CLICKED, new_id(), time.time(), data, account="acme")


def batch_with(entry: object, *events: Event) -> bytes:
    """Return a frame in which `entry` stands between `events`, which `encode` would refuse."""
    frame = encode(EventBatch(events=events))
    envelope = json.loads(frame[8:])
    envelope["events"].insert(len(events) // 2, entry)
    text = json.dumps(envelope).encode()
    return frame[:4] + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"id": "x"}, "not an Event"),
        ("nonsense", "not an Event"),
        ({"id": "x", "event": "exploded", "message": "m", "time": 1}, "Input tag 'exploded'"),
        ({"id": "x", "event": "opened", "message": "m", "time": -1}, "its time is out of range"),
        ({"id": "x", "event": "opened", "message": "m", "time": 1e15}, "its time is out of range"),
        ({"id": "x", "event": "opened", "message": "", "time": 1}, "its id or its message"),
        (
            {
                "id": "x",
                "event": "accepted",
                "message": "m",
                "time": 1,
                "data": {"submission": "s", "tags": 7},
            },
            "not an Event: accepted.data.tags",
        ),
        (
            {
                "id": "x",
                "event": "accepted",
                "message": "m",
                "time": 1,
                "data": {"submission": "s", "features": {"inlinecss": "perhaps"}},
            },
            "not an Event: accepted.data.features.inlinecss",
        ),
        (
            {"id": "x", "event": "opened", "message": "m", "time": 1, "data": {"n": 2**70}},
            "cannot be stored",
        ),
        (
            {"id": "x", "event": "opened", "message": "m", "time": 1, "data": {"a\0b": 1}},
            "cannot be stored",
        ),
    ],
)
async def test_a_bad_event_is_set_aside_alone(bench: Bench, entry: object, complaint: str):
    good = [click(number=number) for number in range(9)]
    await bench.publish(batch_with(entry, *good))
    last = click()
    await bench.publish(encode(EventBatch(events=(last,))))
    await bench.filed(*good, last)
    ((body, reason),) = await bench.dead()
    assert complaint in reason
    if body[:4] == b"PRF1":
        (set_aside,) = decode(EventBatch, body)[0].events
        assert set_aside.id == "x"
    else:
        assert json.loads(body) == entry


async def test_a_frame_without_any_event_is_dead_as_it_is(bench: Bench):
    frames = [b"rubbish", batch_with({"id": "x"}), b"PRF1\x00\x00\x00\x02[]"]
    for frame in frames:
        await bench.publish(frame)
    last = click()
    await bench.publish(encode(EventBatch(events=(last,))))
    await bench.filed(last)
    assert sorted(body for body, _ in await bench.dead()) == sorted(frames)


async def test_counters_are_right_although_a_batch_was_halved(bench: Bench):
    good = [news() for _ in range(30)]
    bad = {"id": "x", "event": "opened", "message": "m", "time": 1, "data": {"n": 2**70}}
    await bench.publish(batch_with(bad, *good))
    await bench.filed(*good)
    cache = MessageCache(bench.database.messages.find_many)
    subscriptions = Subscriptions(bench.database.webhooks, bench.database.outbox, lambda: None)
    ingest = Ingest(bench.database, cache, subscriptions)
    # What the attempts at larger parts left open is found to be done, or to have done nothing.
    await Recovery(bench.database, cache, ingest).run_once(time.time() + 1000)
    rollups = await bench.database.rollups.read("acme", "2000-01-01", "2999-01-01")
    assert [dict(rollup.counts) for rollup in rollups] == [{"accepted": 30}]
    assert await bench.database.ledger.abandoned(time.time() + 1000) == []


def news() -> Event:
    submission = factories.submission()
    return accepted(submission, submission.recipients[0])
