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
from postroad_sender.lanes.directives import NONE, Bounce
from postroad_sender.lanes.lane import Lane
from postroad_sender.limits.connection_limit import Slots
from postroad_sender.throttle.signals import Signal
from postroad_sender.tls.requirement import Demand, is_waived, note, with_requiretls
from postroad_smtp.client.session import Session
from postroad_smtp.client.stage import Stage, WireError
from postroad_smtp.client.transaction import Answer, transact

MOST_RETURNS = 5  # times that a message goes back to its lane unharmed
HOLD_LONGEST = 5.0  # seconds that messages wait in memory for a closed lane
CLOSED_PARK = 300.0  # seconds after which mail for a closed lane looks again: it may be opened
_CLOSING = 421
_RARELY = 5.0  # seconds between logs about one lane

_log = structlog.get_logger("courier")


class Endings(Protocol):
    """What becomes of jobs."""

    def finish(self, job: Job, outcomes: Sequence[Outcome], session: Session | None) -> None:
        """An attempt is over: one outcome for each recipient."""

    def park(
        self, job: Job, seconds: float, reason: str, label: str, queue: str | None = None
    ) -> None:
        """No attempt was made; the message comes again after `seconds`, or waits in `queue`."""

    def leave(self, job: Job) -> None:
        """The message is for whoever owns its shard next; the broker brings it there."""

    def reroute(self, job: Job, shard: str) -> None:
        """The message is for whoever owns `shard`."""


Pieces = Callable[[Job], Awaitable["tuple[bytes | memoryview, ...] | None"]]


