"""Where a job goes: to the lane of its destination, or back to wait if there is no room for it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

import structlog

from postroad_sender import metrics
from postroad_sender.control import Caps, Controller
from postroad_sender.courier import CLOSED_PARK, HOLD_LONGEST, Crew
from postroad_sender.destination import Destination, Destinations
from postroad_sender.endings import Endings
from postroad_sender.job import Job, Shard
from postroad_sender.lane import PRESSURE, SHARE, Lane, LaneKey
from postroad_sender.outcome import of_error
from postroad_sender.stage import WireError

FRESH_FOR = 30.0  # seconds until DNS is asked again where a domain's mail goes
LOOK_EVERY = 0.25  # seconds
FORGET_AFTER = 600.0  # seconds without work
MOST_DOMAINS = 50_000
PARK_LONGEST = 1800.0

_log = structlog.get_logger("dispatch")
MakeCrew = Callable[[Lane[Job], Destination], Crew]


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
    ) -> None:
        self._destinations = destinations
        self._endings = endings
        self._make_crew = make_crew
        self._caps = caps
        self._shards = shards
        self._crews: dict[LaneKey, Crew] = {}
        self._placed: OrderedDict[str, tuple[float, Crew]] = OrderedDict()
        self._asking: dict[str, list[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
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
            self._admit(placed[1], job, now)
            return
        known = self._destinations.known(job.domain)
        if known is not None:
            self._admit(self._crew(job.domain, known, now), job, now)
            return
        asking = self._asking.get(job.domain)
        if asking is not None:
            asking.append(job)
            return
        self._asking[job.domain] = [job]
        task = asyncio.create_task(self._ask(job.domain))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
            await asyncio.sleep(LOOK_EVERY)
            self.make_room()
            rounds += 1
            if rounds % 20 == 0:
                self.look()

    def make_room(self) -> None:
        """Where slow lanes fill a shard's place in this process, put most of their mail back.

        Otherwise the shard would stand still until they move: the broker gives nothing more.
        """
        now = self._loop.time()
        for shard in self._shards:
            if shard.held < PRESSURE * shard.capacity:
                continue
            slow = [crew.lane for crew in self._crews.values() if crew.lane.is_slow(now)]
            for lane in slow:
                keep = max(1, int(SHARE * shard.capacity / len(slow)))
                for job in lane.shed(keep, lambda job, of=shard: job.shard is of):  # type: ignore[misc]
                    self._endings.park(job, lane.park(now, PARK_LONGEST), "lane full", "full")

    def look(self) -> None:
        """Forget and count."""
        now = self._loop.time()
        waiting = 0
        states = {"idle": 0, "open": 0, "limited": 0, "closed": 0}
        for key, crew in list(self._crews.items()):
            lane = crew.lane
            waiting += len(lane)
            if lane.is_idle:
                if now - lane.used > FORGET_AFTER:
                    del self._crews[key]
                    continue
                states["idle"] += 1
            elif lane.controller.closed_for(now) > 0.0:
                states["closed"] += 1
            elif lane.controller.effects(now):
                states["limited"] += 1
            else:
                states["open"] += 1
        for state, count in states.items():
            metrics.LANES.labels(state).set(count)
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
        crew = self._crew(domain, destination, now)
        for job in self._asking.pop(domain, []):
            self._admit(crew, job, now)

    def _crew(self, domain: str, destination: Destination, now: float) -> Crew:
        crew = self._crews.get(destination.key)
        if crew is None:
            route = destination.route
            caps = Caps(
                connections=route.connections or self._caps.connections,
                messages_per_second=route.messages_per_second or self._caps.messages_per_second,
                closed_longest=self._caps.closed_longest,
            )
            lane: Lane[Job] = Lane(destination.key, Controller(caps, now), now)
            crew = self._crews[destination.key] = self._make_crew(lane, destination)
        crew.destination = destination
        self._placed[domain] = (now + FRESH_FOR, crew)
        self._placed.move_to_end(domain)
        if len(self._placed) > MOST_DOMAINS:
            self._placed.popitem(last=False)
        return crew

    def _admit(self, crew: Crew, job: Job, now: float) -> None:
        lane = crew.lane
        if self._crews.get(lane.key) is not crew:
            self._crews[lane.key] = crew  # it had been forgotten
        lane.used = now
        closed = lane.controller.closed_for(now)
        if closed > HOLD_LONGEST:
            reason = f"delivery suspended: {lane.controller.why_closed()}"
            self._endings.park(job, min(closed, CLOSED_PARK), reason, "closed")
            return
        if lane.is_crowding(job.shard.held, job.shard.capacity, now):
            seconds = lane.park(now, PARK_LONGEST)
            self._endings.park(job, seconds, "lane full", "full")
            return
        job.since = now
        lane.put(job)
        crew.kick()
