"""Batches of events: what is in them, and how large they may be for an end point."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

from standardwebhooks import Webhook as Verifier

from postroad_common.store import Database
from postroad_common.store.deliveries import DeliveryState
from postroad_common.store.webhooks import Webhook
from postroad_feedback.batching import batch
from postroad_feedback.batchsize import BatchSize
from postroad_feedback.calls import CallResult
from postroad_testing.documents import documents
from postroad_testing.endpoint import EndPoint, Open
from postroad_testing.waiting import until
from postroad_testing.webhooks import SECRET, all_are, delivery, log_of, subscribe


async def test_batches_hold_many_events_and_each_keeps_its_id(
    database: Database, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point, batch_size=40, batch_seconds=0.2)
    sent = [delivery(webhook) for _ in range(100)]
    await database.outbox.add(sent)
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    bodies = [Verifier(SECRET).verify(body, headers) for headers, body in end_point.got]
    assert sorted(len(body["data"]) for body in bodies) == [20, 40, 40]
    assert {body["type"] for body in bodies} == {"batch"}
    entries = [entry for body in bodies for entry in body["data"]]
    assert {entry["id"] for entry in entries} == {item.id for item in sent}
    assert entries[0]["data"]["recipient"] == "j\u00f6@example.com"


async def test_events_wait_for_others_as_long_as_the_batching_says(
    database: Database, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point, batch_size=100, batch_seconds=0.8)
    began = time.time()
    async with dispatching(database) as dispatcher:
        for _ in range(10):
            item = delivery(webhook)
            await database.outbox.add([replace(item, due=item.created + 0.8)])
            dispatcher.notify()
            await asyncio.sleep(0.02)  # news that come one by one
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert time.time() - began >= 0.8
    assert [len(json.loads(body)["data"]) for _, body in end_point.got] == [10]


async def test_batch_that_fails_is_tried_again_with_one_call(
    database: Database, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))
    webhook = await subscribe(database, end_point, batch_size=50)
    sent = [delivery(webhook) for _ in range(30)]
    await database.outbox.add(sent)
    async with dispatching(database):

        async def tried() -> bool:
            return all(item.tries == 1 for item in await log_of(database, webhook))

        await until(tried)
        assert len(end_point.got) == 1
        end_point.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        found = await log_of(database, webhook)
        assert {item.log[0].status for item in found} == {500}
        await database.outbox.add_again([replace(item, due=time.time()) for item in found])
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    first, second = (headers["webhook-id"] for headers, _ in end_point.got)
    assert first == second


def sizes(end_point: EndPoint) -> list[int]:
    return [len(json.loads(body)["data"]) for _, body in end_point.got]


async def learned(mongodb_uri: str, webhook: Webhook) -> int:
    """Return the size of batches that is kept for later turns."""
    async with documents(mongodb_uri) as collections:
        found = await collections.webhook_turns.find_one({"_id": webhook.id})
    assert found is not None
    return int(found["batch"])


async def test_batches_for_which_an_end_point_takes_too_long_shrink_until_it_can_take_them(
    database: Database, mongodb_uri: str, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint(per_event=0.1))
    webhook = await subscribe(database, end_point, batch_size=64)
    await database.outbox.add([delivery(webhook) for _ in range(64)])
    async with dispatching(database, call_seconds=1.0):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert sizes(end_point)[0] == 64
    assert min(sizes(end_point)) <= 8
    found = await log_of(database, webhook)
    assert all("no answer" in item.log[0].error for item in found)
    assert 1 in {item.tries for item in found}  # to be in too large a batch is no try
    assert len({json.dumps(entry) for _, body in end_point.got
                for entry in json.loads(body)["data"]}) == 64  # fmt: skip
    # Later turns know it, and batches grow when they are taken easily.
    now_learned = await learned(mongodb_uri, webhook)
    assert now_learned <= 16
    end_point.per_event = 0.0
    end_point.got.clear()
    await database.outbox.add([delivery(webhook) for _ in range(500)])
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert sizes(end_point)[0] == now_learned
    assert max(sizes(end_point)) > 2 * now_learned


async def test_batches_that_an_end_point_finds_too_large_shrink_at_once(
    database: Database, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint(most_events=10))
    webhook = await subscribe(database, end_point, batch_size=100)
    await database.outbox.add([delivery(webhook) for _ in range(100)])
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert sizes(end_point)[:2] == [100, 50]


def answered(status: int | None = 204, seconds: float = 0.1, *, timed_out: bool = False) -> Any:
    return CallResult(status, "", "", seconds, timed_out=timed_out)


def test_size_of_batches_follows_what_the_end_point_takes():
    size = BatchSize(100, None)
    assert (size.events, size.learned) == (100, None)
    assert size.take(answered(413), 100)
    assert size.take(answered(None, timed_out=True), 50)
    assert (size.events, size.learned) == (25, 25)
    assert size.take(answered(504), 60)  # larger ones that were on their way teach nothing new
    assert size.events == 25
    assert not size.take(answered(500), 25)  # no fault of the size
    assert not size.take(answered(None), 25)
    assert not size.take(answered(seconds=14.0), 25)  # enough, but no more
    assert not size.take(answered(), 20)  # not full: says nothing of more
    assert size.events == 25
    size.take(answered(), 25)
    assert size.events == 31
    for _ in range(20):
        size.take(answered(), size.events)
    assert (size.events, size.learned) == (100, None)
    one = BatchSize(100, 1)
    assert not one.take(answered(None, timed_out=True), 1)  # a single event is not too large
    assert BatchSize(10, 64).events == 10  # its owner wishes less now


def test_batches_are_bounded_by_size_and_octets_and_leave_tests_alone():
    webhook = Webhook("hook", "acme", "http://x", (), disabled=False, reason=None, created=0.0)
    items = [replace(delivery(webhook), body="{" + "x" * 400_000 + "}") for _ in range(5)]
    items.append(replace(delivery(webhook), event="test"))
    calls = batch(items, 1000)
    assert sorted(len(call.deliveries) for call in calls) == [1, 1, 2, 2]
    (test,) = [call for call in calls if call.deliveries[0].event == "test"]
    assert test.body == items[-1].body
    assert [call.body for call in batch(items, 1)] == [item.body for item in items]
