"""Where a job goes: to the lane of its destination, or back to wait if there is no room for it."""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import structlog

from postroad_sender import metrics
from postroad_sender.connect.destination import Destination, Destinations
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import of_error
from postroad_sender.lanes.backlog import WORTH_A_QUEUE, Backlogs
from postroad_sender.lanes.lane import FEW, PRESSURE, SHARE, Lane, fair_level
from postroad_sender.lanes.source_pool import SourcePool, make_source_pool
from postroad_sender.lanes.worker import CLOSED_DELAY, HOLD_LONGEST, ConnectionPool
from postroad_sender.limits.caps import Limits
from postroad_sender.limits.registry import LimitRegistry
from postroad_sender.routes.sources import Source
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.tls.requirement import NOTHING, TlsRequirement, with_requiretls
from postroad_smtp.client.stage import WireError

FRESH_FOR = 30.0  # seconds until DNS is asked again where a domain's mail goes
LOOK_EVERY = 0.1  # seconds
LATE_FADES = 0.8  # of our own lateness, from one look to the next
LATE_TURNS = 4.0  # a lane that opens a connection and sends waits for its turn about as often
ASK_AGAIN = 5.0  # seconds, for mail that finds no room while DNS is asked
MOST_AROUND = 10_000  # messages of a closed lane that come back from the waiting rooms in minutes
MANY = 25  # messages that are worth waiting until their lane has a queue of its own
FORGET_AFTER = 600.0  # seconds without work
MOST_DOMAINS = 50_000
REQUEUE_LONGEST = 1800.0
PATIENCE = 20.0  # seconds that transactions under way are waited for when a shard is let go

_log = structlog.get_logger("dispatch")
MakePool = Callable[[Lane[Job], Destination, Shard | None], ConnectionPool]


