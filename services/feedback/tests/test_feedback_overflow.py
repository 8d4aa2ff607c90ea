"""Dead end points: what waits for them is bounded, nothing is lost, and others do not notice."""

import time

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, EventName, accepted, happened
from postroad_common.store import Database
from postroad_common.store.deliveries import DeliveryState, Result, Try, WebhookDelivery
from postroad_common.store.webhooks import Webhook
from postroad_feedback.ingest import Ingest
from postroad_feedback.message_cache import MessageCache
from postroad_feedback.overflow import SETTLED_SECONDS, Overflow
from postroad_feedback.subscriptions import Subscriptions
from postroad_testing import factories

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MOST = 20


def life(account: str) -> list[Event]:
    """Return the first two events of a message of `account`."""
    submission = factories.submission(account=account)
    recipient = submission.recipients[0]
    delivered = happened(
        EventName.DELIVERED, recipient.id, time.time(), {"code": 250}, account=account
    )
    return [accepted(submission, recipient), delivered]


async def hooks(database: Database, account: str, count: int) -> list[Webhook]:
    return [
        await database.webhooks.create(
            account=account, url=f"https://dead{number}.example/", events=(), secret=SECRET
        )
        for number in range(count)
    ]


async def waiting(database: Database, webhook: Webhook) -> int:
    return await database.outbox.count_waiting(webhook.id, 10_000)


async def test_eight_dead_end_points_hold_a_bounded_number_and_are_caught_up_when_they_live(
    database: Database,
):
    now = time.time()
    overflow = Overflow(database, most_waiting=MOST, clock=lambda: now)
    ingest = Ingest(
        database,
        MessageCache(database.messages.find_many),
        Subscriptions(database.webhooks, database.outbox, lambda: None, full=lambda: overflow.full),
    )
    dead, (alive,) = await hooks(database, "big", 8), await hooks(database, "small", 1)
    for number in range(20):
        await ingest.record([event for _ in range(5) for event in life("big")])
        await ingest.record(life("small") if number % 4 == 0 else [])
        now = time.time()
        await overflow.run_once()
    # one look late: what came between two looks
    assert {await waiting(database, webhook) for webhook in dead} <= set(range(MOST, MOST + 11))
    assert await waiting(database, alive) == 10
    assert overflow.full == {webhook.id for webhook in dead}
    assert len(await database.events.search("big", limit=500)) == 200  # their timelines are whole

    one = dead[0]
    attempt = Try(time=now, status=204, error=None, seconds=0.1, answer="")
    due = await database.outbox.due(one.id, now + 60, 1000)
    await database.outbox.note(
        [Result(item.id, attempt, DeliveryState.DELIVERED, now) for item in due]
    )
    now = time.time()
    await overflow.run_once()
    assert one.id not in overflow.full
    await ingest.record(life("big"))
    assert await waiting(database, one) == 2
    assert await database.replays.list("big", one.id) == []  # other replicas may not know yet
    now += SETTLED_SECONDS
    await overflow.run_once()
    (order,) = await database.replays.list("big", one.id)
    missed = await database.events.since(
        "big", (order.start, ""), order.end + SETTLED_SECONDS, names=["accepted"], limit=500
    )
    assert len(missed) == 101
    now += SETTLED_SECONDS
    await overflow.run_once()
    assert len(await database.replays.list("big", one.id)) == 1


async def test_end_point_is_called_when_the_first_of_several_deliveries_is_due(database: Database):
    (webhook,) = await hooks(database, "acme", 1)
    now = time.time()
    await database.outbox.add(
        [
            WebhookDelivery(
                id=new_id(now),
                webhook=webhook.id,
                account="acme",
                event="opened",
                message="",
                body="{}",
                created=now,
                due=now + later,
            )
            for later in (-1.0, 3600.0)
        ]
    )
    turn = await database.outbox.turns.take("me", now, 60.0)
    assert turn is not None
    assert turn.webhook == webhook.id
