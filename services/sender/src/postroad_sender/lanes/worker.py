"""Couriers: the connections of a lane, each a task that opens a session and carries messages.

Connections are opened first and take messages when they are ready. So a connection that is
refused costs no message an attempt while others of the lane work: the message stays in the lane.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from postroad_sender import metrics
from postroad_sender.connect.destination import Destination
from postroad_sender.connect.dialer import Dialer
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import Outcome, Status, of_answer, of_error, ordered
from postroad_sender.lanes.directives import NO_DIRECTIVES, Bounce
from postroad_sender.lanes.lane import Lane
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.throttle.signals import Signal
from postroad_sender.tls.requirement import TlsRequirement, is_waived, note, with_requiretls
from postroad_smtp.client.session import Session
from postroad_smtp.client.stage import Stage, WireError
from postroad_smtp.client.transaction import Answer, transact

MOST_RETURNS = 5  # times that a message goes back to its lane unharmed
HOLD_LONGEST = 5.0  # seconds that messages wait in memory for a closed lane
CLOSED_DELAY = 300.0  # seconds after which mail for a closed lane looks again: it may be opened
_CLOSING = 421
_RARELY = 5.0  # seconds between logs about one lane

_log = structlog.get_logger("courier")


class JobSink(Protocol):
    """What becomes of jobs."""

    def finish(self, job: Job, outcomes: Sequence[Outcome], session: Session | None) -> None:
        """An attempt is over: one outcome for each recipient."""

    def requeue(
        self, job: Job, seconds: float, reason: str, label: str, queue: str | None = None
    ) -> None:
        """No attempt was made; the message comes again after `seconds`, or waits in `queue`."""

    def nack(self, job: Job) -> None:
        """The message is for whoever owns its shard next; the broker brings it there."""

    def reroute(self, job: Job, shard: str) -> None:
        """The message is for whoever owns `shard`."""


Pieces = Callable[[Job], Awaitable["tuple[bytes | memoryview, ...] | None"]]


class ConnectionPool:
    """All couriers of one lane. `destination` is renewed as DNS answers change."""

    def __init__(
        self,
        lane: Lane[Job],
        destination: Destination,
        dialer: Dialer,
        *,
        connection_limit: ConnectionLimit,
        disposition: JobSink,
        pieces: Pieces,
        idle_seconds: float,
        most_messages: int,
        home: Shard | None = None,
        requeue: "Callable[[ConnectionPool, Job, float, str, str], None] | None" = None,
    ) -> None:
        self.lane = lane
        self.home = home
        self.generation = 0
        self.destination = destination
        self.dialer = dialer
        self.connection_limit = connection_limit
        self.disposition = disposition
        self.pieces = pieces
        self.idle_seconds = idle_seconds
        self.most_messages = most_messages
        self.stopping = False
        self._requeue = requeue
        self.idle: dict[ConnectionWorker, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._logged = 0.0
        self._applied = NO_DIRECTIVES
        self.thorough = False  # there is mail that not every connection is good enough for
        self.siblings: tuple[
            ConnectionPool, ...
        ] = ()  # of the same mail from other sources, itself included
        self.is_mixed = False  # they are not the same for all of its mail

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
        for _ in range(lane.connections_wanted(now)):
            if limits is not None and not limits.take(self):
                return
            if not self.connection_limit.acquire(self):
                if limits is not None:
                    limits.give_back()
                return
            lane.opening += 1
            task = asyncio.create_task(ConnectionWorker(self).run(), name=f"courier {lane.key}")
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def stop(self, patience: float | None = None) -> None:
        """Let transactions under way finish, for `patience` seconds; begin no more."""
        self.stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self.lane.limits is not None:
            self.lane.limits.forget(self)
        self.recycle()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def apply_directives(self) -> None:
        """The orders for this lane have changed: act on them now."""
        directives, before = self.lane.directives, self._applied
        self._applied = directives
        if directives.bounce is not None:
            for job in self.lane.shed(0, self.is_to_bounce):
                self.bounce(job, directives.bounce)
        if directives.draining or directives.redirect != before.redirect:
            self.recycle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.schedule()

    def is_to_bounce(self, job: Job) -> bool:
        """Whether an operator has ordered that `job` fails."""
        bounce = self.lane.directives.bounce
        return bounce is not None and job.message.received < bounce.before

    def bounce(self, job: Job, order: Bounce) -> None:
        """Let `job` fail, as ordered."""
        outcome = ordered(order.reply, self.lane.directives.reason)
        self.disposition.finish(job, [outcome] * len(job.message.recipients), None)

    def requirement(self, job: Job) -> TlsRequirement:
        """What `job` needs of TLS. By an operator's redirection the way is the operator's."""
        redirect = self.lane.directives.redirect
        if redirect is None:
            return job.requirement
        requirement = self.destination.redirected(redirect).requirement
        return with_requiretls(requirement) if job.requirement.requiretls else requirement

    def take(self, session: Session) -> Job | None:
        """The next message that `session` may carry; None also if it has to make room for others.

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
            self.disposition.nack(job)
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
        reason = f"delivery suspended: {lane.why_closed(now)}"
        self.log("lane closed", seconds=round(seconds, 1), reason=reason, waiting=len(lane))
        for job in lane.take_all():
            self.requeue(job, seconds, reason, "closed")

    def requeue(self, job: Job, seconds: float, reason: str, label: str) -> None:
        """Let `job` wait elsewhere: in the queue of the lane's backlog, or a waiting room."""
        if self._requeue is not None:
            self._requeue(self, job, seconds, reason, label)
        else:
            self.disposition.requeue(job, seconds, reason, label)

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.schedule()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("courier failed", lane=str(self.lane.key), exc_info=task.exception())


