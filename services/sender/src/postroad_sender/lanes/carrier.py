"""Carrying one message: an attempt over the session at hand, and over others where need be.

A host that talks and does not take mail costs no mail its attempt: the next host is tried, and the
first comes last for some minutes. What the answers say about the lane is learnt here.
"""

import asyncio
from collections.abc import Sequence

from postroad_common.mail.requeue import RequeueReason
from postroad_sender import metrics
from postroad_sender.delivery.attempt import Attempt
from postroad_sender.delivery.body import Pieces
from postroad_sender.delivery.body_room import BodyRoomFullError
from postroad_sender.delivery.eightbit import fitted
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.outcome import Outcome, Status, of_transaction, without_parameters
from postroad_sender.lanes.pool import HOLD_LONGEST, ConnectionPool
from postroad_sender.throttle.signals import Signal
from postroad_sender.tls.requirement import note
from postroad_smtp.client.conversation import MOST_OPENING, bounded
from postroad_smtp.client.parameters import refused_parameters
from postroad_smtp.client.session import ClientSession
from postroad_smtp.client.stage import Stage, WireError
from postroad_smtp.client.transaction import transact

MOST_RETURNS = 5  # times that a message goes back to its lane unharmed
NO_ROOM_PAUSE = 30.0  # seconds until a message whose body finds no room in memory comes again
DEFECT_PAUSE = 300.0  # seconds until a message that an attempt raised an error for comes again
_CLOSING = 421
_LOOK_EVERY = 0.05  # seconds between two looks whether it is our turn
_ABOUT_US = frozenset({Signal.RATE, Signal.POLICY, Signal.REPUTATION, Signal.CONNECTIONS})


