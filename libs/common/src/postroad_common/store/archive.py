"""The content of messages, kept for a time: batches as they came from the transformer.

A document holds many mails, compressed together, and names the submissions in it; it goes when the
last of them has had its time (TTL). What was too large to travel in a batch is in `bodies`, kept as
long.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from bson import Binary

from postroad_common.compression import Damaged, compress, decompress
from postroad_common.schemas.archive import (
    ArchiveBatch,
    ArchivedMail,
    ArchiveEntry,
    OpenedMail,
    entries_in,
)
from postroad_common.schemas.submission import BodyReference
from postroad_common.store.access import Collection, Document, guarded, insert_unknown, to_date
from postroad_common.store.bodies import Bodies, BodyGone

_PAGE = 500
_BATCHES = 4
"""Batches read at once."""


class NotKept(LookupError):  # noqa: N818 - a fact, not a fault
    """The content of this message is not in the archive, or not there any more."""


class Archive:
    """The collection `archive`, and what it refers to in `bodies`."""

    def __init__(self, collection: Collection, bodies: Bodies) -> None:
        self._archive = collection
        self._bodies = bodies

    @guarded
    async def add(self, batches: Iterable[tuple[ArchiveBatch, bytes]]) -> None:
        """Store batches, each with its compressed entries; one that is known is left alone."""
        documents: list[Document] = [
            {
                "_id": batch.id,
                "at": to_date(batch.expires),
                "entries": [entry.model_dump() for entry in batch.entries],
                "data": Binary(data),
                "revision": 0,
            }
            for batch, data in batches
        ]
        if documents:
            await insert_unknown(self._archive, documents)

    @guarded
    async def submitted(self, account: str, submission: str, now: float) -> bytes:
        """Return the message as it was submitted, control headers taken out.

        Raises:
            NotKept: there is none at the time `now` (Unix seconds).
        """
        return (await self.submission(account, submission, now))[1]

    @guarded
    async def submission(
        self, account: str, submission: str, now: float
    ) -> tuple[ArchivedMail, bytes]:
        """Return the settings of a submission and the message, which is what makes it again.

        Raises:
            NotKept: there is none at the time `now` (Unix seconds).
        """
        async with aclosing(self._opened(account, submission, now)) as entries:
            async for opened in entries:
                return opened.mail, await self._octets(opened.submitted)
        raise NotKept(submission)

    @guarded
    async def sent(self, account: str, submission: str, message_id: str, now: float) -> bytes:
        """Return the message as it was handed to the sender for the recipient with this id.

        Raises:
            NotKept: there is none at the time `now` (Unix seconds).
        """
        async with aclosing(self._opened(account, submission, now)) as entries:
            async for opened in entries:
                if opened.has(message_id):
                    found = opened.sent(message_id, await self._octets(opened.sent_body))
                    if found is not None:
                        return found
        raise NotKept(message_id)

    @guarded
    async def expiry(self, account: str, submission: str) -> float | None:
        """Return until when (Unix seconds) the content is kept; None where it is not.

        That of its batch: an entry may go a moment earlier.
        """
        found = await self._archive.find_one(_naming(account, submission), {"at": 1})
        return None if found is None else float(found["at"].timestamp())

    @guarded
    async def kept(self, account: str, submissions: Iterable[str]) -> set[str]:
        """Return those of some submissions whose content is kept."""
        names = set(submissions)
        naming = {"account": account, "submission": {"$in": list(names)}}
        cursor = self._archive.find(
            {"entries": {"$elemMatch": naming}}, {"entries.submission": 1, "entries.account": 1}
        )
        return {
            entry["submission"]
            async for found in cursor
            for entry in found["entries"]
            if entry["account"] == account and entry["submission"] in names
        }

    @guarded
    async def erase(self, account: str, submissions: Iterable[str]) -> int:
        """Take these submissions out of their batches, for good; return how many entries went.

        The content of all their recipients goes: headers name one to the others.
        """
        wanted = list(dict.fromkeys(submissions))
        gone = 0
        for at in range(0, len(wanted), _PAGE):
            names = set(wanted[at : at + _PAGE])
            naming = {"account": account, "submission": {"$in": list(names)}}
            while found := await self._archive.find_one({"entries": {"$elemMatch": naming}}):
                gone += await self._without(found, account, names)
        return gone

    async def _without(self, found: Document, account: str, names: set[str]) -> int:
        """Write the batch again without these; 0 where somebody else has just changed it."""

        def stays(entry: ArchiveEntry) -> bool:
            return entry.account != account or entry.submission not in names

        try:
            kept, data = await asyncio.to_thread(_repacked, found, stays)
        except Damaged:  # nobody can read what is in it
            result = await self._archive.delete_one({"_id": found["_id"]})
            return int(result.deleted_count)
        change: Document = {
            "entries": [entry.model_dump() for entry in kept],
            "data": Binary(data),
            "revision": found["revision"] + 1,
        }
        # A batch that is empty stays until its time, so that no late copy of it is stored again.
        written = await self._archive.update_one(
            {"_id": found["_id"], "revision": found["revision"]}, {"$set": change}
        )
        return len(found["entries"]) - len(kept) if written.modified_count else 0

    async def _opened(
        self, account: str, submission: str, now: float
    ) -> AsyncGenerator[OpenedMail, None]:
        """Yield the entries of a submission that have not expired, the newest batch first.

        One to many thousands is in many batches, of which a few are in memory at a time.
        """
        cursor = self._archive.find(_naming(account, submission)).sort("_id", -1)
        async for found in cursor.batch_size(_BATCHES):
            for opened in await asyncio.to_thread(_open, found, account, submission):
                if opened.mail.expires > now:
                    yield opened

    async def _octets(self, part: bytes | BodyReference) -> bytes:
        if isinstance(part, bytes):
            return part
        try:
            return await self._bodies.get(part)
        except BodyGone as error:
            raise NotKept(str(error)) from None


def _naming(account: str, submission: str) -> Document:
    return {"entries": {"$elemMatch": {"submission": submission, "account": account}}}


def _unpacked(found: Document) -> list[tuple[ArchiveEntry, bytes]]:
    entries = [ArchiveEntry.model_validate(entry) for entry in found["entries"]]
    sizes = [entry.size for entry in entries]
    data = decompress(bytes(found["data"]), sum(sizes)) if entries else b""
    return list(zip(entries, entries_in(data, sizes), strict=True))


def _open(found: Document, account: str, submission: str) -> list[OpenedMail]:
    return [
        OpenedMail(octets)
        for entry, octets in _unpacked(found)
        if (entry.account, entry.submission) == (account, submission)
    ]


def _repacked(
    found: Document, stays: Callable[[ArchiveEntry], bool]
) -> tuple[Sequence[ArchiveEntry], bytes]:
    """Return the entries that stay, and their octets compressed anew."""
    left = [(entry, octets) for entry, octets in _unpacked(found) if stays(entry)]
    return [entry for entry, _ in left], compress(b"".join(octets for _, octets in left))
