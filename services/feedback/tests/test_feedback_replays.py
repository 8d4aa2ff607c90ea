"""Replays of the log, and what is told of the backlog."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, accepted
from postroad_common.store import Database
from postroad_common.store.deliveries import DeliveryState, WebhookDelivery
from postroad_feedback.message_cache import MessageCache, MessageInfo, info_in
from postroad_feedback.replaying import Replayer
from postroad_feedback.subscriptions import delivery_of
from postroad_testing import factories
from postroad_testing.endpoint import EndPoint, Open
from postroad_testing.waiting import PATIENCE, until
from postroad_testing.webhooks import all_are, subscribe


async def happenings(database: Database, count: int, account: str = "acme") -> list[Event]:
    """Events of messages that are known, a second apart, in the log."""
    base = time.time() - 40 * 86_400
    found = []
    for number in range(count):
        submission = factories.submission(
            account=account, received=base + number, expires=base + 1e6
        )
        found.append(accepted(submission, submission.recipients[0]))
    await database.events.insert(found)
    await database.messages.apply(found)
    return found


def replayer(database: Database, **options: Any) -> Replayer:
    cache = MessageCache(database.messages.find_many)
    return Replayer(database, cache, lambda: None, **options)


async def test_any_range_of_the_log_is_replayed_whether_it_was_posted_before_or_not(
    database: Database, listening: Open, dispatching: Any
):
    end_point = await listening(EndPoint())
    webhook = await subscribe(database, end_point)
    events = await happenings(database, 700)
    await happenings(database, 3, account="other")
    wanted = events[50:650]
    known = [delivery_of(webhook, event, facts_of(event), time.time()) for event in wanted[:50]]
    await database.outbox.add(known)
    async with dispatching(database):
        await until(all_are(database, webhook, DeliveryState.DELIVERED))
        end_point.got.clear()
        await database.replays.order(webhook, wanted[0].time, wanted[-1].time + 0.5)
        await replayer(database).run_once()
        await until(all_delivered(end_point, len(wanted)))
    assert {headers["webhook-id"] for headers, _ in end_point.got} == {
        delivery_of(webhook, event, facts_of(event), 0.0).id for event in wanted
    }
    (order,) = await database.replays.list("acme", webhook.id)
    assert order.finished is not None
    assert order.queued == len(wanted)


def facts_of(event: Event) -> MessageInfo:
    facts = info_in(event)
    assert facts is not None
    return facts


def all_delivered(end_point: EndPoint, number: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return len(end_point.got) >= number

    return check


async def test_replay_goes_on_where_it_was_and_does_not_fill_the_outbox(
    database: Database, listening: Open
):
    webhook = await subscribe(database, await listening(EndPoint()))
    events = await happenings(database, 800)
    await database.replays.order(webhook, events[0].time, time.time())
    await replayer(database, most_waiting=400).run_once()
    assert await database.outbox.count_waiting(webhook.id, 9999) == 500  # one page
    (order,) = await database.replays.list("acme", webhook.id)
    assert (order.queued, order.finished) == (500, None)
    # The rest, by another process, once the end point has taken what waited.
    await database.outbox.give_up(webhook.id)
    later = replayer(database)

    async def finished() -> bool:
        await later.run_once()
        (order,) = await database.replays.list("acme", webhook.id)
        return order.finished is not None

    await until(finished)
    assert await database.outbox.count_waiting(webhook.id, 9999) == 300


async def test_replay_to_a_disabled_end_point_ends(database: Database, listening: Open):
    webhook = await subscribe(database, await listening(EndPoint()))
    await database.replays.order(webhook, 0.0, time.time())
    await database.webhooks.update("acme", webhook.id, {"disabled": True})
    await replayer(database).run_once()
    (order,) = await database.replays.list("acme", webhook.id)
    assert order.finished is not None


async def test_the_backlog_tells_what_waits_who_rests_and_what_is_late(
    mongodb_uri: str,
) -> None:
    database = Database(mongodb_uri, patience=PATIENCE)
    try:
        outbox, now = database.outbox, time.time()
        before = await outbox.backlog(now, 1000)
        tardy, resting = new_id(), new_id()
        for hook, due in ((tardy, now - 50), (tardy, now + 60), (resting, now - 99)):
            await outbox.add(
                [WebhookDelivery(new_id(), hook, "acme", "accepted", "m", "{}", now - 50, due)]
            )
        turn = await outbox.turns.take("me", now - 60, 60.0)
        assert turn is not None
        assert turn.webhook == resting
        await outbox.turns.end(turn, hold=now + 600, failures=3, failing_since=now - 99)
        found = await outbox.backlog(now, 1000)
        assert found.waiting == before.waiting + 3
        assert found.resting == before.resting + 1
        assert found.overdue_seconds >= 49.0
        assert (await outbox.backlog(now, 2)).waiting == 2
        for hook in (tardy, resting):
            await outbox.give_up(hook)
        assert (await outbox.backlog(now, 1000)).waiting == before.waiting
    finally:
        await database.close()
