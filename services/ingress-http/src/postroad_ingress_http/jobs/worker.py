"""Works off jobs: a page of one job, then of the next; one process at a time has a job.

A job waits after each page for as long as its pace asks, whichever process goes on with it then.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from postroad_common.errors import Transient
from postroad_common.store.audit import act_as, nobody_acts
from postroad_common.store.jobs import BulkJob, Jobs, Marker
from postroad_common.store.messages import MessageRecord, Messages
from postroad_ingress_http.history.search import read_criteria
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.jobs.acts import JobActs, Later
from postroad_ingress_http.jobs.idling import Idling
from postroad_ingress_http.jobs.mandate import Mandates

RATE = 50.0  # messages of one job in a second
PAGE = 50
_AT_ONCE = 10
_LEASE_SECONDS = 60.0
_AWAY_SECONDS = 10.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobWorker:
    """Runs for as long as the service does; `clock` returns Unix seconds."""

    store: Jobs
    messages: Messages
    acts: JobActs
    mandates: Mandates
    clock: Callable[[], float]
    idling: Idling = field(default_factory=Idling)

    async def run(self) -> None:
        """Work off what is due, for ever."""
        while True:
            try:
                busy = await self.work()
            except Transient as error:
                _log.info("jobs are not worked off", error=str(error))
                busy = False
            if busy:
                self.idling.reset()
            else:
                await self.idling.wait()

    async def work(self) -> bool:
        """Do a page of the job that has waited longest; False when none is due."""
        job = await self.store.take(self.clock(), _LEASE_SECONDS)
        if job is None:
            return False
        with nobody_acts():
            act_as(job.actor)
            try:
                await self._page(job)
            except Later as wait:
                await self.store.wait(job, wait.note, until=self.clock() + wait.seconds)
            except Transient:
                note = "Something that is needed is away; this goes on by itself."
                await self.store.wait(job, note, until=self.clock() + _AWAY_SECONDS)
                raise
        return True

    async def _page(self, job: BulkJob) -> None:
        if job.stopped:
            await self.store.finish(job, self.clock(), "stopped")
            return
        if lapsed := await self.mandates.lapsed(job):
            await self.store.finish(job, self.clock(), lapsed, stopped=True)
            return
        try:
            criteria = read_criteria(job.search, whole_days=True)
        except ApiError as refusal:  # its recipient was erased
            await self.store.finish(job, self.clock(), refusal.message)
            return
        looked = await self.messages.look(job.account, criteria, before=job.position, limit=PAGE)
        found = looked.records
        markers = await self.store.begin(job, [record.id for record in found], self.clock())
        ended: list[Marker] = []
        for start in range(0, len(found), _AT_ONCE):
            pairs = zip(found[start : start + _AT_ONCE], markers[start:], strict=False)
            ended += await self._several(job, list(pairs))
        lease = self.clock() + len(found) / RATE
        await self.store.progress(job, ended, lease=lease, position=looked.position)
        if looked.position is None:
            await self.store.finish(job, self.clock())

    async def _several(
        self, job: BulkJob, pairs: list[tuple[MessageRecord, Marker]]
    ) -> list[Marker]:
        """Do a few messages at the same time; raise the first trouble when all have ended."""
        ends = await asyncio.gather(
            *(self._one(job, record, marker) for record, marker in pairs), return_exceptions=True
        )
        done = [end for end in ends if isinstance(end, Marker)]
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return done

    async def _one(self, job: BulkJob, record: MessageRecord, marker: Marker) -> Marker:
        if marker.ending is not None:
            return marker
        try:
            ended = await self.acts.do(job, record, marker)
        except (Later, Transient):
            raise
        except Exception:  # noqa: BLE001 - one message holds up no others
            _log.exception("an act of a job failed", job=job.id, message=record.id)
            ended = replace(
                marker, ending="failed", code="error", reason="Something went wrong; see the log."
            )
        await self.store.end(job, ended)
        return ended
