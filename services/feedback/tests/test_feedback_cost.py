"""What messages cost the database, counted by the database: operations, not time."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import (
    Event,
    EventName,
    accepted,
    attempted,
    transformed,
)
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.store import Database
from postroad_feedback.ingest import Ingest
from postroad_feedback.message_cache import MessageCache
from postroad_feedback.subscriptions import Subscriptions
from postroad_testing import factories

MESSAGES = 100
Operations = list[dict[str, Any]]


@pytest.fixture
def ingest(database: Database) -> Ingest:
    subscriptions = Subscriptions(database.webhooks, database.outbox, lambda: None)
    return Ingest(database, MessageCache(database.messages.find_many), subscriptions)


def life() -> tuple[Event, Event, Event]:
    """Return the events of a mail that is delivered at once."""
    sent = factories.submission(f"{new_id()}@example.com", subject="Your order has left")
    recipient = sent.recipients[0]
    message = OutboundMessage(
        id=recipient.id,
        submission=sent.id,
        account=sent.account,
        envelope=sent.envelope,
        mail_from=sent.envelope,
        recipients=(OutboundRecipient(id=recipient.id, address=recipient.address),),
        received=sent.received,
        expires=sent.expires,
        size=sent.size,
    )
    return (
        accepted(sent, recipient),
        transformed(sent, recipient, sent.received + 0.01, {"links": 3}),
        attempted(EventName.DELIVERED, message, recipient.id, sent.received + 0.05, {"code": 250}),
    )


@asynccontextmanager
async def operations(mongodb_uri: str) -> AsyncIterator[Operations]:
    """Have the database note its operations; they are in the list when the context is left."""
    found: Operations = []
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        database = client.get_default_database()
        await database.command("profile", 2)
        try:
            yield found
        finally:
            await database.command("profile", 0)
        async for entry in database["system.profile"].find().sort("ts", 1):
            if entry["op"] in {"insert", "update", "remove"}:
                found.append(entry | {"collection": entry["ns"].partition(".")[2]})
        await database["system.profile"].drop()


def numbers(found: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    return Counter((one["op"], one["collection"]) for one in found)


async def test_a_batch_of_whole_lives_costs_a_few_operations_and_no_update_of_a_record(
    mongodb_uri: str, ingest: Ingest
) -> None:
    events = [event for _ in range(MESSAGES) for event in life()]
    async with operations(mongodb_uri) as found:
        await ingest.record(events)
    assert numbers(found) == {
        ("insert", "ledger"): 1,
        ("insert", "events"): 1,
        ("insert", "messages"): 1,
        ("update", "rollups"): 1,
        ("update", "rollups_hours"): 1,
        ("remove", "ledger"): 1,
    }


async def test_a_later_batch_updates_each_record_once_and_does_not_repeat_its_facts(
    mongodb_uri: str, ingest: Ingest, database: Database
) -> None:
    lives = [life() for _ in range(MESSAGES)]
    await ingest.record([told[0] for told in lives])
    async with operations(mongodb_uri) as found:
        await ingest.record([event for told in lives for event in told[1:]])
    assert numbers(found)["insert", "messages"] == 0
    updates = [one for one in found if (one["op"], one["collection"]) == ("update", "messages")]
    assert len(updates) == MESSAGES
    assert {frozenset(one["command"]["u"]) for one in updates} == {frozenset({"$max", "$min"})}
    message = lives[0][0].message
    record = (await database.messages.find_many([message]))[message]
    assert (record.state, record.subject) == ("delivered", "Your order has left")


async def test_a_record_that_a_later_event_has_begun_gets_its_facts(
    ingest: Ingest, database: Database
) -> None:
    first, second, delivered = life()
    await ingest.record([delivered])
    await ingest.record([first])
    await ingest.record([second])
    record = await database.messages.get(first.account, first.message)
    assert record is not None
    assert (record.state, record.subject) == ("delivered", "Your order has left")
    assert record.created == first.time


async def test_a_record_learns_that_its_message_was_moved_to_later(
    ingest: Ingest, database: Database
) -> None:
    sent = factories.submission(f"{new_id()}@example.com")
    recipient = sent.recipients[0]
    moved = sent.model_copy(update={"expires": sent.expires + 3600.0})
    await ingest.record([accepted(sent, recipient)])
    await ingest.record([transformed(moved, recipient, sent.received + 0.01, {})])
    record = (await database.messages.find_many([recipient.id]))[recipient.id]
    assert record.expires == moved.expires
