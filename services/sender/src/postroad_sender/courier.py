"""Couriers: the connections of a lane, each a task that opens a session and carries messages.

Connections are opened first and take messages when they are ready. So a connection that is
refused costs no message an attempt while others of the lane work: the message stays in the lane.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from postroad_sender import metrics
from postroad_sender.destination import Destination
from postroad_sender.dialer import Dialer
from postroad_sender.job import Job, Shard
from postroad_sender.lane import Lane
from postroad_sender.outcome import Outcome, Status, of_answer, of_error
from postroad_sender.signals import Signal
from postroad_sender.stage import Stage, WireError
from postroad_sender.wire.session import Session
from postroad_sender.wire.transaction import Answer, transact

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


class Slots:
    """How many connections this process may have. Idle ones give way to those that are needed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self.idle: dict[Courier, None] = {}
        self._hungry: dict[Crew, None] = {}

    def take(self, crew: "Crew") -> bool:
        """Whether one more connection may be opened now. If not, the crew is woken when it may."""
        if self._used < self._most:
            self._used += 1
            return True
        self._hungry[crew] = None
        if self.idle:
            next(iter(self.idle)).dismiss()
        return False

    def give_back(self) -> None:
        """A connection is gone."""
        self._used -= 1
        if self._hungry:
            crew = next(iter(self._hungry))
            del self._hungry[crew]
            asyncio.get_running_loop().call_soon(crew.kick)


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

    def kick(self) -> None:
        """See whether something can start, and start it."""
        lane = self.lane
        if not len(lane) or self.stopping:
            return
        now = self._loop.time()
        wait = lane.controller.wait(now)
        if wait > 0.0:
            if lane.controller.closed_for(now) > HOLD_LONGEST:
                self._park_all(now)
            self._wake_in(wait)
            return
        while self.idle:
            courier, _ = self.idle.popitem()
            if courier.wake():
                return  # it takes a message and looks again whether there is more to do
        for _ in range(lane.connections_wanted(now)):
            if not self.slots.take(self):
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
        self.recycle()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def recycle(self) -> None:
        """Close each connection as soon as it carries nothing: the lane may have a new owner."""
        self.generation += 1
        for courier in list(self.idle):
            courier.dismiss()

    def may_send(self, job: Job) -> bool:
        """Whether `job` is still ours to send. If not, it is let go."""
        home = self.home
        if job.is_ours and (home is None or home.is_active or job.settled):
            return True
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
        seconds = min(CLOSED_PARK, lane.controller.closed_for(now))
        reason = f"delivery suspended: {lane.controller.why_closed()}"
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
        if self._timer is None:
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
        try:
            try:
                session = await crew.dialer.open(crew.destination)
            except WireError as error:
                metrics.OPENED.labels("failed").inc()
                self._not_opened(of_error(error))
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
        while True:
            now = self._loop.time()
            if (
                not session.usable
                or crew.stopping
                or self._generation != crew.generation
                or session.messages >= crew.most_messages
                or lane.working > max(1, lane.controller.connections(now))
            ):
                return None
            if len(lane):
                if lane.controller.wait(now) <= 0.0:
                    job = lane.take()
                    if job is not None and crew.may_send(job):
                        lane.controller.sent(now)
                        return job
                    continue
                crew.kick()  # sets the timer
            if not await self._idle():
                return None

    async def _idle(self) -> bool:
        """Wait to be woken; False when nothing came for too long."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        self._crew.idle[self] = None
        self._crew.slots.idle[self] = None
        timer = self._loop.call_later(self._crew.idle_seconds, self.dismiss)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None
            self._crew.idle.pop(self, None)
            self._crew.slots.idle.pop(self, None)

    async def _carry(self, session: Session, job: Job) -> None:
        pieces = await self._crew.pieces(job)
        if pieces is None:
            return  # dealt with: its body is not to be had
        lane = self._lane
        began = self._loop.time()
        answers: list[Answer] | None = None
        try:
            answers = await transact(session, job.envelope(), pieces)
        finally:
            if answers is None:  # cancelled at the end of the grace time
                lane.put_back(job)
        now = self._loop.time()
        metrics.LATENCY.observe(now - began)
        metrics.WAIT.observe(max(0.0, began - job.since))
        outcomes = [of_answer(answer) for answer in answers]
        if self._learn(session, job, outcomes, began, now):
            lane.put_back(job)
        else:
            self._crew.endings.finish(job, outcomes, session)

    def _learn(
        self, session: Session, job: Job, outcomes: list[Outcome], began: float, now: float
    ) -> bool:
        """Tell the controller. Whether the message goes back to the lane unharmed."""
        lane = self._lane
        worst = next((outcome for outcome in outcomes if outcome.signal.slows), None)
        if worst is None:
            lane.controller.took(lane.busy, now)
            return False
        metrics.SIGNALS.labels(worst.signal, worst.stage).inc()
        reason = f"{session.host}: {worst.reply}"
        self._crew.tell("lane signal", signal=worst.signal, stage=worst.stage, reason=reason)
        if worst.reply.code != _CLOSING and not worst.local:
            lane.controller.objected(worst.signal, reason, began, now, worst.delay)
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
