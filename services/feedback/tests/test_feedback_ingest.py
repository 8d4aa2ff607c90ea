"""Ingest against a real database: what is counted, what waits, what a death in between leaves."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from postroad_common.errors import StoreAway
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import (
    Event,
    EventName,
    accepted,
    attempted,
    happened,
    notified,
    written,
)
from postroad_common.store import Database
from postroad_common.store.rollupparts import LOGIN, PROVIDER, MailPart
from postroad_feedback.ingest import Ingest
from postroad_feedback.message_cache import MessageCache
from postroad_feedback.recovery import ABANDONED_SECONDS, GIVE_UP_SECONDS, Recovery
from postroad_feedback.subscriptions import Subscriptions
from postroad_testing import factories
from postroad_testing.documents import documents

LATER = ABANDONED_SECONDS + 1


class Desk:
    """Ingest as one process has it; several share a database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cache = MessageCache(database.messages.find_many)
        subscriptions = Subscriptions(database.webhooks, database.outbox, lambda: None)
        self.ingest = Ingest(database, self.cache, subscriptions)
        self.recovery = Recovery(database, self.cache, self.ingest)

    async def counts(self, account: str = "acme", tag: str = "") -> dict[str, int]:
        total: dict[str, int] = {}
        for rollup in await self.database.rollups.read(account, "2000-01-01", "2999-01-01", tag):
            for name, number in rollup.counts.items():
                total[name] = total.get(name, 0) + number
        return total


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


def news(tags: tuple[str, ...] = ("news",)) -> Event:
    sent = factories.submission(tags=tags, subject="Hello")
    return accepted(sent, sent.recipients[0])


def delivery(message: str, provider: str | None) -> Event:
    told = {} if provider is None else {"provider": provider}
    return happened(EventName.DELIVERED, message, time.time(), {"attempt": 0, **told})


def click(message: str, *, machine: bool = False) -> Event:
    return happened(EventName.CLICKED, message, time.time(), {"machine": machine, "link": 0})


async def test_events_are_kept_and_counted_once_however_often_they_come(desk: Desk):
    first = news()
    events = [first, click(first.message), click(first.message)]
    for _ in range(3):
        await desk.ingest.record(events)
    assert len(await desk.database.events.timeline(first.message)) == 3
    expected = {"accepted": 1, "clicked": 2, "clicked_unique": 1}
    assert await desk.counts() == expected
    assert await desk.counts(tag="news") == expected
    record = await desk.database.messages.get("acme", first.message)
    assert record is not None
    assert record.clicks == 2
    assert await desk.database.ledger.abandoned(time.time() + 1) == []


async def test_events_of_the_tracker_get_the_account_of_their_message(desk: Desk):
    first = news()
    await desk.ingest.record([first])
    await Desk(desk.database).ingest.record([click(first.message)])
    found = await desk.database.events.search("acme", names=["clicked"])
    assert [event.message for event in found] == [first.message]


async def test_a_click_that_comes_before_its_message_waits_and_is_counted_once(desk: Desk):
    first = news()
    clicks = [click(first.message), click(first.message, machine=True)]
    await desk.ingest.record(clicks)
    assert len(await desk.database.events.timeline(first.message)) == 2
    assert await desk.recovery.run_once() == 0
    assert await desk.counts() == {}
    await desk.ingest.record([first])
    assert await desk.recovery.run_once() == 2
    assert await desk.recovery.run_once() == 0
    await desk.ingest.record(clicks)
    expected = {"accepted": 1, "clicked": 1, "clicked_unique": 1, "clicked_machine": 1}
    assert await desk.counts() == expected
    found = await desk.database.events.search("acme", names=["clicked"])
    assert len(found) == 2


async def test_two_replicas_completing_at_once_count_once(desk: Desk):
    first = news()
    await desk.ingest.record([click(first.message) for _ in range(50)])
    await desk.ingest.record([first])
    other = Desk(desk.database)
    completed = await asyncio.gather(desk.recovery.run_once(), other.recovery.run_once())
    assert sum(completed) == 50
    assert (await desk.counts())["clicked"] == 50
    assert (await desk.counts())["clicked_unique"] == 1


async def test_events_of_a_message_that_never_becomes_known_stop_waiting_after_days(desk: Desk):
    stray = click(new_id())
    await desk.ingest.record([stray])
    assert len(await desk.database.ledger.waiting((0.0, ""))) == 1
    await desk.recovery.run_once(time.time() + GIVE_UP_SECONDS + 10)
    assert await desk.database.ledger.waiting((0.0, "")) == []
    assert len(await desk.database.events.timeline(stray.message)) == 1
    assert await desk.counts() == {}


async def test_death_after_storing_is_made_good(desk: Desk):
    first = news()
    events = [first, click(first.message)]
    batch = new_id()
    await desk.database.ledger.open(batch, [event.id for event in events])
    await desk.database.events.insert(events, batch=batch)
    # The process dies here; the broker delivers the same events to another one.
    other = Desk(desk.database)
    await other.ingest.record(events)
    assert await desk.counts() == {}
    await other.recovery.run_once(time.time() + LATER)
    expected = {"accepted": 1, "clicked": 1, "clicked_unique": 1}
    assert await desk.counts() == expected
    await other.recovery.run_once(time.time() + LATER)
    assert await desk.counts() == expected