class Crew:
    """All couriers of one lane. `destination` is renewed as DNS answers change."""

    def __init__(
        self,
        lane: Lane[Job],
        destination: Destination,
        dialer: Dialer,
        *,
        slots: Slots,
        endings: Endings,
        pieces: Pieces,
        idle_seconds: float,
        most_messages: int,
        home: Shard | None = None,
        park: "Callable[[Crew, Job, float, str, str], None] | None" = None,
    ) -> None:
        self.lane = lane
        self.home = home
        self.generation = 0
        self.destination = destination
        self.dialer = dialer
        self.slots = slots
        self.endings = endings
        self.pieces = pieces
        self.idle_seconds = idle_seconds
        self.most_messages = most_messages
        self.stopping = False
        self._park = park
        self.idle: dict[Courier, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._logged = 0.0
        self._heeded = NONE
        self.thorough = False  # there is mail that not every connection is good enough for
        self.siblings: tuple[Crew, ...] = ()  # of the same mail from other sources, itself included
        self.is_mixed = False  # they are not the same for all of its mail

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to start."""
        return len(self.lane) > 0 and not self.stopping

    def closed_for(self, now: float) -> float:
        """Seconds until mail that waits for this lane may go, from whatever source."""
        if self.is_mixed or not self.siblings:
            return self.lane.closed_for(now)
        return min(crew.lane.closed_for(now) for crew in self.siblings)

    def kick(self) -> None:
        """See whether something can start, and start it."""
        lane = self.lane
        if not len(lane) or self.stopping:
            return
        now = self._loop.time()
        wait = lane.controller.wait(now)
        bounds = lane.bounds
        if bounds is not None:
            wait = max(wait, min(CLOSED_PARK, bounds.closed_for()))
        if wait > 0.0:
            if lane.closed_for(now) > HOLD_LONGEST:
                self._park_all(now)
            self._wake_in(wait)
            return
        if bounds is not None and not bounds.may(self, now, ready=False):
            return
        while self.idle:
            courier, _ = self.idle.popitem()
            if courier.wake():
                return  # it takes a message and looks again whether there is more to do
        for _ in range(lane.connections_wanted(now)):
            if bounds is not None and not bounds.take(self):
                return
            if not self.slots.take(self):
                if bounds is not None:
                    bounds.give_back()
                return
            lane.opening += 1
            task = asyncio.create_task(Courier(self).run(), name=f"courier {lane.key}")
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def stop(self, patience: float | None = None) -> None:
        """Let transactions under way finish, for `patience` seconds; begin no more."""
        self.stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self.lane.bounds is not None:
            self.lane.bounds.forget(self)
        self.recycle()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def heed(self) -> None:
        """The orders for this lane have changed: act on them now."""
        orders, before = self.lane.orders, self._heeded
        self._heeded = orders
        if orders.bounce is not None:
            for job in self.lane.shed(0, self.is_to_bounce):
                self.bounce(job, orders.bounce)
        if orders.draining or orders.redirect != before.redirect:
            self.recycle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.kick()

    def is_to_bounce(self, job: Job) -> bool:
        """Whether an operator has ordered that `job` fails."""
        bounce = self.lane.orders.bounce
        return bounce is not None and job.message.received < bounce.before

    def bounce(self, job: Job, order: Bounce) -> None:
        """Let `job` fail, as ordered."""
        outcome = ordered(order.reply, self.lane.orders.reason)
        self.endings.finish(job, [outcome] * len(job.message.recipients), None)

    def demand(self, job: Job) -> Demand:
        """What `job` needs of TLS. By an operator's redirection the way is the operator's."""
        redirect = self.lane.orders.redirect
        if redirect is None:
            return job.demand
        demand = self.destination.redirected(redirect).demand
        return with_requiretls(demand) if job.demand.requiretls else demand

    def take(self, session: Session) -> Job | None:
        """The next message that `session` may carry; None also if it has to make room for others.

        It has to when it is the turn of a message that it is not good enough for, and no other
        connection is on its way.
        """
        lane = self.lane
        if not self.thorough:
            return lane.take()
        head = lane.head()
        if head is None or (lane.opening == 0 and not self.demand(head).is_met_by(session)):
            return None
        return lane.take(lambda job: self.demand(job).is_met_by(session))

    def recycle(self) -> None:
        """Close each connection as soon as it carries nothing: the lane may have a new owner."""
        self.generation += 1
        for courier in list(self.idle):
            courier.dismiss()

    def may_send(self, job: Job) -> bool:
        """Whether `job` is still ours to send, and to be sent. If not, it is dealt with."""
        home = self.home
        if job.is_ours and (home is None or home.is_active or job.settled):
            bounce = self.lane.orders.bounce
            if bounce is None or job.message.received >= bounce.before:
                return True
            self.bounce(job, bounce)
            return False
        self.let_go(job)
        return False

    def let_go(self, job: Job) -> None:
        """Give `job`, not begun, to whoever owns the lane now."""
        home = self.home
        if not job.is_ours or home is None or job.shard is home or job.shard.home is home:
            self.endings.leave(job)
        else:
            self.endings.reroute(job, home.name)

    def tell(self, text: str, **facts: object) -> None:
        """Log about this lane, not too often."""
        now = self._loop.time()
        if now - self._logged > _RARELY:
            self._logged = now
            _log.info(text, lane=str(self.lane.key), **facts)

    def _park_all(self, now: float) -> None:
        lane = self.lane
        seconds = min(CLOSED_PARK, lane.closed_for(now))
        reason = f"delivery suspended: {lane.why_closed(now)}"
        self.tell("lane closed", seconds=round(seconds, 1), reason=reason, waiting=len(lane))
        for job in lane.take_all():
            self.park(job, seconds, reason, "closed")

    def park(self, job: Job, seconds: float, reason: str, label: str) -> None:
        """Let `job` wait elsewhere: in the queue of the lane's backlog, or a waiting room."""
        if self._park is not None:
            self._park(self, job, seconds, reason, label)
        else:
            self.endings.park(job, seconds, reason, label)

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.kick()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("courier failed", lane=str(self.lane.key), exc_info=task.exception())


class Courier:
    """One connection of a lane."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._lane = crew.lane
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[bool] | None = None
        self._sent_at = 0.0
        self._generation = crew.generation

    def wake(self) -> bool:
        """There may be something to do; False if it cannot be woken any more."""
        if self._waiter is None or self._waiter.done():
            return False
        self._waiter.set_result(True)
        return True

    def dismiss(self) -> None:
        """Its connection is needed elsewhere."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)

    async def run(self) -> None:
        """Open a session, carry messages while there are some, close."""
        lane, crew = self._lane, self._crew
        self._generation = crew.generation
        where = crew.destination.redirected(lane.orders.redirect)
        head = lane.head()
        demand = Demand.of_route(where.route) if head is None else crew.demand(head)
        try:
            try:
                session = await crew.dialer.open(where, demand, thorough=crew.thorough)
            except WireError as error:
                metrics.OPENED.labels("failed").inc()
                outcome = of_error(error)
                if demand.concerns_only_itself(outcome.policy):
                    self._not_allowed(demand, outcome)
                else:
                    self._not_opened(outcome)
                return
            finally:
                lane.opening -= 1
            metrics.OPENED.labels("opened").inc()
            lane.working += 1
            metrics.CONNECTIONS.inc()
            try:
                lane.controller.opened(lane.working, self._loop.time())
                await self._carry_all(session)
            finally:
                lane.working -= 1
                metrics.CONNECTIONS.dec()
                session.quit()
        finally:
            crew.slots.give_back()
            if lane.bounds is not None:
                lane.bounds.give_back()
            crew.kick()

    async def _carry_all(self, session: Session) -> None:
        crew, lane = self._crew, self._lane
        while True:
            job = await self._next(session)
            if job is None:
                return
            crew.kick()  # others may start, too
            lane.busy += 1
            try:
                await self._carry(session, job)
            finally:
                lane.busy -= 1

    async def _next(self, session: Session) -> Job | None:
        """The next message to send, or None when this connection is to end."""
        crew, lane = self._crew, self._lane
        bounds = lane.bounds
        while True:
            now = self._loop.time()
            if (
                not session.usable
                or crew.stopping
                or self._generation != crew.generation
                or session.messages >= crew.most_messages
                or lane.working > max(1, lane.controller.connections(now))
                or (bounds is not None and bounds.is_over())
            ):
                return None
            if len(lane):
                if lane.controller.wait(now) <= 0.0 and (
                    bounds is None or bounds.may(crew, now, ready=True)
                ):
                    job = crew.take(session)
                    if job is None and not lane.opening:
                        return None  # its turn is over: another is opened for what waits
                    if job is not None:
                        if crew.may_send(job):
                            lane.controller.sent(now)
                            if bounds is not None:
                                bounds.begin(now)
                            self._sent_at = now
                            return job
                        continue
                else:
                    crew.kick()  # sets the timer
            if not await self._idle():
                return None

    async def _idle(self) -> bool:
        """Wait to be woken; False when nothing came for too long."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        self._crew.idle[self] = None
        self._crew.slots.idle[self] = None
        if self._lane.bounds is not None:
            self._lane.bounds.idle(self)
        timer = self._loop.call_later(self._crew.idle_seconds, self.dismiss)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None
            self._crew.idle.pop(self, None)
            self._crew.slots.idle.pop(self, None)
            if self._lane.bounds is not None:
                self._lane.bounds.busy(self)

    async def _carry(self, session: Session, job: Job) -> None:
        pieces = await self._crew.pieces(job)
        if pieces is None:
            return  # dealt with: its body is not to be had
        lane = self._lane
        note(session, self._crew.demand(job))
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
            self._crew.endings.finish(job, outcomes, session)

    def _learn(self, session: Session, job: Job, outcomes: list[Outcome], now: float) -> bool:
        """Tell the controller. Whether the message goes back to the lane unharmed."""
        lane = self._lane
        worst = next((outcome for outcome in outcomes if outcome.signal.slows), None)
        if worst is None:
            lane.controller.took(lane.busy, now, now - self._sent_at)
            return False
        metrics.SIGNALS.labels(worst.signal, worst.stage).inc()
        reason = f"{session.host}: {worst.reply}"
        self._crew.tell("lane signal", signal=worst.signal, stage=worst.stage, reason=reason)
        if worst.reply.code != _CLOSING and not worst.local:
            lane.controller.objected(worst.signal, reason, self._sent_at, now, worst.delay)
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
            lane.controller.not_opened(lane.working - 1, worst.signal, reason, now, worst.delay)
        if not unharmed or job.returned >= MOST_RETURNS:
            return False
        if not routine and (lane.working <= 1 or worst.stage is not Stage.MAIL):
            return False
        job.returned += 1
        return True

    def _not_allowed(self, demand: Demand, outcome: Outcome) -> None:
        """No host does what `demand` asks. That concerns mail with the same demand, and no other.

        The site has done nothing wrong: the lane learns nothing from what a domain says about it.
        """
        lane, crew = self._lane, self._crew
        kind = str((outcome.policy or {}).get("kind", ""))
        metrics.TLS_POLICIES.labels(kind, "failed").inc()
        crew.tell("TLS policy not met", kind=kind, reason=str(outcome.reply))
        for job in lane.shed(0, lambda job: crew.demand(job) == demand):
            if not crew.may_send(job):
                continue
            if demand.can_be_waived and is_waived(job.body):
                job.demand = demand.waived_for(kind)
                lane.put(job)
            else:
                crew.endings.finish(job, [outcome] * len(job.message.recipients), None)

    def _not_opened(self, outcome: Outcome) -> None:
        lane, crew = self._lane, self._crew
        now = self._loop.time()
        metrics.SIGNALS.labels(outcome.signal, outcome.stage).inc()
        reason = str(outcome.reply)
        crew.tell("no connection", signal=outcome.signal, stage=outcome.stage, reason=reason)
        # With others still opening, nothing is known yet about the lane as a whole.
        if lane.working == 0 and lane.opening > 1:
            return
        lane.controller.not_opened(lane.working, outcome.signal, reason, now, outcome.delay)
        while lane.working == 0:
            job = lane.take()
            if job is not None and not crew.may_send(job):
                continue
            if job is not None:
                crew.endings.finish(job, [outcome] * len(job.message.recipients), None)
            return
