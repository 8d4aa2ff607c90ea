"""Makes what follows from a job safe, and only then acknowledges it: nothing is lost in between.

What comes up in one turn of the event loop is published together and waits together: a batch of
messages that go to wait elsewhere costs a third of what they cost one by one. What fails in a batch
goes on alone, for as long as it takes. What follows from a job is for `disposition`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from postroad_common.broker import EventWriter, Publication, Publisher
from postroad_common.broker.eventwriter import EventsFull
from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.schemas.events import Event
from postroad_common.tasks import BackgroundTasks
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.journal import Journal

MOST = 200  # jobs that wait for each other
_PAUSE = 1.0  # seconds between tries while the broker is away
_LONGEST_PAUSE = 60.0  # seconds between tries of what a defect makes fail
_RARELY = 5.0  # seconds between two lines of the log about what is held

_log = structlog.get_logger("commit")


@dataclass(slots=True)
class PendingCommit:
    """What has to be safe before `job` may be acknowledged.

    The last of the `publications` goes out as `instead` when there is no queue for it.
    """

    job: Job
    events: list[Event]
    publications: list[Publication]
    instead: Publication | None = None


class Committer:
    """One per process. `ended` is called with each job that is over."""

    def __init__(
        self,
        publisher: Publisher,
        events: EventWriter,
        journal: Journal,
        ended: Callable[[Job], None],
    ) -> None:
        self._publisher = publisher
        self._events = events
        self._journal = journal
        self._ended = ended
        self._due: list[PendingCommit] = []
        self._tasks = BackgroundTasks("commit")
        self._held = 0  # jobs that are tried again
        self._logged = -_RARELY

    def commit(self, pending: PendingCommit) -> None:
        """Make `pending` safe and acknowledge its job, soon after this call has returned."""
        pending.events = [*pending.job.untold, *pending.events]
        pending.publications = [*pending.job.unreported, *pending.publications]
        if not self._due:
            asyncio.get_running_loop().call_soon(self._begin)
        self._due.append(pending)

    def acknowledge(self, job: Job) -> None:
        """Acknowledge `job`: what follows from it is safe."""
        job.acknowledge()
        self._ended(job)

    async def finished(self) -> None:
        """Wait until everything that was begun is safe."""
        while self._due or self._tasks:
            if self._tasks:
                await self._tasks.join()
            else:
                await asyncio.sleep(0)

    # -- inside

    def _begin(self) -> None:
        due, self._due = self._due, []
        for start in range(0, len(due), MOST):
            some = due[start : start + MOST]
            self._tasks.spawn(
                self._commit_all(some) if len(some) > 1 else self._commit_one(some[0])
            )

    async def _commit_all(self, batch: list[PendingCommit]) -> None:
        safe = await self._publish_all(batch)
        told: list[asyncio.Future[None]] = []
        ready: list[PendingCommit] = []
        for pending in safe:
            futures = self._tell(pending)
            if futures is None:
                self._tasks.spawn(self._commit_one(pending, published=True))
            else:
                told += futures
                ready.append(pending)
        if told:
            await asyncio.wait(told)
        for pending in ready:
            self._conclude(pending)

    def _tell(self, pending: PendingCommit) -> list[asyncio.Future[None]] | None:
        """Hand its events in; None if that has to be seen to alone."""
        if not pending.job.is_ours:
            return None
        try:
            return [self._events.add(event) for event in pending.events]
        except EventsFull:
            return None

    async def _publish_all(self, batch: list[PendingCommit]) -> list[PendingCommit]:
        """Publish for all of them; returns those that are safe and lets the others go on alone.

        A job that is not ours now goes on alone, too: the broker may bring it again at any moment,
        and it would then be ours, with nothing published.
        """
        ours = [pending for pending in batch if pending.job.is_ours]
        for pending in batch:
            if not pending.job.is_ours:
                self._tasks.spawn(self._commit_one(pending))
        publications = [one for pending in ours for one in pending.publications]
        if not publications:
            return ours
        failures = iter(await self._publish_each(publications))
        safe = []
        for pending in ours:
            left = [one for one in pending.publications if next(failures) is not None]
            if not left:
                safe.append(pending)
                continue
            last = pending.publications[-1]
            instead = pending.instead if left[-1] is last else None
            self._tasks.spawn(
                self._commit_one(PendingCommit(pending.job, pending.events, left, instead))
            )
        return safe

    async def _publish_each(
        self, publications: Sequence[Publication]
    ) -> Sequence[Exception | None]:
        """Return for each why it is not confirmed, or None. A defect is a reason, too."""
        try:
            return await self._publisher.publish_each(publications)
        except Exception as error:  # noqa: BLE001 - a job that nobody goes on with is stuck for good
            _log.exception("publishing together failed", messages=len(publications))
            return [error] * len(publications)

    async def _commit_one(self, pending: PendingCommit, *, published: bool = False) -> None:
        """Commit one, and wait for a broker that is away."""
        job, publications = pending.job, pending.publications

        async def publish() -> None:
            try:
                await self._publisher.publish_many(publications)
            except Unroutable:
                if pending.instead is None:
                    raise
                publications[-1], pending.instead = pending.instead, None
                await self._publisher.publish_many(publications)

        if publications and not published:
            await self._insist(job, publish)
        if job.is_ours and pending.events:
            await self._insist(job, lambda: self._events.write(pending.events))
        self._conclude(pending)

    def _conclude(self, pending: PendingCommit) -> None:
        if pending.publications and pending.job.is_ours:
            self._journal.handed_on(pending.job.key)
        self.acknowledge(pending.job)

    async def _insist(self, job: Job, act: Callable[[], Awaitable[None]]) -> None:
        # Without the broker, deliveries become stale: it brings them again, and what is known of
        # them by then is in the journal.
        tries = 0
        try:
            while job.is_ours:
                try:
                    await act()
                except (BrokerAway, Unroutable, EventsFull) as error:
                    why, pause = str(error), _PAUSE
                except Exception:  # noqa: BLE001 - as in _publish_each: nobody else would go on
                    _log.exception("committing failed", message=job.message.id)
                    why, pause = "a defect", min(_LONGEST_PAUSE, _PAUSE * 2 ** min(tries, 6))
                else:
                    return
                tries += 1
                self._held += tries == 1
                self._note_held(job, why)
                await asyncio.sleep(pause)
        finally:
            self._held -= tries > 0

    def _note_held(self, job: Job, why: str) -> None:
        """Log that `job` is not safe yet; at level warning only how many are, now and then."""
        _log.debug("not safe yet", message=job.message.id, error=why)
        now = asyncio.get_running_loop().time()
        if now - self._logged > _RARELY:
            self._logged = now
            _log.warning("not safe yet", messages=self._held, error=why)
