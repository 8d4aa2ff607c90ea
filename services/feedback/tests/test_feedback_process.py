"""Feedback as a process that is killed at work, and without its database for a while."""

import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from postroad_common.broker.topology import EVENTS
from postroad_common.schemas.events import Event, EventBatch, EventName, accepted, happened
from postroad_common.schemas.framing import encode
from postroad_common.store import Database
from postroad_common.store.rollupparts import LOGIN, PROVIDER
from postroad_common.store.rollups import Rollups
from postroad_feedback.ingest import Ingest
from postroad_feedback.message_cache import MessageCache
from postroad_feedback.recovery import ABANDONED_SECONDS, Recovery
from postroad_feedback.subscriptions import Subscriptions
from postroad_testing import factories
from postroad_testing.forwarder import Forwarder
from postroad_testing.process import ServiceProcess
from postroad_testing.queues import Queues
from postroad_testing.waiting import PATIENCE, until

PROVIDERS = ("google", "my.mail", "other")


def story(number: int) -> list[Event]:
    now = time.time()
    sent = factories.submission(
        f"reader{number}@example.com", tags=("even",) if number % 2 == 0 else ()
    )
    recipient = sent.recipients[0]
    message = recipient.id
    return [
        accepted(sent, recipient),
        happened(
            EventName.DELIVERED,
            message,
            now,
            {"attempt": 0, "provider": PROVIDERS[number % 3]},
            account="acme",
            event_id=f"{message}.delivered.0",
        ),
        happened(EventName.OPENED, message, now, {"machine": False}),
        happened(EventName.CLICKED, message, now, {"machine": number % 3 == 0}),
    ]


@pytest.fixture
def feedback(tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess("feedback", tmp_path / "feedback.log") as process:
        yield process


async def publish(amqp_url: str, events: Sequence[Event], size: int) -> None:
    batches = (events[start : start + size] for start in range(0, len(events), size))
    frames = [encode(EventBatch(events=tuple(batch))) for batch in batches]
    await Queues(amqp_url).put(EVENTS.name, frames)


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    yield database
    await database.close()


async def until_stored(mongodb_uri: str, number: int) -> None:
    """Wait until the log has so many events."""
    await until_found(mongodb_uri, "events", {}, number)


async def until_found(
    mongodb_uri: str, collection: str, query: dict[str, Any], number: int
) -> None:
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        found = client.get_default_database()[collection]

        async def enough() -> bool:
            return await found.count_documents(query) >= number

        await until(enough, what=f"{number} {collection} are stored")


async def counts(database: Database, tag: str = "") -> Counter[str]:
    total: Counter[str] = Counter()
    for rollup in await database.rollups.read("acme", "2000-01-01", "2999-01-01", tag):
        total.update(rollup.counts)
    return total


async def by_part(rollups: Rollups, by: str) -> dict[str, Counter[str]]:
    sums: dict[str, Counter[str]] = {}
    for parts in (await rollups.parts("acme", "2000-01-01", "2999-01-01", by)).values():
        for name, counted in parts.items():
            sums.setdefault(name, Counter()).update(counted)
    return sums


async def finish(database: Database) -> None:
    """Recover, as other replicas do a minute later."""
    cache = MessageCache(database.messages.find_many)
    subscriptions = Subscriptions(database.webhooks, database.outbox, lambda: None)
    ingest = Ingest(database, cache, subscriptions)
    await Recovery(database, cache, ingest).run_once(time.time() + ABANDONED_SECONDS + 1)


async def test_counters_are_right_however_often_the_process_is_killed(
    amqp_url: str, mongodb_uri: str, database: Database, feedback: ServiceProcess
):
    stories = [story(number) for number in range(900)]
    events = [event for told in stories for event in told]
    random.Random(7).shuffle(events)
    feedback.start(AMQP_URL=amqp_url, MONGODB_URI=mongodb_uri)
    await publish(amqp_url, events, 7)
    for share in (0.1, 0.35, 0.6, 0.85):
        await until_stored(mongodb_uri, int(len(events) * share))
        await feedback.kill()
        feedback.start()
    await until_stored(mongodb_uri, len(events))
    # What was in work when it was killed comes again, with the facts of its messages.
    await until_found(mongodb_uri, "messages", {"submission": {"$exists": True}}, 900)
    await feedback.end()
    await finish(database)
    expected = Counter(
        accepted=900,
        delivered=900,
        opened=900,
        opened_unique=900,
        clicked=600,
        clicked_unique=600,
        clicked_machine=300,
    )
    assert await counts(database) == expected
    assert (await counts(database, "even"))["accepted"] == 450
    hours: Counter[str] = Counter()
    for rollup in await database.hours.read("acme", "2000-01-01T00", "2999-01-01T00"):
        hours.update(rollup.counts)
    assert hours == expected
    of_login = {factories.submission("a@example.com").credential: expected}
    sent = dict.fromkeys(PROVIDERS, 300)
    after = expected - Counter(accepted=900)
    for rollups in (database.rollups, database.hours):
        assert await by_part(rollups, LOGIN) == of_login
        of_providers = await by_part(rollups, PROVIDER)
        assert {name: found["delivered"] for name, found in of_providers.items()} == sent
        assert sum(of_providers.values(), Counter[str]()) == after
    record = await database.messages.get("acme", stories[1][0].message)
    assert record is not None
    assert (record.state, record.opens, record.clicks) == ("delivered", 1, 1)


async def test_without_the_database_events_wait_and_nothing_is_lost(
    amqp_url: str, mongodb_uri: str, database: Database, feedback: ServiceProcess
):
    line, uri = Forwarder.to(mongodb_uri, 27_017)
    uri = re.sub(r"replicaSet=\w+", "directConnection=true", uri)
    events = [event for number in range(300) for event in story(number)]
    feedback.start(AMQP_URL=amqp_url, MONGODB_URI=uri)
    await publish(amqp_url, events[:600], 10)
    await line.open()
    await until_stored(mongodb_uri, 300)
    await line.close()
    await publish(amqp_url, events[600:], 10)
    await until(lambda: "dependency_away" in feedback.text())
    await line.open()
    await until_stored(mongodb_uri, len(events))
    # What was stored when the line was cut comes again, with the facts of its messages.
    await until_found(mongodb_uri, "messages", {"submission": {"$exists": True}}, 300)
    assert await feedback.end() == 0
    await line.close()
    await finish(database)
    found = await counts(database)
    assert (found["accepted"], found["opened_unique"]) == (300, 300)
    today = datetime.now(UTC).date().isoformat()
    assert await database.rollups.by_tag.names("acme", min(today, "2026-01-01")) == ["even"]
