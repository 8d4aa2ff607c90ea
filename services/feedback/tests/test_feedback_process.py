"""Feedback as a process that is killed at work, and without its database for a while."""

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import aio_pika
import pytest

from postroad_common.broker.topology import EVENTS
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, EventBatch, EventName, accepted, happened
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import encode
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store import Database
from postroad_feedback.ingest import Ingest
from postroad_feedback.message_cache import MessageCache
from postroad_feedback.recovery import ABANDONED_SECONDS, Recovery
from postroad_feedback.subscriptions import Subscriptions


def story(number: int) -> list[Event]:
    now = time.time()
    recipient = Recipient(id=new_id(now), address=f"reader{number}@example.com")
    submission = Submission(
        id=new_id(now),
        account="acme",
        credential="login",
        source="smtp",
        received=now,
        envelope="sender@acme.test",
        recipients=(recipient,),
        features=Features(),
        tags=("even",) if number % 2 == 0 else (),
        expires=now + 3600,
        size=1000,
    )
    message = recipient.id
    return [
        accepted(submission, recipient),
        happened(
            EventName.DELIVERED,
            message,
            now,
            {"attempt": 0},
            account="acme",
            event_id=f"{message}.delivered.0",
        ),
        happened(EventName.OPENED, message, now, {"machine": False}),
        happened(EventName.CLICKED, message, now, {"machine": number % 3 == 0}),
    ]


class Feedback:
    """The process."""

    def __init__(self, amqp_url: str, mongodb_uri: str, log: Path) -> None:
        self._log = log.open("ab")
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")
        } | {
            "POSTROAD_AMQP_URL": amqp_url,
            "POSTROAD_MONGODB_URI": mongodb_uri,
            "POSTROAD_SECRET": "the secret of these tests",
            "POSTROAD_METRICS_PORT": "0",
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "postroad_feedback",
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )

    async def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), 90)

    async def close(self) -> None:
        if self._process is not None:
            await self.end(signal.SIGKILL)
        self._log.close()


async def publish(amqp_url: str, events: Sequence[Event], size: int) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        for start in range(0, len(events), size):
            frame = encode(EventBatch(events=tuple(events[start : start + size])))
            await channel.default_exchange.publish(aio_pika.Message(frame), EVENTS.name)


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri)
    yield database
    await database.close()


async def stored(database: Database) -> int:
    return await database.events._events.count_documents({})


async def until_stored(database: Database, number: int, seconds: float = 90.0) -> None:
    async with asyncio.timeout(seconds):
        while await stored(database) < number:  # noqa: ASYNC110 - the condition is in the database
            await asyncio.sleep(0.02)


async def counts(database: Database, tag: str = "") -> Counter[str]:
    total: Counter[str] = Counter()
    for rollup in await database.rollups.read("acme", "2000-01-01", "2999-01-01", tag):
        total.update(rollup.counts)
    return total


async def finish(database: Database) -> None:
    """Recover, as other replicas do a minute later."""
    cache = MessageCache(database.messages.find_many)
    subscriptions = Subscriptions(database.webhooks, database.outbox, lambda: None)
    ingest = Ingest(database, cache, subscriptions)
    await Recovery(database, cache, ingest).run_once(time.time() + ABANDONED_SECONDS + 1)


async def test_counters_are_right_however_often_the_process_is_killed(
    amqp_url: str, mongodb_uri: str, database: Database, tmp_path: Path
):
    stories = [story(number) for number in range(900)]
    events = [event for told in stories for event in told]
    random.Random(7).shuffle(events)
    feedback = Feedback(amqp_url, mongodb_uri, tmp_path / "feedback.log")
    try:
        await feedback.start()
        await publish(amqp_url, events, 7)
        for share in (0.1, 0.35, 0.6, 0.85):
            await until_stored(database, int(len(events) * share))
            await feedback.end(signal.SIGKILL)
            await feedback.start()
        await until_stored(database, len(events))
        # What was in work when it was killed comes again, with the facts of its messages.
        async with asyncio.timeout(90):
            while await records(database) < 900:  # noqa: ASYNC110 - the condition is in the database
                await asyncio.sleep(0.05)
        await feedback.end(signal.SIGTERM)
    finally:
        await feedback.close()
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
    record = await database.messages.get("acme", stories[1][0].message)
    assert record is not None
    assert (record.state, record.opens, record.clicks) == ("delivered", 1, 1)


async def records(database: Database) -> int:
    """How many messages are known with their facts."""
    return await database.messages._messages.count_documents({"submission": {"$exists": True}})


class Line:
    """A TCP line to the database that can be cut and mended."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)

    def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._writers -= {writer, back}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


async def test_without_the_database_events_wait_and_nothing_is_lost(
    amqp_url: str, mongodb_uri: str, database: Database, tmp_path: Path
):
    match = re.search(r"@?([\w.]+):(\d+)/", mongodb_uri)
    assert match is not None
    line = Line(match[1], int(match[2]))
    uri = mongodb_uri.replace(f"{match[1]}:{match[2]}", f"127.0.0.1:{line.port}")
    uri = re.sub(r"replicaSet=\w+", "directConnection=true", uri)
    log = tmp_path / "feedback.log"
    feedback = Feedback(amqp_url, uri, log)
    events = [event for number in range(300) for event in story(number)]
    try:
        await feedback.start()
        await publish(amqp_url, events[:600], 10)
        await line.mend()
        await until_stored(database, 300)
        line.cut()
        await publish(amqp_url, events[600:], 10)
        async with asyncio.timeout(90):
            while "held: something is away" not in log.read_text():  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)
        await line.mend()
        await until_stored(database, len(events))
        assert await feedback.end(signal.SIGTERM) == 0
    finally:
        await feedback.close()
        line.cut()
    await finish(database)
    found = await counts(database)
    assert (found["accepted"], found["opened_unique"]) == (300, 300)
    today = datetime.now(UTC).date().isoformat()
    assert await database.rollups.tags("acme", min(today, "2026-01-01")) == ["even"]
