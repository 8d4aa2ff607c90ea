"""The connections of one lane: when another is opened, and which message the next one carries.

What a connection does is in `worker`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.lanes import NO_DIRECTIVES, BounceDirective, Directives
from postroad_common.tasks import BackgroundTasks
from postroad_sender import metrics
from postroad_sender.connect.destination import Destination
from postroad_sender.connect.dialer import Dialer
from postroad_sender.delivery.body_room import BodyRoom
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import Outcome, directed
from postroad_sender.lanes.lane import Lane
from postroad_sender.limits.address_limits import AddressLimit, AddressWait
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.throttle.gcra import Gcra
from postroad_sender.tls.requirement import TlsRequirement, with_requiretls
from postroad_smtp.client.session import ClientSession

HOLD_LONGEST = 5.0  # seconds that messages wait in memory for a closed lane
FULL_FOR = 5.0  # seconds after which it is tried whether an address has room for a connection
REFUSED_FOR = 0.5  # the same, after a server has refused one while other lanes had some
CLOSED_DELAY = 300.0  # seconds after which mail for a closed lane looks again: it may be opened
_RARELY = 5.0  # seconds between logs about one lane

_log = structlog.get_logger("connections")


class JobSink(Protocol):
    """What becomes of jobs."""

    def remember(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """Note which recipients have the message already, while the attempt goes on for others."""

    def finish(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """End an attempt, with one outcome for each recipient."""

    def requeue(
        self, job: Job, seconds: float, reason: RequeueReason, text: str, queue: str | None = None
    ) -> None:
        """Put `job` back without an attempt: it comes again after `seconds`, or from `queue`."""

    def nack(self, job: Job, reason: RequeueReason) -> None:
        """Return `job` to its queue; the broker brings it to the next owner of the shard."""

    def reroute(self, job: Job, shard: str) -> None:
        """Pass `job` on to the owner of `shard`."""


class IdleWorker(Protocol):
    """A connection that carries nothing now."""

    def wake(self) -> bool:
        """Look for a message; False if it ends already."""

    def retire(self) -> None:
        """Close: the connection is needed elsewhere."""


Pieces = Callable[[Job], Awaitable["tuple[bytes | memoryview, ...] | None"]]


@dataclass(frozen=True, slots=True)
class Means:
    """What all pools of a process share. `work` is what one connection does until it ends.

    `openings_per_second` are those of each lane, and as many at once.
    """

    dialer: Dialer
    connection_limit: ConnectionLimit
    disposition: JobSink
    pieces: Pieces
    work: "Callable[[ConnectionPool], Coroutine[Any, Any, None]]"
    idle_seconds: float
    most_messages: int
    openings_per_second: float = 50.0
    room: BodyRoom = field(default_factory=BodyRoom)


class ConnectionPool:
    """All connections of one lane. `destination` is renewed as DNS answers change."""

    def __init__(
        self,
        lane: Lane[Job],
        destination: Destination,
        means: "Means",
        *,
        home: Shard | None = None,
        requeue: "Requeue | None" = None,
    ) -> None:
        self.lane = lane
        self.home = home
        self.generation = 0
        self.destination = destination
        self.means = means
        self.disposition = means.disposition
        self.stopping = False
        self._requeue = requeue
        self._full: tuple[AddressLimit, ...] = ()
        self._full_from = self._full_until = 0.0
        self.idle: dict[IdleWorker, None] = {}
        self._tasks = BackgroundTasks("connection")
        self._openings = Gcra(tolerance=1.0)
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._logged = 0.0
        self._applied: Directives = NO_DIRECTIVES
        self.thorough = False  # there is mail that not every connection is good enough for
        # those of the same mail from other sources, itself included
        self.siblings: tuple[ConnectionPool, ...] = ()
        self.is_mixed = False  # they are not the same for all of its mail

    @property
    def where(self) -> Destination:
        """Where its connections go: the destination, or where an operator has redirected it."""
        return self.destination.redirected(self.lane.directives.redirect)

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to start."""
        return len(self.lane) > 0 and not self.stopping

    def closed_for(self, now: float) -> float:
        """Seconds until mail that waits for this lane may go, from whatever source."""
        if self.is_mixed or not self.siblings:
            return self.lane.closed_for(now)
        return min(pool.lane.closed_for(now) for pool in self.siblings)

    def schedule(self) -> None:
        """See whether something can start, and start it."""
        lane = self.lane
        if not len(lane) or self.stopping:
            return
        now = self._loop.time()
        wait = lane.controller.wait(now)
        limits = lane.limits
        if limits is not None:
            wait = max(wait, min(CLOSED_DELAY, limits.closed_for()))
        if wait > 0.0:
            if lane.closed_for(now) > HOLD_LONGEST:
                self._requeue_all(now)
            self._wake_in(wait)
            return
        if limits is not None and not limits.may(self, now, ready=False):
            return
        while self.idle:
            worker, _ = self.idle.popitem()
            if worker.wake():
                return  # it takes a message and looks again whether there is more to do
        if self._is_full(now):
            return
        for _ in range(lane.connections_wanted(now)):
            held = self._openings.wait(now)
            if held > 0.0:
                metrics.OPENINGS_HELD.inc()
                self._wake_in(held)
                return
            if limits is not None and not limits.take(self):
                return
            if not self.means.connection_limit.acquire(self):
                if limits is not None:
                    limits.give_back()
                return
            lane.opening += 1
            self._openings.spend(now, self.means.openings_per_second)
            self._tasks.spawn(self.means.work(self), name=f"connection {lane.key}")

    def wait_for(self, limits: Sequence[AddressLimit], *, was_refused: bool) -> None:
        """Open no more connections until one of `limits`, those of all addresses, has room.

        Nor for a moment if a connection `was_refused`: the server may still count one just closed.
        """
        now = self._loop.time()
        self._full, self._full_until = tuple(limits), now + FULL_FOR
        self._full_from = now + REFUSED_FOR if was_refused else now
        before = self.lane.waits_for
        since = time.time() if before is None else before.since
        self.lane.waits_for = AddressWait(limits[0], since)
        self.log("no room at the address", reason=limits[0].why())

    def _is_full(self, now: float) -> bool:
        """Whether it is known that there is no room for another connection."""
        if not self._full:
            return False
        if now < self._full_from:
            self._wake_in(self._full_from - now)
            return True
        if now < self._full_until and not any([limit.ask(self) for limit in self._full]):  # noqa: C419 - wait for all
            self._wake_in(self._full_until - now)
            return True
        self._forget_full()
        return False

    def _forget_full(self) -> None:
        for limit in self._full:
            limit.forget(self)
        self._full = ()

    def may_open(self) -> bool:
        """Whether one more connection may be opened now, in place of one that was closed."""
        now = self._loop.time()
        if self._openings.wait(now) > 0.0:
            metrics.OPENINGS_HELD.inc()
            return False
        self._openings.spend(now, self.means.openings_per_second)
        return True

    async def stop(self, patience: float | None = None) -> None:
        """Let transactions under way finish, for `patience` seconds; begin no more."""
        self.stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self.lane.limits is not None:
            self.lane.limits.forget(self)
        self._forget_full()
        self.recycle()
        try:
            async with asyncio.timeout(patience):
                await self._tasks.join()
        except TimeoutError:
            await self._tasks.close()

    def apply_directives(self) -> None:
        """Act on the lane's new directives now."""
        directives, before = self.lane.directives, self._applied
        self._applied = directives
        if directives.bounce is not None:
            for job in self.lane.shed(0, self.is_to_bounce):
                self.bounce(job, directives.bounce)
        if directives.drain or directives.redirect != before.redirect:
            self.recycle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.schedule()

    def is_to_bounce(self, job: Job) -> bool:
        """Whether an operator has directed that `job` fails."""
        bounce = self.lane.directives.bounce
        return bounce is not None and job.message.received < bounce.before

    def bounce(self, job: Job, bounce: BounceDirective) -> None:
        """Let `job` fail, as directed."""
        outcome = directed(bounce.reply, self.lane.directives.why)
        self.disposition.finish(job, [outcome] * len(job.message.recipients))

    def requirement(self, job: Job) -> TlsRequirement:
        """Return what `job` needs of TLS; after a redirection, what the operator asks for."""
        redirect = self.lane.directives.redirect
        if redirect is None:
            return job.requirement
        requirement = self.destination.redirected(redirect).requirement
        return with_requiretls(requirement) if job.requirement.requiretls else requirement

    def take(self, session: ClientSession) -> Job | None:
        """Take the next message that `session` may carry; None also if it has to make room.

        It has to when it is the turn of a message that it is not good enough for, and no other
        connection is on its way.
        """
        lane = self.lane
        if not self.thorough:
            return lane.take()
        head = lane.head()
        if head is None or (lane.opening == 0 and not self.requirement(head).is_met_by(session)):
            return None
        return lane.take(lambda job: self.requirement(job).is_met_by(session))

    def recycle(self) -> None:
        """Close each connection as soon as it carries nothing: the lane may have a new owner."""
        self.generation += 1
        for worker in list(self.idle):
            worker.retire()

    def may_send(self, job: Job) -> bool:
        """Whether `job` is still ours to send, and to be sent. If not, it is dealt with."""
        home = self.home
        if job.is_ours and (home is None or home.is_active or job.is_at_home):
            bounce = self.lane.directives.bounce
            if bounce is None or job.message.received >= bounce.before:
                return True
            self.bounce(job, bounce)
            return False
        self.release(job)
        return False

    def release(self, job: Job) -> None:
        """Give `job`, not begun, to whoever owns the lane now."""
        home = self.home
        if not job.is_ours or home is None or job.shard is home or job.shard.home is home:
            self.disposition.nack(job, RequeueReason.SHARD_MOVED)
        else:
            self.disposition.reroute(job, home.name)

    def log(self, text: str, **facts: object) -> None:
        """Log about this lane, not too often."""
        now = self._loop.time()
        if now - self._logged > _RARELY:
            self._logged = now
            _log.info(text, lane=str(self.lane.key), **facts)

    def _requeue_all(self, now: float) -> None:
        lane = self.lane
        seconds = min(CLOSED_DELAY, lane.closed_for(now))
        reason, text = lane.requeue_reason(now), f"delivery suspended: {lane.why_closed(now)}"
        self.log(
            "lane closed",
            seconds=round(seconds, 1),
            requeue=reason,
            reason=text,
            waiting=len(lane),
        )
        for job in lane.take_all():
            self.requeue(job, seconds, reason, text)

    def requeue(self, job: Job, seconds: float, reason: RequeueReason, text: str) -> None:
        """Let `job` wait elsewhere: in the queue of the lane's backlog, or in a retry tier."""
        if self._requeue is not None:
            self._requeue(self, job, seconds, reason, text)
        else:
            self.disposition.requeue(job, seconds, reason, text)

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.schedule()


class Requeue(Protocol):
    """Where a job of a pool waits when it cannot go now."""

    def __call__(
        self, pool: ConnectionPool, job: Job, seconds: float, reason: RequeueReason, text: str
    ) -> None:
        """Let `job` wait outside of this process."""