class Dispatcher:
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
    ) -> None:
        self._destinations = destinations
        self._disposition = disposition
        self._make_pool = make_pool
        self._caps = caps
        self._shards = shards
        self._limit_registry = limit_registry
        self.backlogs: Backlogs | None = None
        self._pools: dict[LaneKey, ConnectionPool] = {}
        self._placed: OrderedDict[str, tuple[float, ConnectionPool, TlsRequirement]] = OrderedDict()
        self._source_pools: dict[str, SourcePool] = {}
        self._shared: dict[tuple[LaneKey, ...], SourcePool] = {}
        self._asking: dict[str, list[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._late = 0.0  # seconds that this process lately was late for what it wanted to do
        self._stopping = False
        self._left: list[Job] = []

    def place(self, job: Job) -> None:
        """Put `job` into its lane, or let it wait elsewhere. Returns at once."""
        if self._stopping:
            self._left.append(job)
            return
        now = self._loop.time()
        placed = self._placed.get(job.domain)
        if placed is not None and placed[0] > now:
            self._admit(placed[1], job, now, placed[2])
            return
        known = self._destinations.known(job.domain)
        if known is not None:
            pool = self._pool(job.domain, known, job.shard, now)
            self._admit(pool, job, now, known.requirement)
            return
        asking = self._asking.get(job.domain)
        if asking is not None:
            shard = job.shard
            if len(asking) > max(FEW, SHARE * (shard.capacity - shard.load)):
                self._disposition.requeue(job, ASK_AGAIN, "look-up not done yet", "dns")
            else:
                asking.append(job)
            return
        self._asking[job.domain] = [job]
        task = asyncio.create_task(self._ask(job.domain))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def find(self, domain: str, home: Shard) -> ConnectionPool | None:
        """The crew that mail for `domain` goes to; None while that is not known."""
        try:
            destination = await self._destinations.find(domain)
        except WireError as error:
            _log.info("destination not known", domain=domain, error=str(error))
            return None
        return self._pool(domain, destination, home, self._loop.time())

    def requeue(
        self, pool: ConnectionPool, job: Job, seconds: float, reason: str, label: str
    ) -> None:
        """Let `job` wait outside of this process: no attempt is made."""
        lane, backlogs = pool.lane, self.backlogs
        now = self._loop.time()
        if label == "closed" and (source_pool := self._source_pools.get(job.domain)) is not None:
            other = source_pool.choose(now)
            if other.lane.closed_for(now) <= 0.0:
                self._admit(other, job, now, job.requirement)
                return
        queue = None if backlogs is None else backlogs.queue_for(pool)
        if (
            backlogs is not None
            and queue is None
            and not self._stopping
            and lane.requeued(now) >= WORTH_A_QUEUE
            and backlogs.is_coming(pool, job.domain)
        ):
            lane.put(job)  # for a moment, until there is the queue
            return
        lane.note_requeued(now)
        if queue is None and lane.requeued(now) > MOST_AROUND:
            # so many without a queue of their own should not come round every few minutes
            seconds = max(seconds, min(lane.closed_for(now), REQUEUE_LONGEST))
        self._disposition.requeue(job, seconds, reason, label, queue)

    async def release(self, shard: Shard) -> list[Lane[Job]]:
        """Finish what is under way for the sites of `shard`; returns their lanes, now forgotten.

        What was not begun is let go. Other sites may have mail from that shard, too.
        """
        pools = [pool for pool in self._pools.values() if pool.home is shard]
        self._vacate(shard)
        await asyncio.gather(*(pool.stop(PATIENCE) for pool in pools))
        self._vacate(shard)
        for pool in pools:
            if self._pools.get(pool.lane.key) is pool:
                del self._pools[pool.lane.key]
        gone = set(map(id, pools))
        for domain in [name for name, (_, pool, _) in self._placed.items() if id(pool) in gone]:
            del self._placed[domain]
            self._source_pools.pop(domain, None)
        if self._limit_registry is not None:
            self._limit_registry.release(shard.name)
        return [pool.lane for pool in pools]

    def lost(self, shard: Shard) -> None:
        """The broker has given `shard` to somebody else, perhaps: close its connections."""
        if self._limit_registry is not None:
            self._limit_registry.release(shard.name)
        for pool in self._pools.values():
            if pool.home is shard:
                pool.recycle()
                for job in pool.lane.take_all():
                    pool.release(job)

    def apply_directives(self, lane: Lane[Job]) -> None:
        """The orders for `lane` have changed."""
        pool = self._pools.get(lane.key)
        if pool is not None and pool.lane is lane:
            pool.apply_directives()

    def _vacate(self, shard: Shard) -> None:
        for pool in self._pools.values():
            if pool.home is shard:
                left = pool.lane.take_all()
            else:
                left = pool.lane.shed(0, lambda job: job.shard is shard)
                # elsewhere it would be let go to the lane's shard; here it stays with its own
                for job in left:
                    self._disposition.nack(job)
                continue
            for job in left:
                pool.release(job)
        for domain, jobs in self._asking.items():
            for job in jobs:
                if job.shard is shard:
                    self._disposition.nack(job)
            self._asking[domain] = [job for job in jobs if job.shard is not shard]

    def lanes(self) -> list[Lane[Job]]:
        """All lanes in memory."""
        return [pool.lane for pool in self._pools.values()]

    async def stop(self) -> list[Job]:
        """Let what is under way finish; returns the jobs that were not begun."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        pools = list(self._pools.values())
        self._left += [job for asking in self._asking.values() for job in asking]
        self._asking.clear()
        self._left += [job for pool in pools for job in pool.lane.take_all()]
        await asyncio.gather(*(pool.stop() for pool in pools))
        self._left += [job for pool in pools for job in pool.lane.take_all()]
        return self._left

    async def run(self) -> None:
        """Make room, forget lanes without work, and count. Runs for ever."""
        rounds = 0
        while True:
            due = self._loop.time() + LOOK_EVERY
            await asyncio.sleep(LOOK_EVERY)
            self._late = max(LATE_FADES * self._late, self._loop.time() - due)
            self.make_room()
            if self.backlogs is not None:
                self.backlogs.reconcile()
            rounds += 1
            if rounds % 50 == 0:
                self.sweep()

    def make_room(self) -> None:
        """Where slow lanes fill a shard's place in this process, put most of their mail back.

        Otherwise the shard would stand still until they move: the broker gives nothing more.
        """
        now = self._loop.time()
        for shard in self._shards:
            if shard.load < PRESSURE * shard.capacity:
                continue
            self._make_room_in(shard, now)

    def _make_room_in(self, shard: Shard, now: float) -> None:
        def concerns(job: Job) -> bool:
            return job.shard is shard

        counts = {
            pool: pool.lane.count(concerns)
            for pool in self._pools.values()
            if pool.lane.is_slow(now, LATE_TURNS * self._late)
        }
        keep = fair_level(list(counts.values()), int(SHARE * shard.capacity))
        for pool, count in counts.items():
            lane = pool.lane
            if count <= keep:
                continue
            if count - keep >= MANY and self.backlogs is not None:
                domain = next(iter(self._domains_of(pool)), "")
                if domain and self.backlogs.is_coming(pool, domain):
                    continue  # in a moment they have a better place to wait
            for job in lane.shed(keep, concerns):
                seconds = lane.requeue_delay(now, REQUEUE_LONGEST)
                self.requeue(pool, job, seconds, "lane full", "full")

    def _crowds(self, pool: ConnectionPool, job: Job, now: float) -> bool:
        """Whether `job` has to wait elsewhere, and not only until its lane has a queue for that."""
        lane, shard = pool.lane, job.shard
        if shard.home is not None:
            return False
        patience = LATE_TURNS * self._late
        if not lane.is_crowding(shard.load, shard.capacity, now, job.account, patience=patience):
            return False
        if len(lane) < MANY or self.backlogs is None:
            return True
        return not self.backlogs.is_coming(pool, job.domain)

    def _domains_of(self, pool: ConnectionPool) -> Iterator[str]:
        return (
            domain
            for domain, (_, placed, _) in self._placed.items()
            if placed is pool or placed in pool.siblings
        )

    def sweep(self) -> None:
        """Forget and count."""
        now = self._loop.time()
        waiting = 0
        states = {"idle": 0, "open": 0, "limited": 0, "closed": 0}
        capped = {"cap": 0, "warmup": 0}
        for key, pool in list(self._pools.items()):
            lane = pool.lane
            waiting += len(lane)
            if lane.limits is not None and lane.limits.closed_for() > 0.0:
                capped[lane.limits.kind_closed()] += 1
            if lane.is_idle:
                kept = self.backlogs is not None and self.backlogs.owns(pool)
                if now - lane.used > FORGET_AFTER and not kept:
                    del self._pools[key]
                    continue
                states["idle"] += 1
            elif lane.closed_for(now) > 0.0:
                states["closed"] += 1
            elif lane.controller.effects(now):
                states["limited"] += 1
            else:
                states["open"] += 1
        self._shared = {
            keys: source_pool
            for keys, source_pool in self._shared.items()
            if source_pool.pools[0].lane.key in self._pools
        }
        for state, count in states.items():
            metrics.LANES.labels(state).set(count)
        for kind, count in capped.items():
            metrics.CAPPED.labels(kind).set(count)
        metrics.WAITING.set(waiting)

    async def _ask(self, domain: str) -> None:
        try:
            destination = await self._destinations.find(domain)
        except WireError as error:
            outcome = of_error(error)
            for job in self._asking.pop(domain, []):
                self._disposition.finish(job, [outcome] * len(job.message.recipients), None)
            return
        except Exception as error:  # noqa: BLE001 - the loop must survive; see below
            # whatever a name from outside makes of the look-up, its mail is tried again
            _log.exception("look-up failed", domain=domain)
            for job in self._asking.pop(domain, []):
                self._disposition.requeue(
                    job, 60.0, f"look-up failed: {type(error).__name__}", "dns"
                )
            return
        now = self._loop.time()
        for job in self._asking.pop(domain, []):
            pool = self._pool(domain, destination, job.shard, now)
            self._admit(pool, job, now, destination.requirement)

    def _pool(
        self, domain: str, destination: Destination, shard: Shard, now: float
    ) -> ConnectionPool:
        """The crew for `domain`, whose mail came from `shard`; the first if it has several."""
        home, site = self._home(domain, destination, shard)
        pools = tuple(
            self._pool_from(source, domain, destination, home, site=site, now=now)
            for source in destination.sources
        )
        pool = pools[0]
        if len(pools) > 1:
            keys = tuple(pool.lane.key for pool in pools)
            source_pool = self._shared.get(keys)
            if source_pool is None or source_pool.pools != pools:
                source_pool = self._shared[keys] = make_source_pool(pools)
            self._source_pools[domain] = source_pool
        self._placed[domain] = (now + FRESH_FOR, pool, destination.requirement)
        self._placed.move_to_end(domain)
        if len(self._placed) > MOST_DOMAINS:
            self._source_pools.pop(self._placed.popitem(last=False)[0], None)
        return pool

    def _home(
        self, domain: str, destination: Destination, shard: Shard
    ) -> tuple[Shard | None, str]:
        """The shard whose owner sends to `domain`, and the site as lanes name it.

        All that is counted together has one home: the sites of a provider, the sources of a site.
        """
        site, provider, limit_registry = (
            destination.key.site,
            destination.provider,
            self._limit_registry,
        )
        home: Shard | None = None
        if self._shards:
            if destination.route.spread and not (
                limit_registry is not None and limit_registry.needs_one_home(domain, provider)
            ):
                home = shard.home or shard
                site = f"{site}#{home.name.rpartition('.')[2]}"
            else:
                home = self._shards[zlib.crc32(f"|{provider or site}".encode()) % len(self._shards)]
        return home, site

    def _pool_from(
        self,
        source: Source,
        domain: str,
        destination: Destination,
        home: Shard | None,
        *,
        site: str,
        now: float,
    ) -> ConnectionPool:
        """The crew of the lane from `source`."""
        apart = self._limit_registry is not None and self._limit_registry.is_apart(domain)
        key = LaneKey(source.name, f"{site}/{domain}" if apart else site)
        pool = self._pools.get(key)
        if pool is None:
            route = destination.route
            caps = Caps(
                connections=route.connections or self._caps.connections,
                messages_per_second=route.messages_per_second or self._caps.messages_per_second,
                closed_longest=self._caps.closed_longest,
            )
            lane: Lane[Job] = Lane(key, Controller(caps, now), now)
            lane.provider = destination.provider
            if self._limit_registry is not None:
                lane.limits = self._limit_registry.limits_for(
                    source,
                    "" if home is None else home.name,
                    site=site,
                    provider=destination.provider,
                    domain=domain,
                    usual=Limits(caps.connections, caps.messages_per_second),
                )
            pool = self._pools[key] = self._make_pool(lane, destination.via(source), home)
        pool.destination = destination.via(source)
        pool.lane.used = now
        return pool

    def _admit(
        self, pool: ConnectionPool, job: Job, now: float, requirement: TlsRequirement
    ) -> None:
        if self._source_pools and (source_pool := self._source_pools.get(job.domain)) is not None:
            pool = source_pool.choose(now)
        lane, home = pool.lane, pool.home
        if job.message.requiretls:
            requirement = with_requiretls(requirement)
        job.requirement = requirement
        if requirement is not NOTHING and requirement.binds:
            pool.thorough = True
        if home is not None and not home.is_active and not job.is_at_home:
            pool.release(job)
            return
        if self._pools.get(lane.key) is not pool:
            self._pools[lane.key] = pool  # it had been forgotten
        lane.used = now
        bounce = lane.directives.bounce
        if bounce is not None and job.message.received < bounce.before:
            pool.bounce(job, bounce)
            return
        closed = lane.closed_for(now)
        if closed > HOLD_LONGEST:
            reason = f"delivery suspended: {lane.why_closed(now)}"
            self.requeue(pool, job, min(closed, CLOSED_DELAY), reason, "closed")
            return
        if self._crowds(pool, job, now):
            seconds = lane.requeue_delay(now, REQUEUE_LONGEST)
            self.requeue(pool, job, seconds, "lane full", "full")
            return
        job.since = now
        lane.put(job)
        pool.schedule()
