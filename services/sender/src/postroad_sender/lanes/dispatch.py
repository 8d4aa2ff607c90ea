"""Where a job goes: to the lane of its destination, or back to wait if there is no room for it."""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import structlog

from postroad_sender import metrics
from postroad_sender.connect.destination import Destination, Destinations
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.delivery.disposition import Endings
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import of_error
from postroad_sender.lanes.backlog import WORTH_A_QUEUE, Backlogs
from postroad_sender.lanes.lane import FEW, PRESSURE, SHARE, Lane, fair_level
from postroad_sender.lanes.source_pool import Team, team_of
from postroad_sender.lanes.worker import CLOSED_PARK, HOLD_LONGEST, Crew
from postroad_sender.limits.caps import Limits
from postroad_sender.limits.registry import Gates
from postroad_sender.routes.sources import Source
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.tls.requirement import NOTHING, Demand, with_requiretls
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
PARK_LONGEST = 1800.0
PATIENCE = 20.0  # seconds that transactions under way are waited for when a shard is let go

_log = structlog.get_logger("dispatch")
MakeCrew = Callable[[Lane[Job], Destination, Shard | None], Crew]


class Dispatcher:
    """All lanes of this process."""

    def __init__(
        self,
        destinations: Destinations,
        endings: Endings,
        make_crew: MakeCrew,
        *,
        caps: Caps,
        shards: Sequence[Shard] = (),
        gates: Gates | None = None,
    ) -> None:
        self._destinations = destinations
        self._endings = endings
        self._make_crew = make_crew
        self._caps = caps
        self._shards = shards
        self._gates = gates
        self.backlogs: Backlogs | None = None
        self._crews: dict[LaneKey, Crew] = {}
        self._placed: OrderedDict[str, tuple[float, Crew, Demand]] = OrderedDict()
        self._teams: dict[str, Team] = {}
        self._shared: dict[tuple[LaneKey, ...], Team] = {}
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
            crew = self._crew(job.domain, known, job.shard, now)
            self._admit(crew, job, now, known.demand)
            return
        asking = self._asking.get(job.domain)
        if asking is not None:
            shard = job.shard
            if len(asking) > max(FEW, SHARE * (shard.capacity - shard.load)):
                self._endings.park(job, ASK_AGAIN, "look-up not done yet", "dns")
            else:
                asking.append(job)
            return
        self._asking[job.domain] = [job]
        task = asyncio.create_task(self._ask(job.domain))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def find(self, domain: str, home: Shard) -> Crew | None:
        """The crew that mail for `domain` goes to; None while that is not known."""
        try:
            destination = await self._destinations.find(domain)
        except WireError as error:
            _log.info("destination not known", domain=domain, error=str(error))
            return None
        return self._crew(domain, destination, home, self._loop.time())

    def park(self, crew: Crew, job: Job, seconds: float, reason: str, label: str) -> None:
        """Let `job` wait outside of this process: no attempt is made."""
        lane, backlogs = crew.lane, self.backlogs
        now = self._loop.time()
        if label == "closed" and (team := self._teams.get(job.domain)) is not None:
            other = team.choose(now)
            if other.lane.closed_for(now) <= 0.0:
                self._admit(other, job, now, job.demand)
                return
        queue = None if backlogs is None else backlogs.queue_for(crew)
        if (
            backlogs is not None
            and queue is None
            and not self._stopping
            and lane.parked(now) >= WORTH_A_QUEUE
            and backlogs.is_coming(crew, job.domain)
        ):
            lane.put(job)  # for a moment, until there is the queue
            return
        lane.note_parked(now)
        if queue is None and lane.parked(now) > MOST_AROUND:
            # so many without a queue of their own should not come round every few minutes
            seconds = max(seconds, min(lane.closed_for(now), PARK_LONGEST))
        self._endings.park(job, seconds, reason, label, queue)

    async def release(self, shard: Shard) -> list[Lane[Job]]:
        """Finish what is under way for the sites of `shard`; returns their lanes, now forgotten.

        What was not begun is let go. Other sites may have mail from that shard, too.
        """
        crews = [crew for crew in self._crews.values() if crew.home is shard]
        self._vacate(shard)
        await asyncio.gather(*(crew.stop(PATIENCE) for crew in crews))
        self._vacate(shard)
        for crew in crews:
            if self._crews.get(crew.lane.key) is crew:
                del self._crews[crew.lane.key]
        gone = set(map(id, crews))
        for domain in [name for name, (_, crew, _) in self._placed.items() if id(crew) in gone]:
            del self._placed[domain]
            self._teams.pop(domain, None)
        if self._gates is not None:
            self._gates.let_go(shard.name)
        return [crew.lane for crew in crews]

    def lost(self, shard: Shard) -> None:
        """The broker has given `shard` to somebody else, perhaps: close its connections."""
        if self._gates is not None:
            self._gates.let_go(shard.name)
        for crew in self._crews.values():
            if crew.home is shard:
                crew.recycle()
                for job in crew.lane.take_all():
                    crew.let_go(job)

    def heed(self, lane: Lane[Job]) -> None:
        """The orders for `lane` have changed."""
        crew = self._crews.get(lane.key)
        if crew is not None and crew.lane is lane:
            crew.heed()

    def _vacate(self, shard: Shard) -> None:
        for crew in self._crews.values():
            if crew.home is shard:
                left = crew.lane.take_all()
            else:
                left = crew.lane.shed(0, lambda job: job.shard is shard)
                # elsewhere it would be let go to the lane's shard; here it stays with its own
                for job in left:
                    self._endings.leave(job)
                continue
            for job in left:
                crew.let_go(job)
        for domain, jobs in self._asking.items():
            for job in jobs:
                if job.shard is shard:
                    self._endings.leave(job)
            self._asking[domain] = [job for job in jobs if job.shard is not shard]

    def lanes(self) -> list[Lane[Job]]:
        """All lanes in memory."""
        return [crew.lane for crew in self._crews.values()]

    async def stop(self) -> list[Job]:
        """Let what is under way finish; returns the jobs that were not begun."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        crews = list(self._crews.values())
        self._left += [job for asking in self._asking.values() for job in asking]
        self._asking.clear()
        self._left += [job for crew in crews for job in crew.lane.take_all()]
        await asyncio.gather(*(crew.stop() for crew in crews))
        self._left += [job for crew in crews for job in crew.lane.take_all()]
        return self._left

    async def watch(self) -> None:
        """Make room, forget lanes without work, and count. Runs for ever."""
        rounds = 0
        while True:
            due = self._loop.time() + LOOK_EVERY
            await asyncio.sleep(LOOK_EVERY)
            self._late = max(LATE_FADES * self._late, self._loop.time() - due)
            self.make_room()
            if self.backlogs is not None:
                self.backlogs.tend()
            rounds += 1
            if rounds % 50 == 0:
                self.look()

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
            crew: crew.lane.count(concerns)
            for crew in self._crews.values()
            if crew.lane.is_slow(now, LATE_TURNS * self._late)
        }
        keep = fair_level(list(counts.values()), int(SHARE * shard.capacity))
        for crew, count in counts.items():
            lane = crew.lane
            if count <= keep:
                continue
            if count - keep >= MANY and self.backlogs is not None:
                domain = next(iter(self._domains_of(crew)), "")
                if domain and self.backlogs.is_coming(crew, domain):
                    continue  # in a moment they have a better place to wait
            for job in lane.shed(keep, concerns):
                seconds = lane.park(now, PARK_LONGEST)
                self.park(crew, job, seconds, "lane full", "full")

    def _crowds(self, crew: Crew, job: Job, now: float) -> bool:
        """Whether `job` has to wait elsewhere, and not only until its lane has a queue for that."""
        lane, shard = crew.lane, job.shard
        if shard.home is not None:
            return False
        patience = LATE_TURNS * self._late
        if not lane.is_crowding(shard.load, shard.capacity, now, job.account, patience=patience):
            return False
        if len(lane) < MANY or self.backlogs is None:
            return True
        return not self.backlogs.is_coming(crew, job.domain)

    def _domains_of(self, crew: Crew) -> Iterator[str]:
        return (
            domain
            for domain, (_, placed, _) in self._placed.items()
            if placed is crew or placed in crew.siblings
        )

    def look(self) -> None:
        """Forget and count."""
        now = self._loop.time()
        waiting = 0
        states = {"idle": 0, "open": 0, "limited": 0, "closed": 0}
        capped = {"cap": 0, "warmup": 0}
        for key, crew in list(self._crews.items()):
            lane = crew.lane
            waiting += len(lane)
            if lane.bounds is not None and lane.bounds.closed_for() > 0.0:
                capped[lane.bounds.kind_closed()] += 1
            if lane.is_idle:
                kept = self.backlogs is not None and self.backlogs.owns(crew)
                if now - lane.used > FORGET_AFTER and not kept:
                    del self._crews[key]
                    continue
                states["idle"] += 1
            elif lane.closed_for(now) > 0.0:
                states["closed"] += 1
            elif lane.controller.effects(now):
                states["limited"] += 1
            else:
                states["open"] += 1
        self._shared = {
            keys: team
            for keys, team in self._shared.items()
            if team.crews[0].lane.key in self._crews
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
                self._endings.finish(job, [outcome] * len(job.message.recipients), None)
            return
        except Exception as error:  # noqa: BLE001 - the loop must survive; see below
            # whatever a name from outside makes of the look-up, its mail is tried again
            _log.exception("look-up failed", domain=domain)
            for job in self._asking.pop(domain, []):
                self._endings.park(job, 60.0, f"look-up failed: {type(error).__name__}", "dns")
            return
        now = self._loop.time()
        for job in self._asking.pop(domain, []):
            crew = self._crew(domain, destination, job.shard, now)
            self._admit(crew, job, now, destination.demand)

    def _crew(self, domain: str, destination: Destination, shard: Shard, now: float) -> Crew:
        """The crew for `domain`, whose mail came from `shard`; the first if it has several."""
        home, site = self._home(domain, destination, shard)
        crews = tuple(
            self._crew_from(source, domain, destination, home, site=site, now=now)
            for source in destination.sources
        )
        crew = crews[0]
        if len(crews) > 1:
            keys = tuple(crew.lane.key for crew in crews)
            team = self._shared.get(keys)
            if team is None or team.crews != crews:
                team = self._shared[keys] = team_of(crews)
            self._teams[domain] = team
        self._placed[domain] = (now + FRESH_FOR, crew, destination.demand)
        self._placed.move_to_end(domain)
        if len(self._placed) > MOST_DOMAINS:
            self._teams.pop(self._placed.popitem(last=False)[0], None)
        return crew

    def _home(
        self, domain: str, destination: Destination, shard: Shard
    ) -> tuple[Shard | None, str]:
        """The shard whose owner sends to `domain`, and the site as lanes name it.

        All that is counted together has one home: the sites of a provider, the sources of a site.
        """
        site, provider, gates = destination.key.site, destination.provider, self._gates
        home: Shard | None = None
        if self._shards:
            if destination.route.spread and not (
                gates is not None and gates.needs_one_home(domain, provider)
            ):
                home = shard.home or shard
                site = f"{site}#{home.name.rpartition('.')[2]}"
            else:
                home = self._shards[zlib.crc32(f"|{provider or site}".encode()) % len(self._shards)]
        return home, site

    def _crew_from(
        self,
        source: Source,
        domain: str,
        destination: Destination,
        home: Shard | None,
        *,
        site: str,
        now: float,
    ) -> Crew:
        """The crew of the lane from `source`."""
        apart = self._gates is not None and self._gates.is_apart(domain)
        key = LaneKey(source.name, f"{site}/{domain}" if apart else site)
        crew = self._crews.get(key)
        if crew is None:
            route = destination.route
            caps = Caps(
                connections=route.connections or self._caps.connections,
                messages_per_second=route.messages_per_second or self._caps.messages_per_second,
                closed_longest=self._caps.closed_longest,
            )
            lane: Lane[Job] = Lane(key, Controller(caps, now), now)
            lane.provider = destination.provider
            if self._gates is not None:
                lane.bounds = self._gates.bounds(
                    source,
                    "" if home is None else home.name,
                    site=site,
                    provider=destination.provider,
                    domain=domain,
                    usual=Limits(caps.connections, caps.messages_per_second),
                )
            crew = self._crews[key] = self._make_crew(lane, destination.via(source), home)
        crew.destination = destination.via(source)
        crew.lane.used = now
        return crew

    def _admit(self, crew: Crew, job: Job, now: float, demand: Demand) -> None:
        if self._teams and (team := self._teams.get(job.domain)) is not None:
            crew = team.choose(now)
        lane, home = crew.lane, crew.home
        if job.message.requiretls:
            demand = with_requiretls(demand)
        job.demand = demand
        if demand is not NOTHING and demand.binds:
            crew.thorough = True
        if home is not None and not home.is_active and not job.settled:
            crew.let_go(job)
            return
        if self._crews.get(lane.key) is not crew:
            self._crews[lane.key] = crew  # it had been forgotten
        lane.used = now
        bounce = lane.orders.bounce
        if bounce is not None and job.message.received < bounce.before:
            crew.bounce(job, bounce)
            return
        closed = lane.closed_for(now)
        if closed > HOLD_LONGEST:
            reason = f"delivery suspended: {lane.why_closed(now)}"
            self.park(crew, job, min(closed, CLOSED_PARK), reason, "closed")
            return
        if self._crowds(crew, job, now):
            seconds = lane.park(now, PARK_LONGEST)
            self.park(crew, job, seconds, "lane full", "full")
            return
        job.since = now
        lane.put(job)
        crew.kick()