async def test_death_after_counting_does_not_count_again(desk: Desk):
    first = news()
    await desk.ingest.record([first])
    batch, event = new_id(), click(first.message)
    facts = await desk.cache.find([event])
    await desk.database.ledger.open(batch, [event.id])
    new = await desk.database.events.insert([event], batch=batch)
    await desk.ingest.roll_up(batch, new, facts)
    # The process dies here, with its ledger entry open.
    other = Desk(desk.database)
    await other.recovery.run_once(time.time() + LATER)
    await other.ingest.record([event])
    assert await desk.counts() == {"accepted": 1, "clicked": 1, "clicked_unique": 1}
    assert await desk.database.ledger.abandoned(time.time() + LATER) == []


async def test_death_after_claiming_is_made_good(desk: Desk):
    first = news()
    early = click(first.message)
    await desk.ingest.record([early])
    await desk.ingest.record([first])
    batch = new_id()
    await desk.database.ledger.open(batch, [early.id])
    await desk.database.ledger.claim(batch, {early.id: "acme"})
    # The process dies here: no AMQP message will bring this event again.
    other = Desk(desk.database)
    await other.recovery.run_once(time.time() + LATER)
    assert await desk.counts() == {"accepted": 1, "clicked": 1, "clicked_unique": 1}


async def test_many_batches_at_once_lose_no_count_and_leave_few_marks(desk: Desk, mongodb_uri: str):
    first = news()
    await desk.ingest.record([first])
    desks = [desk, Desk(desk.database), Desk(desk.database)]
    batches = [[click(first.message) for _ in range(5)] for _ in range(60)]
    for start in range(0, 60, 6):
        await asyncio.gather(
            *(
                desks[number % 3].ingest.record(batch)
                for number, batch in enumerate(batches[start : start + 6])
            )
        )
    assert (await desk.counts())["clicked"] == 300
    day = datetime.now(UTC).date().isoformat()
    async with documents(mongodb_uri) as collections:
        document = await collections["rollups"].find_one({"_id": f"acme/{day}/"})
    assert document is not None
    assert len(document["batches"]) <= 20


async def test_unsubscribing_puts_the_recipient_on_the_accounts_list(desk: Desk):
    first = news()
    await desk.ingest.record([first, happened(EventName.UNSUBSCRIBED, first.message, 1e9, {})])
    found = await desk.database.suppressions.get("acme", "reader@receiver.test")
    assert found is not None
    assert found.kind == "unsubscribe"


async def test_unsubscribing_from_a_list_leaves_other_mail_alone(desk: Desk):
    sent = factories.submission(tags=("news",), list="weekly news")
    recipient = sent.recipients[0].model_copy(update={"address": "weekly@example.com"})
    first = accepted(sent, recipient)
    await desk.ingest.record([first, happened(EventName.UNSUBSCRIBED, first.message, 1e9, {})])
    assert await desk.database.suppressions.get("acme", "weekly@example.com") is None
    found = await desk.database.suppressions.get("acme", "weekly@example.com", "weekly news")
    assert found is not None
    assert found.kind == "unsubscribe"
    record = await desk.database.messages.get("acme", first.message)
    assert record is not None
    assert record.list == "weekly news"


async def test_each_subscribed_end_point_gets_an_event_once(desk: Desk):
    webhooks = desk.database.webhooks
    wants_all = await webhooks.create(account="acme", url="http://a", events=(), secret="whsec_")
    wants_clicks = await webhooks.create(
        account="acme", url="http://b", events=("clicked",), secret="whsec_"
    )
    other = await webhooks.create(account="other", url="http://c", events=(), secret="whsec_")
    first = news()
    events = [first, click(first.message)]
    await desk.ingest.record(events)
    await Desk(desk.database).ingest.record(events)
    outbox = desk.database.outbox
    assert len(await outbox.log("acme", wants_all.id)) == 2
    assert [item.event for item in await outbox.log("acme", wants_clicks.id)] == ["clicked"]
    assert await outbox.log("other", other.id) == []


async def test_without_database_recording_says_so():
    database = Database("mongodb://127.0.0.1:9/nowhere", patience=0.3)
    with pytest.raises(StoreAway):
        await Desk(database).ingest.record([news()])
    await database.close()


