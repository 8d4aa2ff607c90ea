"""Who is called when: end points that fail or rest, and turns shared among them."""

import time
from dataclasses import replace
from typing import Any

from postroad_common.store import Database
from postroad_common.store.deliveries import DeliveryState
from postroad_feedback import backoff
from postroad_feedback.shares import TurnShares
from postroad_testing.documents import documents
from postroad_testing.endpoint import EndPoint, Open
from postroad_testing.waiting import until
from postroad_testing.webhooks import all_are, delivery, log_of, subscribe


async def test_a_dead_end_point_delays_nobody(
    database: Database, listening: Open, dispatching: Any
):
    dead = await listening(EndPoint(silent=True))
    alive = await listening(EndPoint())
    to_dead, to_alive = await subscribe(database, dead), await subscribe(database, alive)
    async with dispatching(database) as dispatcher:
        await database.outbox.add([delivery(to_dead) for _ in range(200)])
        dispatcher.notify()

        async def busy() -> bool:
            return len(dead.got) > 0

        await until(busy)
        await database.outbox.add([delivery(to_alive) for _ in range(200)])
        dispatcher.notify()
        await until(all_are(database, to_alive, DeliveryState.DELIVERED))
        assert len(dead.got) < 200  # it still hangs with the first of them
        assert dead.most_at_once <= 8
        dead.release()


async def test_concurrency_per_end_point_is_limited_across_replicas(
    database: Database, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint(delay=0.05))
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook) for _ in range(100)])
    async with dispatching(database), dispatching(database), dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert len(end_point.got) == 100
    assert 1 < end_point.most_at_once <= 8


async def test_failures_are_tried_later_and_then_the_end_point_rests(
    database: Database, mongodb_uri: str, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint(b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nno!"))
    webhook = await subscribe(database, end_point)
    async with dispatching(database) as dispatcher:
        await database.outbox.add([delivery(webhook) for _ in range(100)])
        dispatcher.notify()

        async def rests() -> bool:
            async with documents(mongodb_uri) as collections:
                turn = await collections["webhook_turns"].find_one({"_id": webhook.id})
            return turn is not None and turn["hold"] > time.time() and turn["lease"] == 0

        await until(rests)
        assert len(end_point.got) < 30
        tried = [
            item for item in await database.outbox.log("acme", webhook.id, limit=500) if item.tries
        ]
        assert tried
        assert all(item.state is DeliveryState.PENDING for item in tried)
        assert all(3 < item.due - item.log[-1].time < 8 for item in tried)
        assert tried[0].log[0].answer == "no!"
        # The end point is repaired, and its owner asks for everything once more.
        end_point.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        now = time.time()
        again = [replace(item, due=now) for item in await log_of(database, webhook)]
        await database.outbox.add_again(again)
        await database.outbox.turns.wake(webhook.id, now)
        dispatcher.notify()
        await until(all_are(database, webhook, DeliveryState.DELIVERED))


async def test_after_three_days_of_failures_the_end_point_is_disabled(
    database: Database, mongodb_uri: str, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"))
    webhook = await subscribe(database, end_point)
    old = time.time() - backoff.GIVE_UP_SECONDS - 60
    await database.outbox.add([delivery(webhook, old), delivery(webhook)])
    async with documents(mongodb_uri) as collections:
        await collections["webhook_turns"].update_one(
            {"_id": webhook.id}, {"$set": {"failures": 50, "failing_since": old}}
        )
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.FAILED))
    found = await database.webhooks.get("acme", webhook.id)
    assert found is not None
    assert found.disabled
    assert "three days" in (found.reason or "")
    assert len(end_point.got) == 1


async def test_410_gone_disables_at_once(database: Database, listening: Open, dispatching: Any):
    end_point = await listening(EndPoint(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"))
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.FAILED))
    found = await database.webhooks.get("acme", webhook.id)
    assert found is not None
    assert found.disabled


async def test_a_turn_whose_owner_died_is_taken_by_another_when_the_lease_ends(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    now = time.time()
    assert await database.outbox.turns.take("the dead", now, 60) is not None
    assert await database.outbox.turns.take("the living", now + 1, 60) is None
    turn = await database.outbox.turns.take("the living", now + 61, 60)
    assert turn is not None
    assert turn.webhook == webhook.id


async def test_an_end_point_that_is_woken_during_a_call_does_not_rest_after_it(
    database: Database, listening: Open
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    await database.outbox.add([delivery(webhook)])
    now = time.time()
    turns = database.outbox.turns
    for woken in (True, False):
        turn = await turns.take("me", now, 60)
        assert turn is not None
        if woken:
            await turns.wake(webhook.id, 0.0)
        await turns.end(turn, hold=now + 600, failures=3, failing_since=now - 99)
        assert bool(await turns.failing([webhook.id])) is not woken
    assert await turns.take("me", now, 60) is None


async def test_a_delivery_added_while_a_turn_ends_is_not_forgotten(
    database: Database, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    async with dispatching(database) as dispatcher:
        for _ in range(150):
            await database.outbox.add([delivery(webhook)])
            dispatcher.notify()
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
    assert len(end_point.got) == 150


async def test_slow_end_points_of_an_account_leave_turns_for_the_others(
    database: Database, listening: Open, dispatching: Any
):
    slow = await listening(EndPoint(silent=True))
    alive = await listening(EndPoint())
    hooks = [await subscribe(database, slow, f"/{number}") for number in range(12)]
    other = await subscribe(database, alive, account="other")
    for hook in hooks:
        await database.outbox.add([delivery(hook)])
    async with dispatching(database, call_seconds=600.0, turns=8) as dispatcher:
        await until(lambda: slow.at_once >= 4)
        await database.outbox.add([delivery(other)])
        dispatcher.notify()
        await until(all_are(database, other, DeliveryState.DELIVERED))
        assert slow.most_at_once == 4  # half of the turns: not more than are free
        slow.release()
        for hook in hooks:
            await until(all_are(database, hook, DeliveryState.DELIVERED))


def test_turns_are_shared_among_accounts():
    shares = TurnShares(9)
    assert [shares.enter("a") for _ in range(6)] == [True] * 5 + [False]
    assert [shares.enter("b") for _ in range(3)] == [True, True, False]
    assert [shares.enter("c") for _ in range(2)] == [True, False]
    assert shares.enter("d")  # the last one, but one is always taken
    assert shares.is_crowded("a")
    shares.leave("a")
    assert not shares.is_crowded("a")
