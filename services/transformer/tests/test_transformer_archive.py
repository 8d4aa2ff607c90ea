"""What the transformer hands to the archive: exactly what came in, and exactly what it sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from postroad_common.broker import BrokerLink, Publisher, topology
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.archive import ArchiveBatch, ArchiveEntry
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode
from postroad_common.schemas.submission import Submission
from postroad_common.store.archive import NotKept
from postroad_common.store.database import Database
from postroad_common.tokens import LinkSigner
from postroad_testing.queues import Queues
from postroad_testing.waiting import PATIENCE
from postroad_transformer.archive import ArchiveWriter, Entry
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.outbound import Stored, groups
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import make_template
from postroad_transformer.signing.keys import SigningKey

Make = Callable[..., Submission]
HTML = (
    b"From: Shop <shop@news.example.com>\r\nTo: r@d.test\r\nSubject: Hi\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<style>p{color:red}</style><p>Hello</p><a href="http://a.test/x">Go</a>\r\n'
)
TEXT = b"From: a@b.test\r\nSubject: Hi\r\n\r\nHello.\r\n"
LATER = 1_780_000_000.0 + 3600


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    yield database
    await database.close()


@pytest.fixture
async def publisher(amqp_url: str) -> AsyncIterator[Publisher]:
    link = BrokerLink(amqp_url, "test publish")
    publisher = Publisher(link)
    link.start()
    await asyncio.wait_for(link.up.wait(), 10)
    yield publisher
    await link.close()


@pytest.fixture
async def archive(publisher: Publisher, database: Database) -> AsyncIterator[ArchiveWriter]:
    archive = ArchiveWriter(publisher, database.archive, database.bodies, 7.0)
    yield archive
    await archive.close()


class Kept:
    """What is stored: `batches` are the submissions of each document, with their sizes."""

    def __init__(self, amqp_url: str, database: Database) -> None:
        self.queues = Queues(amqp_url)
        self.database = database
        self.batches: list[list[ArchiveEntry]] = []

    async def store(self) -> None:
        """Look at what was stored, after what went by way of the queue has been, too."""
        for frame in await self.queues.take(topology.ARCHIVE.name):
            batch, data = decode(ArchiveBatch, frame)
            await self.database.archive.add([(batch, bytes(data))])
        found = self.database.archive._archive.find().sort("_id", 1)
        self.batches = [
            [ArchiveEntry.model_validate(entry) for entry in document["entries"]]
            async for document in found
        ]


@pytest.fixture
def kept(amqp_url: str, database: Database) -> Kept:
    return Kept(amqp_url, database)


class Transformed:
    """A submission as the handler works on it."""

    def __init__(
        self, raw: bytes, submission: Submission, rules: Rules, links: LinkSigner, **how: Any
    ) -> None:
        template = make_template(raw, submission, rules)
        self.composer = Composer(template, links, how.get("keys", ()), LATER)
        self.groups = groups(
            submission, submission.recipients, personal=self.composer.template.is_personal
        )
        self.submission = submission

    def add_to(self, entry: Entry, stored: Stored | None = None) -> dict[str, bytes]:
        """Add all copies; return what each message id was sent."""
        entry.begin(self.composer, stored)
        sent = {}
        for group in self.groups:
            content = self.composer.content(group[0].id)
            entry.add(group, content)
            for recipient in group:
                sent[recipient.id] = content.head + self.composer.body(content)
        return sent


def entry_of(archive: ArchiveWriter, submission: Submission, raw: bytes) -> Entry:
    entry = archive.entry(submission, raw)
    assert entry is not None
    return entry


@pytest.mark.parametrize("raw", [HTML, TEXT], ids=["html", "text"])
@pytest.mark.parametrize("features", [Features(), None], ids=["off", "on"])
async def test_each_recipient_finds_what_was_submitted_and_what_it_was_sent(
    raw: bytes,
    features: Features | None,
    archive: ArchiveWriter,
    kept: Kept,
    make_submission: Make,
    rules: Rules,
    links: LinkSigner,
    rsa_key: SigningKey,
    everything: Features,
):
    submission = make_submission("a@one.test", "b@two.test", features=features or everything)
    work = Transformed(raw, submission, rules, links, keys=[rsa_key])
    entry = entry_of(archive, submission, raw)
    sent = work.add_to(entry)
    await archive.keep(entry)
    await kept.store()
    store = kept.database.archive
    assert await store.submitted("main", submission.id, LATER) == raw
    for recipient in submission.recipients:
        found = await store.sent("main", submission.id, recipient.id, LATER)
        assert found == sent[recipient.id]
    assert await store.expiry("main", submission.id) == submission.received + 7 * 86400


async def test_mails_in_work_together_travel_in_one_batch(
    archive: ArchiveWriter, kept: Kept, make_submission: Make, rules: Rules, links: LinkSigner
):
    entries = []
    for number in range(20):
        raw = HTML.replace(b"Hello", b"Hello %d" % number)
        submission = make_submission(f"r{number}@d.test")
        entry = entry_of(archive, submission, raw)
        sent = Transformed(raw, submission, rules, links).add_to(entry)
        entries.append((submission, raw, entry, sent))
    await asyncio.gather(*(archive.keep(entry) for _, _, entry, _ in entries))
    await kept.store()
    assert [len(batch) for batch in kept.batches] == [20]
    for submission, raw, _, sent in entries:
        assert await kept.database.archive.submitted("main", submission.id, LATER) == raw
        (message_id,) = sent
        found = await kept.database.archive.sent("main", submission.id, message_id, LATER)
        assert found == sent[message_id]


async def test_a_mail_to_very_many_is_handed_on_in_pieces_and_found_whole(
    archive: ArchiveWriter,
    kept: Kept,
    make_submission: Make,
    rules: Rules,
    links: LinkSigner,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("postroad_transformer.archive.COPIES", 20_000)
    submission = make_submission(*(f"r{number}@d.test" for number in range(100)))
    work = Transformed(HTML, submission, rules, links)
    entry = entry_of(archive, submission, HTML)
    entry.begin(work.composer, None)
    sent = {}
    pieces = 0
    for group in work.groups:
        content = work.composer.content(group[0].id)
        entry.add(group, content)
        sent[group[0].id] = content.head + work.composer.body(content)
        if entry.is_full:
            await archive.keep(entry)
            pieces += 1
    assert entry.is_owed
    await archive.keep(entry)
    await kept.store()
    assert pieces >= 1
    assert all(e.size < 25_000 for batch in kept.batches for e in batch)
    for message_id in (submission.recipients[0].id, submission.recipients[-1].id):
        found = await kept.database.archive.sent("main", submission.id, message_id, LATER)
        assert found == sent[message_id]


async def test_stored_bodies_are_referred_to_and_the_copy_is_put_together(
    archive: ArchiveWriter, kept: Kept, make_submission: Make, rules: Rules, links: LinkSigner
):
    bodies = kept.database.bodies
    submitted = await bodies.put(HTML, LATER)
    submission = make_submission("a@one.test", body=submitted)
    work = Transformed(HTML, submission, rules, links)
    skeleton = await bodies.put(b"before" + work.composer.skeleton(), LATER)
    entry = entry_of(archive, submission, HTML)
    sent = work.add_to(entry, Stored(skeleton, len(b"before")))
    await archive.keep(entry)
    await kept.store()
    store = kept.database.archive
    (message_id,) = sent
    assert await store.submitted("main", submission.id, LATER) == HTML
    assert await store.sent("main", submission.id, message_id, LATER) == sent[message_id]
    await bodies.delete(skeleton)
    with pytest.raises(NotKept):
        await store.sent("main", submission.id, message_id, LATER)


@pytest.mark.parametrize("features", [Features(), None], ids=["off", "on"])
async def test_what_is_too_large_for_a_batch_is_stored_apart(
    features: Features | None,
    archive: ArchiveWriter,
    kept: Kept,
    make_submission: Make,
    rules: Rules,
    links: LinkSigner,
    everything: Features,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("postroad_transformer.archive.LARGE", 100)
    submission = make_submission("a@one.test", features=features or everything)
    entry = entry_of(archive, submission, HTML)
    sent = Transformed(HTML, submission, rules, links).add_to(entry)
    await archive.keep(entry)
    await kept.store()
    store = kept.database.archive
    (message_id,) = sent
    assert await store.submitted("main", submission.id, LATER) == HTML
    assert await store.sent("main", submission.id, message_id, LATER) == sent[message_id]


async def test_nothing_is_kept_where_there_is_no_archive_or_the_sender_wants_none(
    publisher: Publisher, database: Database, make_submission: Make
):
    off = ArchiveWriter(publisher, database.archive, database.bodies, 0)
    assert off.entry(make_submission("a@one.test"), TEXT) is None
    on = ArchiveWriter(publisher, database.archive, database.bodies, 1)
    assert on.entry(make_submission("a@one.test", keep_content=False), TEXT) is None
    delayed = on.entry(make_submission("a@one.test", send_at=LATER), TEXT)
    assert delayed is not None
    assert delayed.expires == LATER + 86_400


async def test_a_suppressed_mail_is_kept_as_submitted(
    archive: ArchiveWriter, kept: Kept, make_submission: Make
):
    submission = make_submission("a@one.test")
    entry = entry_of(archive, submission, TEXT)
    assert entry.is_owed
    await archive.keep(entry)
    assert not entry.is_owed
    await kept.store()
    store = kept.database.archive
    assert await store.submitted("main", submission.id, LATER) == TEXT
    with pytest.raises(NotKept):
        await store.sent("main", submission.id, submission.recipients[0].id, LATER)
    with pytest.raises(NotKept):
        await store.submitted("other", submission.id, LATER)
    with pytest.raises(NotKept):
        await store.submitted("main", new_id(), LATER)


async def test_without_the_database_content_waits_in_the_queue_and_mail_goes_on(
    publisher: Publisher, database: Database, kept: Kept, make_submission: Make
):
    away = Database("mongodb://127.0.0.1:9/none", patience=0.3)
    archive = ArchiveWriter(publisher, away.archive, away.bodies, 7.0)
    submissions = [make_submission(f"r{number}@d.test") for number in range(3)]
    for submission in submissions:
        await archive.keep(entry_of(archive, submission, TEXT))
    assert await kept.queues.depth(topology.ARCHIVE.name) == 3
    await kept.store()
    for submission in submissions:
        assert await database.archive.submitted("main", submission.id, LATER) == TEXT
    await archive.close()
    await away.close()