async def test_own_mail_has_a_record_and_is_neither_counted_nor_posted(desk: Desk):
    first = news()
    await desk.database.webhooks.create(
        account="acme", url="http://127.0.0.1:9/", events=(), secret="whsec_QUJD"
    )
    notification = factories.outbound(
        "sender@acme.test", kind="dsn", envelope="", mail_from="", subject="No"
    )
    own = notification.id
    message = factories.outbound(id=first.message, envelope="sender@acme.test")
    await desk.ingest.record(
        [
            first,
            written(notification, first.message),
            attempted(EventName.DELIVERED, notification, own, time.time(), {"reply": "250 ok"}),
            notified(message, first.message, own, "failed", time.time()),
        ]
    )
    record = await desk.database.messages.get("acme", own)
    assert record is not None
    assert (record.source, record.state, record.recipient) == (
        "dsn",
        "delivered",
        "sender@acme.test",
    )
    assert await desk.counts() == {"accepted": 1}
    names = [event.event for event in await desk.database.events.timeline(first.message)]
    assert names == [EventName.ACCEPTED, EventName.NOTIFIED]
    (hook,) = await desk.database.webhooks.list("acme")
    assert [item.event for item in await desk.database.outbox.log("acme", hook.id)] == ["accepted"]


async def test_a_batch_that_can_never_be_finished_does_not_stop_those_behind_it(
    desk: Desk, mongodb_uri: str
):
    database = desk.database
    poison = new_id()
    features = {"inlinecss": "perhaps"}
    async with documents(mongodb_uri) as collections:
        await collections["messages"].insert_one(
            {"_id": poison, "account": "acme", "submission": "s", "features": features}
        )
    sound = news()
    for event in (click(poison), sound):
        batch = new_id()
        await database.ledger.open(batch, [event.id])
        await database.events.insert([event], batch=batch)
    await database.messages.apply([sound])
    await desk.recovery.run_once(time.time() + LATER)
    assert await database.ledger.abandoned(time.time() + LATER) == []
    assert await desk.counts() == {"accepted": 1}


@pytest.mark.parametrize("told", [(), (EventName.DELIVERED,)], ids=["nothing", "the account"])
async def test_a_batch_found_before_its_messages_come_again_waits_for_them(
    desk: Desk, told: tuple[EventName, ...]
):
    """As after an outage of a minute: the ledger is old, and the broker has just redelivered."""
    database = desk.database
    event = news()
    batch = new_id()
    await database.ledger.open(batch, [event.id])
    await database.events.insert([event], batch=batch)
    restarted = Desk(database)
    await restarted.ingest.record(
        happened(name, event.message, time.time(), {"attempt": 0}, account="acme") for name in told
    )
    await restarted.recovery.run_once(time.time() + LATER)
    assert "accepted" not in await desk.counts()
    await restarted.ingest.record([event])
    await restarted.recovery.run_once(time.time() + LATER)
    for tag in ("", "news"):
        assert (await desk.counts(tag=tag))["accepted"] == 1
    assert await database.ledger.abandoned(time.time() + LATER) == []


async def test_database_forgets_the_log_after_90_days_the_counters_later(
    desk: Desk, mongodb_uri: str
):
    old = news().model_copy(update={"time": 1_700_000_000.0})
    await desk.database.prepare()
    await desk.ingest.record([old])
    async with documents(mongodb_uri) as names:
        document = await names["events"].find_one({"_id": old.id})
        assert document is not None
        assert document["at"].replace(tzinfo=UTC).timestamp() == old.time
        lives = {"events": 90, "messages": 90, "rollups": 800, "webhook_deliveries": 14}
        for name, days in lives.items():
            indexes = (await names[name].index_information()).values()
            [life] = [one for one in indexes if "expireAfterSeconds" in one]
            assert (life["key"], life["expireAfterSeconds"]) == ([("at", 1)], days * 86_400)


async def test_what_follows_a_delivery_counts_for_the_provider_that_took_it(
    desk: Desk, database: Database
):
    mail, old = news(), news()
    await desk.ingest.record([mail, old])
    await Desk(database).ingest.record([delivery(mail.message, "google")])  # another process
    await desk.ingest.record([delivery(old.message, None), click(mail.message), click(old.message)])
    await Desk(database).ingest.record([click(mail.message, machine=True)])
    today = datetime.now(UTC).date().isoformat()
    found = await database.rollups.parts("acme", "2000-01-01", today, PROVIDER)
    assert found[today] == {
        "google": {"delivered": 1, "clicked": 1, "clicked_unique": 1, "clicked_machine": 1},
        "other": {"delivered": 1, "clicked": 1, "clicked_unique": 1},
    }
    (day,) = await database.rollups.read("acme", today, today, part=MailPart(PROVIDER, "google"))
    assert day.counts["delivered"] == 1
    assert await database.rollups.read("acme", today, today, part=MailPart(PROVIDER, "none")) == []


async def test_names_of_parts_come_back_whatever_is_in_them(desk: Desk, database: Database):
    name = "50%.of$a\0login"
    sent = factories.submission(credential=name)
    await desk.ingest.record([accepted(sent, sent.recipients[0])])
    found = await database.rollups.parts("acme", "2000-01-01", "2999-01-01", LOGIN)
    assert list(found.values()) == [{name: {"accepted": 1}}]
    names = await database.rollups.part_names("acme", "2000-01-01", "2999-01-01")
    assert names[LOGIN] == [name]
    (day,) = await database.rollups.read(
        "acme", "2000-01-01", "2999-01-01", part=MailPart(LOGIN, name)
    )
    assert day.counts == {"accepted": 1}
