"""The archive at rest: entries found again, erased for good, gone in time, and never half."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.compression import Damaged, compress, decompress
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.archive import (
    ArchiveBatch,
    ArchivedMail,
    ArchiveEntry,
    OpenedMail,
    SentCopy,
)
from postroad_common.schemas.framing import FrameError, encode
from postroad_common.store.archive import NotKept
from postroad_common.store.database import Database
from postroad_testing.waiting import PATIENCE

NOW = 1_900_000_000.0
FUTURE = NOW + 86_400


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    await database.prepare()
    yield database
    await database.close()


def entry(account: str, submission: str, raw: bytes, expires: float = FUTURE) -> bytes:
    """Return an entry with one copy, `m-` and the submission: head `H`, body as submitted."""
    mail = ArchivedMail(
        submission=submission,
        account=account,
        expires=expires,
        submitted=len(raw),
        body_at=0,
        copies=(SentCopy(messages=(f"m-{submission}",), head=1),),
    )
    return encode(mail, raw + b"H")


def batch(*mails: tuple[str, str, bytes]) -> tuple[ArchiveBatch, bytes]:
    """Return a batch of (account, submission, content)."""
    octets = [entry(*mail) for mail in mails]
    entries = tuple(
        ArchiveEntry(submission=submission, account=account, size=len(one))
        for (account, submission, _), one in zip(mails, octets, strict=True)
    )
    return ArchiveBatch(id=new_id(), expires=FUTURE, entries=entries), compress(b"".join(octets))


async def test_entries_of_a_batch_are_found_by_account_and_submission(database: Database):
    archive = database.archive
    one = batch(("a", "s1", b"first"), ("b", "s2", b"second"), ("a", "s3", b"third"))
    await archive.add([one])
    await archive.add([one])  # the queue brings it again
    assert await archive.submitted("a", "s3", NOW) == b"third"
    assert await archive.sent("b", "s2", "m-s2", NOW) == b"Hsecond"
    assert await archive.expiry("a", "s1") == FUTURE
    for account, submission in (("b", "s1"), ("a", "s2"), ("a", "s4")):
        assert await archive.expiry(account, submission) is None
        with pytest.raises(NotKept):
            await archive.submitted(account, submission, NOW)
    with pytest.raises(NotKept):
        await archive.submitted("a", "s1", FUTURE)


async def test_erased_content_is_gone_from_its_batch_and_does_not_come_back(database: Database):
    archive = database.archive
    one = batch(("a", "s1", b"first secret"), ("b", "s1", b"other"), ("a", "s3", b"third"))
    again = batch(("a", "s1", b"first secret"))  # transformed again after a crash
    await archive.add([one, again])
    assert await archive.erase("a", ["s1", "unknown"]) == 2
    await archive.add([one, again])
    with pytest.raises(NotKept):
        await archive.submitted("a", "s1", NOW)
    assert await archive.submitted("b", "s1", NOW) == b"other"
    assert await archive.submitted("a", "s3", NOW) == b"third"
    assert await archive.erase("a", ["s1"]) == 0


async def test_a_damaged_batch_is_erased_whole(database: Database):
    head, _ = batch(("a", "s1", b"first"))
    await database.archive.add([(head, b"no zstd")])
    assert await database.archive.erase("a", ["s1"]) == 1
    assert await database.archive.expiry("a", "s1") is None


@pytest.mark.parametrize("size", [9, 11])
def test_octets_of_another_size_are_damaged(size: int):
    with pytest.raises(Damaged):
        decompress(compress(b"0123456789"), size)


def test_a_bomb_is_not_unpacked():
    with pytest.raises(Damaged):
        decompress(compress(bytes(50_000_000)), 100)


@given(st.binary(max_size=2000))
def test_octets_come_back(data: bytes):
    assert decompress(compress(data), len(data)) == data


def test_an_entry_with_missing_octets_is_refused():
    with pytest.raises(FrameError):
        OpenedMail(entry("a", "s", b"content")[:-1])


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.data())
def test_a_copy_is_the_body_with_its_fills(chunks: list[bytes], data: st.DataObject):
    count = len(chunks) - 1
    fills = data.draw(st.lists(st.binary(min_size=5, max_size=5), min_size=count, max_size=count))
    skeleton = b"".join(chunks)
    holes = [len(b"".join(chunks[: number + 1])) for number in range(count)]
    mail = ArchivedMail(
        submission="s",
        account="a",
        expires=FUTURE,
        skeleton=len(skeleton),
        holes=tuple(holes),
        copies=(
            SentCopy(messages=("m1", "m2"), head=4, fills=5 * count),
            SentCopy(messages=("m3",), head=2, fills=5 * count),
        ),
    )
    octets = skeleton + b"head" + b"".join(fills) + b"hd" + bytes(5 * count)
    opened = OpenedMail(encode(mail, octets))
    body = opened.sent_body
    assert isinstance(body, bytes)
    filled = b"".join(chunk + fill for chunk, fill in zip(chunks, [*fills, b""], strict=True))
    assert opened.sent("m2", body) == b"head" + filled
    assert len(opened.sent("m3", body) or b"") == 2 + len(skeleton) + 5 * count
    assert opened.sent("m4", body) is None
