"""The content of messages on its way to the archive: taken where it is in hand, stored in batches.

A first mail waits a moment for others, and while one batch is written, the next gathers: under load
dozens are compressed together, which makes most of them small. With MongoDB away, batches go to a
queue, from which feedback stores them later. Whoever hands a mail in waits until it is safe in
either place and only then acknowledges its submission, so a crash repeats and never loses; and no
more is in memory than submissions are in work.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import structlog

from postroad_common.broker.publisher import Publisher
from postroad_common.broker.topology import ARCHIVE
from postroad_common.compression import compress
from postroad_common.errors import BrokerAway, StoreAway, Unroutable
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.archive import ArchiveBatch, ArchivedMail, ArchiveEntry, SentCopy
from postroad_common.schemas.framing import encode, encode_head
from postroad_common.schemas.submission import BodyReference, Submission
from postroad_common.store.archive import Archive as Store
from postroad_common.store.bodies import Bodies
from postroad_transformer import metrics
from postroad_transformer.composing.composer import ComposedContent, Composer
from postroad_transformer.composing.outbound import Group, Stored

BATCH = 2_097_152  # octets, unpacked, after which a batch is full; its last entry may exceed it
LARGE = 4_194_304  # octets of an entry without its copies above which they are stored apart
COPIES = 1_048_576  # octets of copies in one entry
IN_THREAD = 65_536  # octets that are compressed beside the event loop
DAY = 86_400.0
LINGER = 0.03  # seconds that a first mail waits for others; its recipients' copies have left
PATIENCE = 1.5  # seconds; a healthy database answers in milliseconds
LEFT_ALONE = 5.0  # seconds for which a database that is away is not tried
_PAUSE = 0.5  # seconds between tries while the broker is away

_log = structlog.get_logger("archive")


class Entry:
    """One submission while it is transformed: its content, and what its recipients are sent."""

    def __init__(self, submission: Submission, raw: bytes, expires: float) -> None:
        self.submission = submission
        self.expires = expires
        self._raw = raw if submission.body is None else b""
        self._submitted_body = submission.body
        self._composer: Composer | None = None
        self._sent_body: BodyReference | None = None
        self._skip = 0
        self._copies: list[SentCopy] = []
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_taken = False

    def begin(self, composer: Composer, stored: Stored | None) -> None:
        """Note what the copies that follow are made of."""
        self._composer = composer
        self._sent_body, self._skip = None, 0
        if stored is not None:
            self._sent_body, self._skip = stored.body, stored.skip

    def add(self, group: Group, content: ComposedContent) -> None:
        """Add the copy that goes to `group`."""
        fills = sum(map(len, content.fills))
        ids = tuple(recipient.id for recipient in group)
        self._copies.append(SentCopy(messages=ids, head=len(content.head), fills=fills))
        self._pieces.append(content.head)
        self._pieces += content.fills
        self._size += len(content.head) + fills

    @property
    def is_full(self) -> bool:
        """Whether the copies so far are to be handed on before there are more."""
        return self._size >= COPIES

    @property
    def has_copies(self) -> bool:
        """Whether copies are left to be handed on."""
        return bool(self._copies)

    @property
    def is_owed(self) -> bool:
        """Whether anything is left to be handed on."""
        return self.has_copies or not self._is_taken

    async def store(self, bodies: Bodies) -> None:
        """Store apart what would be too large for a batch.

        Raises:
            StoreAway: it is not stored.
        """
        skeleton = self._skeleton()
        if len(self._raw) + sum(map(len, skeleton)) <= LARGE:
            return
        if skeleton:
            stored = await bodies.put(b"".join(skeleton), self.expires)
            self._sent_body, self._skip = stored, 0
        if self._raw:
            self._submitted_body = await bodies.put(self._raw, self.expires)
            if self._composer is not None and self._sent_body is None:
                self._sent_body = self._submitted_body
                self._skip = self._composer.template.body_at
            self._raw = b""

    def _skeleton(self) -> Sequence[bytes]:
        """Return the body as sent without its fills, where it has to be written down."""
        composer = self._composer
        if composer is None or self._sent_body is not None or self._is_as_submitted():
            return ()
        return composer.skeleton_pieces

    def _is_as_submitted(self) -> bool:
        composer = self._composer
        return composer is not None and composer.template.body_at >= 0 and bool(self._raw)

    def take(self) -> list[bytes]:
        """Return the frame of what there is, in pieces, and begin anew without copies."""
        composer = self._composer
        skeleton = self._skeleton()
        as_submitted = self._sent_body is None and self._is_as_submitted()
        mail = ArchivedMail(
            submission=self.submission.id,
            account=self.submission.account,
            expires=self.expires,
            submitted=len(self._raw),
            submitted_body=self._submitted_body,
            body_at=composer.template.body_at if composer and as_submitted else -1,
            skeleton=sum(map(len, skeleton)),
            sent_body=self._sent_body,
            skip=self._skip,
            holes=composer.hole_offsets() if composer else (),
            copies=tuple(self._copies),
            smtputf8=self.submission.smtputf8,
            requiretls=self.submission.requiretls,
            images_hosted=self.submission.images_hosted,
            text_from_html=self.submission.text_from_html,
            list_unsubscribe=self.submission.list_unsubscribe,
        )
        pieces = [encode_head(mail), self._raw, *skeleton, *self._pieces]
        self._copies, self._pieces, self._size, self._is_taken = [], [], 0, True
        return pieces


class _Waiting(NamedTuple):
    """An entry on its way: its frame in pieces, and their octets."""

    entry: Entry
    pieces: list[bytes]
    size: int
    done: "asyncio.Future[None]"


class ArchiveWriter:
    """One per process. `days` is how long content is kept; with 0 none is."""

    def __init__(self, publisher: Publisher, store: Store, bodies: Bodies, days: float) -> None:
        self._publisher = publisher
        self._store = store
        self._bodies = bodies
        self._left_alone_until = 0.0
        self._seconds = days * DAY
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    def entry(self, submission: Submission, raw: bytes) -> Entry | None:
        """Return the entry of a submission; None if its content is not to be kept."""
        if not self._seconds or not submission.keep_content:
            return None
        begins = max(submission.received, submission.send_at or 0.0)
        return Entry(submission, raw, begins + self._seconds)

    async def keep(self, entry: Entry) -> None:
        """Hand on what `entry` has; return when it is stored, or on a durable queue.

        Raises:
            StoreAway: it is too large for a batch and cannot be stored apart.
        """
        await entry.store(self._bodies)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pieces = entry.take()
        self._waiting.append(_Waiting(entry, pieces, sum(map(len, pieces)), done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="archive")
        await done

    async def close(self) -> None:
        """Stop; those who wait still hold their submissions."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        await asyncio.sleep(LINGER)
        while leaving := self._next_batch():
            try:
                batch, packed = await _pack(leaving)
                if not await self._is_stored(batch, packed):
                    await self._publish(encode(batch, packed))
            except Exception as error:  # noqa: BLE001 - those who wait must hear of it
                _fail(leaving, error)
                continue
            metrics.ARCHIVED.inc(len(leaving))
            metrics.ARCHIVED_CONTENT.inc(sum(one.size for one in leaving))
            metrics.ARCHIVED_PACKED.inc(len(packed))
            for one in leaving:
                if not one.done.done():
                    one.done.set_result(None)

    def _next_batch(self) -> "list[_Waiting]":
        size = count = 0
        for one in self._waiting:
            if size >= BATCH:
                break
            size += one.size
            count += 1
        leaving = self._waiting[:count]
        del self._waiting[:count]
        return leaving

    async def _is_stored(self, batch: ArchiveBatch, packed: bytes) -> bool:
        """Store the batch; False where the database is away."""
        now = asyncio.get_running_loop().time()
        if now < self._left_alone_until:
            return False
        try:
            async with asyncio.timeout(PATIENCE):
                await self._store.add([(batch, packed)])
        except (StoreAway, TimeoutError) as error:
            self._left_alone_until = now + LEFT_ALONE
            _log.warning("content goes by way of the queue", error=str(error))
            return False
        return True

    async def _publish(self, frame: bytes) -> None:
        while True:
            try:
                await self._publisher.publish("", ARCHIVE.name, frame)
            except (BrokerAway, Unroutable) as error:
                _log.warning("content waits for the broker", error=str(error))
                await asyncio.sleep(_PAUSE)
            else:
                metrics.ARCHIVE_QUEUED.inc()
                return


def _fail(waiting: Sequence[_Waiting], error: Exception) -> None:
    for one in waiting:
        if not one.done.done():
            one.done.set_exception(error)


async def _pack(entries: Sequence[_Waiting]) -> tuple[ArchiveBatch, bytes]:
    """Return a batch and its compressed entries."""
    data = b"".join(chain.from_iterable(one.pieces for one in entries))
    packed = compress(data) if len(data) <= IN_THREAD else await asyncio.to_thread(compress, data)
    batch = ArchiveBatch(
        id=new_id(),
        expires=max(one.entry.expires for one in entries),
        entries=tuple(
            ArchiveEntry(
                submission=one.entry.submission.id,
                account=one.entry.submission.account,
                size=one.size,
            )
            for one in entries
        ),
    )
    return batch, packed
