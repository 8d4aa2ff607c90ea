"""Batches of content on their way from the queue into the archive."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from postroad_common.broker import BrokerLink, Consumer, Publisher
from postroad_common.broker.topology import ARCHIVE
from postroad_common.compression import compress
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.archive import ArchiveBatch, ArchivedMail, ArchiveEntry
from postroad_common.schemas.framing import encode
from postroad_common.store.database import Database
from postroad_feedback.archiving import ArchiveHandler
from postroad_testing.queues import Queues
from postroad_testing.waiting import PATIENCE, until

LATER = 4_000_000_000.0


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    yield database
    await database.close()


@pytest.fixture
async def consumer(amqp_url: str, database: Database) -> AsyncIterator[Consumer]:
    link = BrokerLink(amqp_url, "test")
    consumer = Consumer(link, Publisher(link), ARCHIVE)
    link.start()
    await asyncio.wait_for(link.up.wait(), 10)
    await consumer.start(ArchiveHandler(database.archive.add))
    yield consumer
    await consumer.stop()
    await link.close()


def frame(submission: str, content: bytes) -> bytes:
    mail = ArchivedMail(
        submission=submission, account="acme", expires=LATER, submitted=len(content)
    )
    octets = encode(mail, content)
    entry = ArchiveEntry(submission=submission, account="acme", size=len(octets))
    return encode(ArchiveBatch(id=new_id(), expires=LATER, entries=(entry,)), compress(octets))


@pytest.mark.usefixtures("consumer")
async def test_batches_are_stored_once_and_what_is_none_is_set_aside(
    amqp_url: str, database: Database
):
    queues = Queues(amqp_url)
    one, two = frame("s1", b"one"), frame("s2", b"two")
    await queues.put(ARCHIVE.name, [one, b"no frame", one, two])

    async def are_stored() -> bool:
        found = [await database.archive.expiry("acme", name) for name in ("s1", "s2")]
        return found == [LATER, LATER]

    await until(are_stored)

    async def is_set_aside() -> bool:
        return await queues.depth(f"{ARCHIVE.name}.dead") == 1

    await until(is_set_aside)
    assert await database.archive.submitted("acme", "s1", LATER - 1) == b"one"
    assert await database.archive._archive.count_documents({}) == 2