class ConnectionWorker:
    """One connection of a lane."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._lane = pool.lane
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[bool] | None = None
        self._sent_at = 0.0
        self._generation = pool.generation

    def wake(self) -> bool:
        """There may be something to do; False if it cannot be woken any more."""
        if self._waiter is None or self._waiter.done():
            return False
        self._waiter.set_result(True)
        return True

    def retire(self) -> None:
        """Its connection is needed elsewhere."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)

    async def run(self) -> None:
        """Open a session, carry messages while there are some, close."""
        lane, pool = self._lane, self._pool
        self._generation = pool.generation
        where = pool.destination.redirected(lane.directives.redirect)
        head = lane.head()
        requirement = (
            TlsRequirement.of_route(where.route) if head is None else pool.requirement(head)
        )
        try:
            try:
                session = await pool.dialer.open(where, requirement, thorough=pool.thorough)
            except WireError as error:
                metrics.OPENED.labels("failed").inc()
                outcome = of_error(error)
                if requirement.concerns_only_itself(outcome.policy):
                    self._on_tls_not_met(requirement, outcome)
                else:
                    self._on_connect_failed(outcome)
                return
            finally:
                lane.opening -= 1
            metrics.OPENED.labels("opened").inc()
            lane.working += 1
            metrics.CONNECTIONS.inc()
            try:
                lane.controller.on_connected(lane.working, self._loop.time())
                await self._carry_all(session)
            finally:
                lane.working -= 1
                metrics.CONNECTIONS.dec()
                session.quit()
        finally:
            pool.connection_limit.release()
            if lane.limits is not None:
                lane.limits.give_back()
            pool.schedule()

    async def _carry_all(self, session: Session) -> None:
        pool, lane = self._pool, self._lane
        while True:
            job = await self._next(session)
            if job is None:
                return
            pool.schedule()  # others may start, too
            lane.busy += 1
            try:
                await self._carry(session, job)
            finally:
                lane.busy -= 1

    async def _next(self, session: Session) -> Job | None:
        """The next message to send, or None when this connection is to end."""
        pool, lane = self._pool, self._lane
        limits = lane.limits
        while True:
            now = self._loop.time()
            if (
                not session.usable
                or pool.stopping
                or self._generation != pool.generation
                or session.messages >= pool.most_messages
                or lane.working > max(1, lane.controller.connections(now))
                or (limits is not None and limits.is_over())
            ):
                return None
            if len(lane):
                if lane.controller.wait(now) <= 0.0 and (
                    limits is None or limits.may(pool, now, ready=True)
                ):
                    job = pool.take(session)
                    if job is None and not lane.opening:
                        return None  # its turn is over: another is opened for what waits
                    if job is not None:
                        if pool.may_send(job):
                            lane.controller.on_sent(now)
                            if limits is not None:
                                limits.begin(now)
                            self._sent_at = now
                            return job
                        continue
                else:
                    pool.schedule()  # sets the timer
            if not await self._idle():
                return None

    async def _idle(self) -> bool:
        """Wait to be woken; False when nothing came for too long."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        self._pool.idle[self] = None
        self._pool.connection_limit.idle[self] = None
        if self._lane.limits is not None:
            self._lane.limits.idle(self)
        timer = self._loop.call_later(self._pool.idle_seconds, self.retire)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None
            self._pool.idle.pop(self, None)
            self._pool.connection_limit.idle.pop(self, None)
            if self._lane.limits is not None:
                self._lane.limits.busy(self)

    async def _carry(self, session: Session, job: Job) -> None:
        pieces = await self._pool.pieces(job)
        if pieces is None:
            return  # dealt with: its body is not to be had
        lane = self._lane
        note(session, self._pool.requirement(job))
        began = self._loop.time()
        answers: list[Answer] | None = None
        try:
            answers = await transact(session, job.envelope(), pieces)
        finally:
            if answers is None:  # cancelled at the end of the grace time
                lane.put_back(job)
        now = lane.moved = self._loop.time()
        metrics.LATENCY.observe(now - began)
        metrics.WAIT.observe(max(0.0, began - job.since))
        outcomes = [of_answer(answer) for answer in answers]
        if self._learn(session, job, outcomes, now):
            lane.put_back(job)
        else:
            self._pool.disposition.finish(job, outcomes, session)

    def _learn(self, session: Session, job: Job, outcomes: list[Outcome], now: float) -> bool:
        """Tell the controller. Whether the message goes back to the lane unharmed."""
        lane = self._lane
        worst = next((outcome for outcome in outcomes if outcome.signal.slows), None)
        if worst is None:
            lane.controller.on_success(lane.busy, now, now - self._sent_at)
            return False
        metrics.SIGNALS.labels(worst.signal, worst.stage).inc()
        reason = f"{session.host}: {worst.reply}"
        self._pool.log("lane signal", signal=worst.signal, stage=worst.stage, reason=reason)
        if worst.reply.code != _CLOSING and not worst.local:
            lane.controller.on_throttled(worst.signal, reason, self._sent_at, now, worst.delay)
            return False
        # The server ends the connection. What it says about a message that it had not yet taken
        # is not about the message; the first command of a used connection meets that regularly.
        unharmed = all(
            outcome.status is Status.DEFERRED and outcome.certain for outcome in outcomes
        )
        routine = (
            session.messages > 1
            and worst.stage is Stage.MAIL
            and (worst.local or worst.signal is Signal.BUSY)
        )
        if not routine:
            lane.controller.on_connect_failed(
                lane.working - 1, worst.signal, reason, now, worst.delay
            )
        if not unharmed or job.returned >= MOST_RETURNS:
            return False
        if not routine and (lane.working <= 1 or worst.stage is not Stage.MAIL):
            return False
        job.returned += 1
        return True

    def _on_tls_not_met(self, requirement: TlsRequirement, outcome: Outcome) -> None:
        """Defer mail with this `requirement`: no host meets it.

        The site has done nothing wrong: the lane learns nothing from what a domain says about it.
        """
        lane, pool = self._lane, self._pool
        kind = str((outcome.policy or {}).get("kind", ""))
        metrics.TLS_POLICIES.labels(kind, "failed").inc()
        pool.log("TLS policy not met", kind=kind, reason=str(outcome.reply))
        for job in lane.shed(0, lambda job: pool.requirement(job) == requirement):
            if not pool.may_send(job):
                continue
            if requirement.can_be_waived and is_waived(job.body):
                job.requirement = requirement.waived_for(kind)
                lane.put(job)
            else:
                pool.disposition.finish(job, [outcome] * len(job.message.recipients), None)

    def _on_connect_failed(self, outcome: Outcome) -> None:
        lane, pool = self._lane, self._pool
        now = self._loop.time()
        metrics.SIGNALS.labels(outcome.signal, outcome.stage).inc()
        reason = str(outcome.reply)
        pool.log("no connection", signal=outcome.signal, stage=outcome.stage, reason=reason)
        # With others still opening, nothing is known yet about the lane as a whole.
        if lane.working == 0 and lane.opening > 1:
            return
        lane.controller.on_connect_failed(lane.working, outcome.signal, reason, now, outcome.delay)
        while lane.working == 0:
            job = lane.take()
            if job is not None and not pool.may_send(job):
                continue
            if job is not None:
                pool.disposition.finish(job, [outcome] * len(job.message.recipients), None)
            return