class Carrier:
    """Carries the messages of one connection worker. `sent_at` is when its last one began."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.sent_at = 0.0
        self._pool = pool
        self._lane = pool.lane
        self._loop = asyncio.get_running_loop()

    async def deliver(self, session: ClientSession, job: Job) -> ClientSession:
        """Make one attempt: carry `job` through `session`, learn from the answers, end the job.

        What becomes of it is decided in `Disposition.finish`: delivered, failed, or deferred into a
        retry tier. A message that the server did not refuse itself goes back into the lane. Returns
        the session to go on with: that with another host, if the message went there.
        """
        has_room = False
        try:
            async with self._pool.means.room.hold(job.message):
                has_room = True
                return await self._attempt(session, job)
        except BodyRoomFullError as error:
            reason = RequeueReason.BODY_UNAVAILABLE
            self._pool.disposition.requeue(job, NO_ROOM_PAUSE, reason, str(error))
            return session
        except BaseException:
            if not has_room:
                self._lane.put_back(job)  # this connection ends while it waits for room
            raise

    async def _attempt(self, session: ClientSession, job: Job) -> ClientSession:
        attempt = Attempt(job)
        is_over = False
        try:
            pieces = await self._pool.means.pieces(job)
            if pieces is None:
                is_over = True
                return session  # dealt with: its body is not to be had
            following: ClientSession | None = session
            while following is not None:
                session = following
                outcomes = await self._transact(session, attempt, pieces)
                if self._is_returned(session, attempt, outcomes):
                    return session
                attempt.take(outcomes)
                following = await self._next_step(session, attempt, outcomes)
            is_over = True
            self._pool.disposition.finish(job, attempt.outcomes())
        except Exception as error:
            # In its lane it would come up again at once, with each connection that it ends.
            if not is_over and not attempt.is_begun:
                is_over = True
                reason, text = RequeueReason.HANDLER_FAILED, f"a defect: {type(error).__name__}"
                self._pool.disposition.requeue(job, DEFECT_PAUSE, reason, text)
            raise
        finally:
            if not is_over and attempt.is_begun:
                self._pool.disposition.finish(job, attempt.outcomes())
            elif not is_over:
                self._lane.put_back(job)
        return session

    async def _transact(
        self, session: ClientSession, attempt: Attempt, pieces: Pieces
    ) -> Sequence[Outcome]:
        note(session, self._pool.requirement(attempt.job))
        began = self._loop.time()
        envelope, body = await fitted(session, attempt.job, attempt.envelope, pieces)
        answers = await transact(session, envelope, body)
        if session.out_of_step:
            self._pool.means.dialer.note_out_of_step(session)
        now = self._lane.moved = self._loop.time()
        metrics.LATENCY.observe(now - began)
        if not attempt.is_begun:
            metrics.WAIT.observe(max(0.0, began - attempt.job.since))
        outcomes = of_transaction(session, answers)
        refused = refused_parameters(envelope, session.capabilities, answers)
        for number in refused.recipients:
            outcomes[number] = without_parameters(outcomes[number])
        if refused.extensions:
            self._pool.means.dialer.note_refused(session, refused.extensions)
        return outcomes

    # -- where it goes on

    async def _next_step(
        self, session: ClientSession, attempt: Attempt, outcomes: Sequence[Outcome]
    ) -> ClientSession | None:
        """Return the session for the next transaction of `attempt`; None if it is over."""
        dialer, where = self._pool.means.dialer, self._pool.where
        worst = _worst(outcomes)
        if worst is None or not _ends_connection(worst):
            self._learn(session, worst)
        if any(outcome.status is Status.DELIVERED for outcome in outcomes):
            attempt.blame(lambda failed: dialer.note_useless(where, failed))
        if attempt.leave_for_same_host():
            following = await self._go_on(session, attempt)
        else:
            if worst is not None and _ends_connection(worst) and not _is_routine(session, worst):
                dialer.note_useless(where, session)
            following = await self._to_next_host(session, attempt, worst)
        if following is None and worst is not None and _ends_connection(worst):
            self._on_connection_ended(session, worst)
        return following

    async def _go_on(self, session: ClientSession, attempt: Attempt) -> ClientSession | None:
        """Return a session for those that the same host may take in another transaction."""
        self._pool.disposition.remember(attempt.job, attempt.outcomes())
        if not await self._has_turn(attempt.job):
            return None
        return session if session.usable else await self._open(session, attempt)

    async def _to_next_host(
        self, session: ClientSession, attempt: Attempt, worst: Outcome | None
    ) -> ClientSession | None:
        """Return a session with the next host, if there is one and it may help."""
        lane, pool = self._lane, self._pool
        now = self._loop.time()
        objects = worst is not None and worst.signal in _ABOUT_US and not _ends_connection(worst)
        if objects and lane.controller.effects(now):
            return None  # it is known that the lane is too fast, whatever the host
        if not attempt.leave_for_next_host():
            return None
        attempt.leave_host(session)
        requirement = pool.requirement(attempt.job)
        if not await pool.means.dialer.has_another(pool.where, requirement, attempt.tried):
            return None
        pool.disposition.remember(attempt.job, attempt.outcomes())
        if not await self._has_turn(attempt.job):
            return None
        return await self._open(session, attempt)

    async def _open(self, session: ClientSession, attempt: Attempt) -> ClientSession | None:
        """Open another session in place of `session`; None if that fails."""
        pool = self._pool
        if not pool.may_open():
            return None
        session.quit()
        attempt.sessions += 1
        try:
            following = await pool.means.dialer.open(
                pool.where,
                pool.requirement(attempt.job),
                thorough=pool.thorough,
                tried=attempt.tried,
            )
        except WireError as error:
            metrics.OPENED.labels("failed").inc()
            attempt.tell(error.said)
            return None
        metrics.OPENED.labels("next host" if attempt.tried else "opened").inc()
        said = f"{attempt.said}\n{following.opening}"
        following.opening = bounded(said, MOST_OPENING)
        return following

    async def _has_turn(self, job: Job) -> bool:
        """Wait for the turn of one more transaction, and count it. Whether there is one soon."""
        pool, lane, limits = self._pool, self._lane, self._lane.limits
        ends = self._loop.time() + HOLD_LONGEST
        while not pool.stopping and job.is_ours:
            now = self._loop.time()
            wait = lane.controller.wait(now)
            if wait <= 0.0 and (limits is None or limits.may(pool, now, ready=True)):
                lane.controller.on_sent(now)
                if limits is not None:
                    limits.begin(now)
                self.sent_at = now
                return True
            if now + wait > ends:
                return False
            await asyncio.sleep(max(wait, _LOOK_EVERY))
        return False

    # -- what is learnt

    def _is_returned(
        self, session: ClientSession, attempt: Attempt, outcomes: Sequence[Outcome]
    ) -> bool:
        """Whether the message goes back to the lane unharmed.

        What a server that ends the connection says about a message that it had not yet taken is not
        about the message; the first command of a used connection meets that regularly.
        """
        worst, lane, job = _worst(outcomes), self._lane, attempt.job
        if attempt.is_begun or worst is None or not _ends_connection(worst):
            return False
        if worst.stage is not Stage.MAIL or job.returned >= MOST_RETURNS:
            return False
        routine = _is_routine(session, worst)
        if not routine and lane.working <= 1:
            return False
        if not all(_is_unharmed(outcome) for outcome in outcomes):
            return False
        self._tell(session, worst)
        if not routine:
            self._on_connection_ended(session, worst)
        job.returned += 1
        return True

    def _learn(self, session: ClientSession, worst: Outcome | None) -> None:
        lane, now = self._lane, self._loop.time()
        if worst is None:
            lane.controller.on_success(lane.busy, now, now - self.sent_at)
            return
        reason = self._tell(session, worst)
        lane.controller.on_throttled(worst.signal, reason, self.sent_at, now, worst.delay)

    def _on_connection_ended(self, session: ClientSession, worst: Outcome) -> None:
        lane, now = self._lane, self._loop.time()
        reason = self._tell(session, worst)
        if not _is_routine(session, worst):
            working = lane.working - 1
            lane.controller.on_connect_failed(working, worst.signal, reason, now, worst.delay)

    def _tell(self, session: ClientSession, worst: Outcome) -> str:
        """Count and log what an answer says about the lane; returns it as a reason."""
        metrics.SIGNALS.labels(worst.signal, worst.stage).inc()
        reason = f"{session.host}: {worst.reply}"
        self._pool.log("lane signal", signal=worst.signal, stage=worst.stage, reason=reason)
        return reason


def _worst(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return the first of `outcomes` that the lane's speed may have to do with."""
    return next((outcome for outcome in outcomes if outcome.signal.slows), None)


def _ends_connection(outcome: Outcome) -> bool:
    return outcome.reply.code == _CLOSING or outcome.local


def _is_routine(session: ClientSession, worst: Outcome) -> bool:
    """Whether a used connection was closed before the next message: servers do that."""
    return (
        session.messages > 1
        and worst.stage is Stage.MAIL
        and (worst.local or worst.signal is Signal.BUSY)
    )


def _is_unharmed(outcome: Outcome) -> bool:
    return outcome.status is Status.DEFERRED and outcome.certain
