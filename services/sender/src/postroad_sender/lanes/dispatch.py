"""Where a job goes: into the lane of its destination, or back to a queue if it cannot go there.

`place` is where push ends: the broker has pushed the message here, and it is put into its lane.
From there a connection worker pulls it (`worker`), as soon as the lane's limits allow. A message
that is deferred then comes back by the retry tier's dead-letter exchange, and is placed again.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from postroad_common.mail.requeue import RequeueReason
from postroad_common.tasks import BackgroundTasks
from postroad_sender.connect.destination import Destination, Destinations
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import of_error
from postroad_sender.lanes.backlog import Backlogs
from postroad_sender.lanes.crowding import Crowding
from postroad_sender.lanes.lane import FEW, SHARE, Lane
from postroad_sender.lanes.pool import CLOSED_DELAY, HOLD_LONGEST, ConnectionPool
from postroad_sender.lanes.pools import MakePool, Pools
from postroad_sender.limits.registry import LimitRegistry
from postroad_sender.throttle.controller import Caps
from postroad_sender.timings import Timings
from postroad_sender.tls.requirement import NOTHING, TlsRequirement, with_requiretls
from postroad_smtp.client.stage import WireError

LOOK_EVERY = 0.1  # seconds
SWEEP_EVERY = 50  # looks
SETTLES_WITHIN = 0.02  # seconds between two looks whether a shard is ours after all
ASK_AGAIN = 5.0  # seconds, for mail that finds no room while DNS is asked
LOOK_UP_AGAIN = 60.0  # seconds after a look-up that failed by a defect
MOST_AROUND = 10_000  # messages of a closed lane that come back from the retry tiers in minutes
REQUEUE_LONGEST = 1800.0
RESUMED_WITHIN = 5.0  # seconds, for the few messages of a paused lane that may have no queue
HELD_AT_MOST = 4.0  # times `held_longest`, for the message that is the next of a very slow lane
PATIENCE = 20.0  # seconds that transactions under way are waited for when a shard is released

_log = structlog.get_logger("dispatch")


class LaneDispatcher:
    """All lanes of this process."""

    def __init__(
        self,
        destinations: Destinations,
        disposition: Disposition,
        make_pool: MakePool,
        *,
        caps: Caps,
        shards: Sequence[Shard] = (),
        limit_registry: LimitRegistry | None = None,
        backlogs: Backlogs | None = None,
        timings: Timings | None = None,
    ) -> None:
        self._destinations = destinations
        self._disposition = disposition
        self._shards = shards
        self._limit_registry = limit_registry
        self._backlogs = backlogs
        self._timings = timings or Timings()
        self._crowding = Crowding(backlogs)
        self._pools = Pools(
            make_pool, self.requeue, caps=caps, shards=shards, limit_registry=limit_registry
        )
        self._asking: dict[str, list[Job]] = {}
        self._settling: list[Job] = []
        self._tasks = BackgroundTasks("look-up")
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._left: list[Job] = []

    def place(self, job: Job) -> None:
        """Put `job` into its lane, or let it wait elsewhere. Returns at once.

        Where its mail goes is known from a message before it, or by a route, or DNS is asked.
        """
        if self._stopping:
            self._left.append(job)
        elif self._settling:
            self._settling.append(job)  # in turn
        else:
            self._place(job)

    def _place(self, job: Job) -> None:
        try:
            self._find_place(job)
        except Exception as error:  # noqa: BLE001 - one message must keep no other; see below
            self._on_defect(job, error)

    def _find_place(self, job: Job) -> None:
        now = self._loop.time()
        cached = self._pools.cached(job.domain, now)
        if cached is not None:
            self._place_in(*cached, job, now)
            return
        known = self._destinations.known(job.domain)
        if known is not None:
            pool = self._pools.of(job.domain, known, job.shard, now)
            self._place_in(pool, known.requirement, job, now)
            return
        self._place_after_look_up(job)

    def _place_in(
        self, pool: ConnectionPool, requirement: TlsRequirement, job: Job, now: float
    ) -> None:
        pool = self._pools.choose(job.domain, pool, now)
        if job.message.requiretls:
            requirement = with_requiretls(requirement)
        job.requirement = requirement
        self._admit(pool, job, now)

    def _admit(self, pool: ConnectionPool, job: Job, now: float) -> None:
        """Put `job` into the lane of `pool`, from where a connection worker takes it.

        Or it is passed on, failed as directed, or requeued: the lane is closed or has no room.
        """
        lane, home, requirement = pool.lane, pool.home, job.requirement
        job.provider = lane.provider
        if requirement is not NOTHING and requirement.binds:
            pool.thorough = True
        if home is not None and not home.is_active and not job.is_at_home:
            if self._is_settling(home, job, now):
                self._place_when_settled(job)
            else:
                pool.release(job)
            return
        self._pools.keep(pool)
        lane.used = now
        bounce = lane.directives.bounce
        if bounce is not None and job.message.received < bounce.before:
            pool.bounce(job, bounce)
            return
        closed = lane.closed_for(now)
        if closed > HOLD_LONGEST:
            reason, text = lane.requeue_reason(now), f"delivery suspended: {lane.why_closed(now)}"
            self.requeue(pool, job, min(closed, CLOSED_DELAY), reason, text)
            return
        if self._crowding.crowds(pool, job, now):
            self._requeue_full(pool, job, now)
            return
        job.since = now
        lane.put(job)
        pool.schedule()

    def _is_settling(self, home: Shard, job: Job, now: float) -> bool:
        """Whether `home` may be about to be ours: to pass `job` on could bring it back here."""
        seconds = self._timings.settling
        return now - job.arrived < 2.0 * seconds and home.is_settling(now, seconds)

    def _place_when_settled(self, job: Job) -> None:
        if not self._settling:
            self._loop.call_later(SETTLES_WITHIN, self._place_settled)
        self._settling.append(job)

    def _place_settled(self) -> None:
        jobs, self._settling = self._settling, []
        for job in jobs:
            self._place(job)

    def _place_after_look_up(self, job: Job) -> None:
        asking = self._asking.get(job.domain)
        if asking is None:
            self._asking[job.domain] = [job]
            self._tasks.spawn(self._ask(job.domain))
            return
        shard = job.shard
        if len(asking) > max(FEW, SHARE * (shard.capacity - shard.load)):
            reason = RequeueReason.ROUTING_PENDING
            self._disposition.requeue(job, ASK_AGAIN, reason, "look-up not done yet")
        else:
            asking.append(job)

    def withdraw(self, concerns: Callable[[Job], bool]) -> list[Job]:
        """Take out the jobs that wait here and that `concerns` is true for, and return them."""
        found = [
            job
            for pool in self._pools
            if pool.lane.count(concerns)
            for job in pool.lane.shed(0, concerns)
        ]
        for jobs in (*self._asking.values(), self._settling):
            found += [job for job in jobs if concerns(job)]
            jobs[:] = [job for job in jobs if not concerns(job)]
        return found

    async def _ask(self, domain: str) -> None:
        """Look up where the mail for `domain` goes, and place what waits for that."""
        try:
            destination = await self._destinations.find(domain)
        except WireError as error:
            outcome = of_error(error)
            for job in self._asking.pop(domain, []):
                self._disposition.finish(job, [outcome] * len(job.message.recipients))
        except Exception as error:  # noqa: BLE001 - whatever a name from outside makes of it
            for job in self._asking.pop(domain, []):
                self._on_defect(job, error)
        else:
            for job in self._asking.pop(domain, []):
                self._place_at(destination, job)

    def _place_at(self, destination: Destination, job: Job) -> None:
        now = self._loop.time()
        try:
            pool = self._pools.of(job.domain, destination, job.shard, now)
            self._place_in(pool, destination.requirement, job, now)
        except Exception as error:  # noqa: BLE001 - one message must keep no other; see below
            self._on_defect(job, error)

    def _on_defect(self, job: Job, error: Exception) -> None:
        """Let `job`, which could not be placed, be tried again; nothing of it stays here."""
        _log.exception("placing failed", message=job.message.id, exc_info=error)
        self.withdraw(lambda other: other is job)
        reason, text = RequeueReason.ROUTING_FAILED, f"look-up failed: {type(error).__name__}"
        self._disposition.requeue(job, LOOK_UP_AGAIN, reason, text)

    async def find(self, domain: str, home: Shard) -> ConnectionPool | None:
        """Return the pool that mail for `domain` goes to; None while that is not known."""
        try:
            destination = await self._destinations.find(domain)
        except WireError as error:
            _log.info("destination not known", domain=domain, error=str(error))
            return None
        return self._pools.of(domain, destination, home, self._loop.time())

    def requeue(
        self, pool: ConnectionPool, job: Job, seconds: float, reason: RequeueReason, text: str
    ) -> None:
        """Let `job` wait outside of this process, unless another source may send it now."""
        lane, backlogs = pool.lane, self._backlogs
        now = self._loop.time()
        if reason is not RequeueReason.LANE_FULL:
            other = self._pools.choose(job.domain, pool, now)
            if other is not pool and other.lane.closed_for(now) <= 0.0:
                self._admit(other, job, now)
                return
        queue = None if backlogs is None else backlogs.queue_for(pool, job.message.began)
        few = lane.requeued(now) < self._timings.worth_a_queue
        paused = reason is RequeueReason.PAUSED
        if (
            backlogs is not None
            and queue is None
            and not self._stopping
            and (paused or not few)
            and backlogs.is_coming(pool, job.domain)
        ):
            lane.put(job)  # for a moment, until there is the queue
            return
        lane.note_requeued(now)
        if paused and few and queue is None:
            seconds = min(seconds, RESUMED_WITHIN)
        if queue is None and lane.requeued(now) > MOST_AROUND:
            # so many without a queue of their own should not come round every few minutes
            seconds = max(seconds, min(lane.closed_for(now), REQUEUE_LONGEST))
        self._disposition.requeue(job, seconds, reason, text, queue)

    def _requeue_full(self, pool: ConnectionPool, job: Job, now: float) -> None:
        seconds = pool.lane.requeue_delay(now, REQUEUE_LONGEST)
        waits_for = pool.lane.waits_for
        text = "lane full" if waits_for is None else f"lane full: {waits_for.reason}"
        self.requeue(pool, job, seconds, RequeueReason.LANE_FULL, text)

    def make_room(self) -> None:
        """Where slow lanes fill a shard's place in this process, requeue most of their mail.

        Otherwise the shard would stand still until they move: the broker gives nothing more.
        """
        now = self._loop.time()
        for shard in self._shards:
            for pool, job in self._crowding.surplus(self._pools, shard, now):
                self._requeue_full(pool, job, now)

    async def run(self) -> None:
        """Make room, forget lanes without work, and count. Runs for ever."""
        rounds = 0
        while True:
            due = self._loop.time() + LOOK_EVERY
            await asyncio.sleep(LOOK_EVERY)
            self._crowding.note_lateness(self._loop.time() - due)
            self.make_room()
            rounds += 1
            if rounds % SWEEP_EVERY == 0:
                self.sweep()
                self.give_back()

    def give_back(self) -> None:
        """Requeue what has waited in memory so long that the broker might take it back."""
        now, longest = self._loop.time(), self._timings.held_longest
        for pool in self._pools:
            old = pool.lane.shed(1, lambda job: now - job.arrived > longest)
            old += pool.lane.shed(0, lambda job: now - job.arrived > HELD_AT_MOST * longest)
            for job in old:
                self._requeue_full(pool, job, now)

    def sweep(self) -> None:
        """Forget lanes that have had no work for a while, and count the others."""
        self._pools.sweep(self._loop.time(), self._has_backlog)

    def _has_backlog(self, pool: ConnectionPool) -> bool:
        return self._backlogs is not None and self._backlogs.owns(pool)

    # -- the lanes of a shard come and go

    async def release(self, shard: Shard) -> list[Lane[Job]]:
        """Finish what is under way for the sites of `shard`; returns their lanes, now forgotten.

        What was not begun is returned. Other sites may have mail from that shard, too.
        """
        pools = self._pools.at_home(shard)
        self._vacate(shard)
        await asyncio.gather(*(pool.stop(PATIENCE) for pool in pools))
        self._vacate(shard)
        self._pools.remove(pools)
        if self._limit_registry is not None:
            self._limit_registry.release(shard.name)
        return [pool.lane for pool in pools]

    def lost(self, shard: Shard) -> None:
        """Close the connections of `shard`: the broker may have given it to another replica."""
        if self._limit_registry is not None:
            self._limit_registry.release(shard.name)
        for pool in self._pools.at_home(shard):
            pool.recycle()
            for job in pool.lane.take_all():
                pool.release(job)

    def apply_directives(self, lane: Lane[Job]) -> None:
        """Act on new directives for `lane`."""
        pool = self._pools.of_lane(lane)
        if pool is not None:
            pool.apply_directives()

    def lanes(self) -> list[Lane[Job]]:
        """Return all lanes in memory."""
        return [pool.lane for pool in self._pools]

    async def stop(self) -> list[Job]:
        """Let what is under way finish; returns the jobs that were not begun."""
        self._stopping = True
        self._tasks.cancel()
        pools = list(self._pools)
        self._left += [job for asking in self._asking.values() for job in asking]
        self._asking.clear()
        self._left += self._settling
        self._settling.clear()
        self._left += _taken(pools)
        await asyncio.gather(*(pool.stop() for pool in pools))
        self._left += _taken(pools)
        return self._left

    def _vacate(self, shard: Shard) -> None:
        for pool in self._pools:
            if pool.home is shard:
                for job in pool.lane.take_all():
                    pool.release(job)
            else:
                # to release it would pass it on to the lane's shard; here it stays with its own
                for job in pool.lane.shed(0, lambda job: job.shard is shard):
                    self._disposition.nack(job, RequeueReason.SHARD_MOVED)
        for jobs in (*self._asking.values(), self._settling):
            for job in jobs:
                if job.shard is shard:
                    self._disposition.nack(job, RequeueReason.SHARD_MOVED)
            jobs[:] = [job for job in jobs if job.shard is not shard]


def _taken(pools: Iterable[ConnectionPool]) -> list[Job]:
    return [job for pool in pools for job in pool.lane.take_all()]
