"""A connection worker: one connection of a lane, which opens a session and carries messages.

Here push turns into pull: `place` has put messages into the lane, and a worker whose session is
ready takes the next one (`ConnectionPool.take`). So a connection that is refused costs no message
an attempt while others of the lane work: the message stays in the lane.
"""

import asyncio

import structlog

from postroad_sender import metrics
from postroad_sender.connect.dialer import AddressesFullError
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.outcome import Outcome, of_error
from postroad_sender.lanes.carrier import Carrier
from postroad_sender.lanes.pool import ConnectionPool
from postroad_sender.throttle.signals import Signal
from postroad_sender.tls.requirement import TlsRequirement, is_waived
from postroad_smtp.client.session import ClientSession
from postroad_smtp.client.stage import Fault, Stage, WireError

_log = structlog.get_logger("connections")


async def work(pool: ConnectionPool) -> None:
    """Open one more connection of `pool` and carry messages until it is to end."""
    await ConnectionWorker(pool).run()


class ConnectionWorker:
    """One connection of a lane."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._lane = pool.lane
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[bool] | None = None
        self._carrier = Carrier(pool)
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
        where = pool.where
        head = lane.head()
        requirement = (
            TlsRequirement.of_route(where.route) if head is None else pool.requirement(head)
        )
        try:
            try:
                session = await pool.means.dialer.open(where, requirement, thorough=pool.thorough)
            except AddressesFullError as error:
                metrics.ADDRESSES_FULL.inc()
                pool.wait_for(error.limits, was_refused=error.was_refused)
                return
            except WireError as error:
                metrics.OPENED.labels("failed").inc()
                outcome = of_error(error)
                if requirement.concerns_only_itself(outcome.policy):
                    self._on_tls_not_met(requirement, outcome)
                else:
                    self._on_connect_failed(outcome)
                return
            except Exception as error:  # noqa: BLE001 - without an answer it would open at once again
                _log.exception("opening failed", lane=str(lane.key))
                metrics.OPENED.labels("failed").inc()
                text = f"a defect: {type(error).__name__}"
                self._on_connect_failed(of_error(WireError(Stage.CONNECT, Fault.LOCAL, text)))
                return
            finally:
                lane.opening -= 1
            metrics.OPENED.labels("opened").inc()
            lane.working += 1
            lane.in_doubt = False
            lane.waits_for = None
            metrics.CONNECTIONS.inc()
            try:
                lane.controller.on_connected(lane.working, self._loop.time())
                session = await self._carry_all(session)
                if not session.messages and not session.usable and len(lane):
                    self._on_opened_in_vain(session)
            finally:
                lane.working -= 1
                metrics.CONNECTIONS.dec()
                session.quit()
        finally:
            pool.means.connection_limit.release()
            if lane.limits is not None:
                lane.limits.give_back()
            pool.schedule()

    async def _carry_all(self, session: ClientSession) -> ClientSession:
        """Carry messages while there are some; returns the session that is left to be closed."""
        pool, lane = self._pool, self._lane
        while True:
            job = await self._next(session)
            if job is None:
                return session
            pool.schedule()  # others may start, too
            lane.busy += 1
            try:
                session = await self._carrier.deliver(session, job)
            finally:
                lane.busy -= 1

    async def _next(self, session: ClientSession) -> Job | None:
        """Return the next message to send, or None when this connection is to end."""
        pool, lane = self._pool, self._lane
        limits = lane.limits
        while True:
            now = self._loop.time()
            if (
                not session.usable
                or pool.stopping
                or self._generation != pool.generation
                or session.messages >= pool.means.most_messages
                or lane.working > max(1, lane.controller.connections(now))
                or (limits is not None and limits.is_over())
                or (session.place is not None and session.place.is_to_end(pool, session.messages))
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
                            self._carrier.sent_at = now
                            return job
                        continue
                else:
                    pool.schedule()  # sets the timer
            if not await self._idle(session):
                return None

    async def _idle(self, session: ClientSession) -> bool:
        """Wait to be woken; False when nothing came for too long, or another lane waits."""
        pool, place, limits = self._pool, session.place, self._lane.limits
        if (
            pool.means.connection_limit.is_wanted_by_others(pool)
            or (limits is not None and limits.is_wanted_by_others(pool))
            or (place is not None and place.limit.is_wanted_by_others(pool))
        ):
            return False
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        pool.idle[self] = None
        pool.means.connection_limit.idle[self] = None
        if limits is not None:
            limits.idle(self)
        if place is not None:
            place.limit.idle[self] = None
        timer = self._loop.call_later(pool.means.idle_seconds, self.retire)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None
            pool.idle.pop(self, None)
            pool.means.connection_limit.idle.pop(self, None)
            if limits is not None:
                limits.busy(self)
            if place is not None:
                place.limit.idle.pop(self, None)

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
                pool.disposition.finish(job, [outcome] * len(job.message.recipients))

    def _on_opened_in_vain(self, session: ClientSession) -> None:
        """Take an opening for failed whose session ended before it carried a message.

        So a server that greets and hangs up, or says a reply too many, is left alone for longer
        each time; and its mail is requeued and expires like that of one that refuses connections.
        """
        metrics.OPENED.labels("in vain").inc()
        reason = f"{session.host}: the connection ended before it carried a message"
        self._pool.log("no connection", signal=Signal.DROPPED, stage=Stage.EHLO, reason=reason)
        lane, now = self._lane, self._loop.time()
        self._pool.means.dialer.note_useless(self._pool.where, session)
        lane.controller.on_connect_failed(lane.working - 1, Signal.DROPPED, reason, now)

    def _on_connect_failed(self, outcome: Outcome) -> None:
        lane, pool = self._lane, self._pool
        now = self._loop.time()
        metrics.SIGNALS.labels(outcome.signal, outcome.stage).inc()
        reason = str(outcome.reply)
        pool.log("no connection", signal=outcome.signal, stage=outcome.stage, reason=reason)
        # With others still opening, nothing is known yet about the lane as a whole.
        lane.in_doubt = lane.working == 0 and lane.opening > 1
        if lane.in_doubt:
            return
        lane.controller.on_connect_failed(lane.working, outcome.signal, reason, now, outcome.delay)
        while lane.working == 0:
            job = lane.take()
            if job is not None and not pool.may_send(job):
                continue
            if job is not None:
                pool.disposition.finish(job, [outcome] * len(job.message.recipients))
            return
