"""Backlogs: a lane that is closed or slow keeps what finds no room in a queue of its own.

There it costs nothing, however much it is and however long it stays. The queue is made when a lane
has sent many messages to the waiting rooms, and is noted in the store first, so that whoever owns
the lane next finds it. While the lane is open, the queue is consumed at the lane's speed; empty for
a while, it is deleted. Where there may be no more such queues, or the store is away, the waiting
rooms do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from postroad_common.broker import Consumer, SpareQueues
from postroad_common.broker.topology import Queue, parked_queue
from postroad_common.errors import BrokerAway, StoreAway
from postroad_common.store.backlogs import BacklogRecord, BacklogRecords
from postroad_sender import metrics
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.lanes.directives import Bounce
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.worker import HOLD_LONGEST, ConnectionPool

WORTH_A_QUEUE = 100.0  # messages of a lane in the waiting rooms
AT_ONCE = 40  # messages of a backlog in memory
AGAIN_AFTER = 30.0  # seconds after a queue could not be made
EMPTY_FOR = 30.0  # seconds until its queue is deleted
LOOK_EVERY = 5.0  # seconds between looks at queues and records
PATIENCE = 20.0  # seconds for messages under way when a backlog is left
ZEROS = 5  # times that a queue seems empty until that is believed

_log = structlog.get_logger("backlog")


class Backlog:
    """One lane's. `pool` is None until its destination is known again."""

    def __init__(self, record: BacklogRecord, home: Shard) -> None:
        self.record = record
        self.queue = parked_queue(record.lane)
        self.home = home
        self.shard = Shard(self.queue.name, AT_ONCE, home=home)
        self.pool: ConnectionPool | None = None
        self.consumer: Consumer | None = None
        self.used = 0.0  # when something was last put there or taken
        self.looked = 0.0
        self.consuming = False
        self.busy = False  # something is being done about it
        self.gone = False
        self.sweeping = 0.0  # the time of the order that the next line is about
        self.zeros = 0  # how often it seemed that nothing waited
        self.sweep_until = 0  # `shard.taken` when all that waited at that order has been taken


class Backlogs:
    """One per process. `find` leads from a domain to its crew; `consume` makes a consumer."""

    def __init__(
        self,
        queues: SpareQueues,
        records: BacklogRecords,
        *,
        shards: Mapping[str, Shard],
        find: Callable[[str, Shard], Awaitable[ConnectionPool | None]],
        consume: Callable[[Queue, Shard], Consumer],
        most: int,
    ) -> None:
        self._queues = queues
        self._records = records
        self._shards = shards
        self._find = find
        self._consume = consume
        self._most = most
        self._known: dict[str, Backlog] = {}  # by lane
        self._asked: set[str] = set()
        self._failed_at = -AGAIN_AFTER
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._known)

    def queue_for(self, pool: ConnectionPool) -> str | None:
        """The queue where `pool`'s lane lets messages wait, if it has one."""
        lane = str(pool.lane.key)
        backlog = self._known.get(lane)
        if backlog is not None:
            backlog.pool = pool
            if backlog.gone:
                return None
            backlog.used = self._loop.time()
            return backlog.queue.name
        return None

    def is_coming(self, pool: ConnectionPool, domain: str) -> bool:
        """Ask for a queue for `pool`'s lane. Whether it is being made: not if it is there."""
        lane = str(pool.lane.key)
        if lane in self._known:
            return False
        return self._ask(pool, lane, domain)

    def _ask(self, pool: ConnectionPool, lane: str, domain: str) -> bool:
        home, now = pool.home, self._loop.time()
        if lane in self._asked:
            return True
        if (
            home is None
            or not home.is_active
            or len(self._known) + len(self._asked) >= self._most
            or self._failed_at > now - AGAIN_AFTER
        ):
            return False
        self._asked.add(lane)
        self._spawn(self._open(pool, lane, domain, home))
        return True

    def owns(self, pool: ConnectionPool) -> bool:
        """Whether the lane of `pool` has a backlog."""
        return str(pool.lane.key) in self._known

    def reconcile(self) -> None:
        """Let backlogs flow while their lanes are open, and stop them when not. Cheap."""
        now = self._loop.time()
        for backlog in self._known.values():
            if backlog.busy:
                continue
            if not backlog.home.is_active:
                if backlog.consuming:
                    self._start(backlog, self._suspend(backlog))
                continue
            pool = backlog.pool
            if pool is None:
                if now - backlog.looked > LOOK_EVERY:
                    backlog.looked = now
                    self._start(backlog, self._find_pool(backlog))
                continue
            closed = pool.closed_for(now)
            bounce = pool.lane.directives.bounce
            sweeps = bounce is not None and self._sweeps(backlog, pool.lane, bounce)
            if sweeps and bounce is not None and backlog.sweeping != bounce.before:
                self._start(backlog, self._begin_sweep(backlog, bounce))
            elif backlog.consuming and closed > HOLD_LONGEST and not sweeps:
                self._start(backlog, self._suspend(backlog))
            elif not backlog.consuming and (closed <= 0.0 or sweeps):
                self._start(backlog, self._resume(backlog))
            elif backlog.consuming and now - backlog.looked > LOOK_EVERY:
                backlog.looked = now
                self._start(backlog, self._delete_if_empty(backlog))

    async def discover(self) -> None:
        """Find the backlogs of the shards that this process owns. Raises StoreAway."""
        homes = [name for name, shard in self._shards.items() if shard.is_active]
        if not homes:
            return
        for record in await self._records.of_shards(homes):
            home = self._shards[record.home]
            if record.lane not in self._known and home.is_active:
                self._known[record.lane] = Backlog(record, home)
                _log.info("backlog found", lane=record.lane, queue=record.queue)
        metrics.BACKLOGS.set(len(self._known))

    async def run(self) -> None:
        """Discover, for ever."""
        while True:
            try:
                await self.discover()
            except StoreAway as error:
                _log.info("backlogs of others are not known now", error=str(error))
            await asyncio.sleep(LOOK_EVERY)

    async def release(self, homes: Iterable[Shard] | None = None) -> None:
        """Leave the backlogs of `homes` (of all) to whoever owns them next."""
        wanted = None if homes is None else set(homes)
        leaving = [
            lane
            for lane, backlog in self._known.items()
            if wanted is None or backlog.home in wanted
        ]
        await asyncio.gather(*(self._end(self._known.pop(lane)) for lane in leaving))

    # -- inside

    def _sweeps(self, backlog: Backlog, lane: Lane[Job], bounce: Bounce) -> bool:
        """Whether it may hold mail that was ordered to bounce.

        That is taken even from the backlog of a closed lane. What else is met there goes back, so
        it is over when as many messages were taken as waited at the order.
        """
        if lane.swept >= bounce.before:
            return False
        if backlog.sweeping == bounce.before and backlog.shard.taken >= backlog.sweep_until:
            _log.info("backlog swept", lane=str(lane.key), before=bounce.before)
            lane.swept = bounce.before
            return False
        return True

    async def _begin_sweep(self, backlog: Backlog, bounce: Bounce) -> None:
        waiting = await self._queues.count(backlog.queue.name)
        if waiting == 0 and backlog.zeros < ZEROS:
            backlog.zeros += 1  # perhaps the broker does not know; ask again
            return
        backlog.zeros = 0
        backlog.sweep_until = backlog.shard.taken + (waiting or 0)
        backlog.sweeping = bounce.before

    async def _open(self, pool: ConnectionPool, lane: str, domain: str, home: Shard) -> None:
        queue = parked_queue(lane)
        record = BacklogRecord(queue.name, lane, domain, home.name)
        try:
            await self._records.put(record)
            await self._queues.declare(queue)
        except (StoreAway, BrokerAway) as error:
            self._failed_at = self._loop.time()
            _log.info("no queue for a backlog now", lane=lane, error=str(error))
        else:
            backlog = Backlog(record, home)
            backlog.pool = pool
            backlog.used = self._loop.time()
            self._known.setdefault(lane, backlog)
            _log.info("backlog opened", lane=lane, queue=queue.name)
        finally:
            self._asked.discard(lane)
            pool.schedule()

    async def _find_pool(self, backlog: Backlog) -> None:
        """Find out where its mail goes; the queue may be gone, if its owner died at that moment."""
        if await self._queues.count(backlog.queue.name) is None:
            await self._forget(backlog)
            return
        pool = await self._find(backlog.record.domain, backlog.home)
        if pool is not None:
            lane = backlog.record.lane
            pool = next((one for one in pool.siblings if str(one.lane.key) == lane), pool)
        backlog.pool = pool

    async def _resume(self, backlog: Backlog) -> None:
        backlog.consuming = True
        backlog.looked = backlog.used = self._loop.time()
        if backlog.consumer is None:
            backlog.consumer = backlog.shard.consumer = self._consume(backlog.queue, backlog.shard)
            await backlog.consumer.start()
        else:
            await backlog.consumer.resume()

    async def _suspend(self, backlog: Backlog) -> None:
        backlog.consuming = False
        if backlog.consumer is not None:
            await backlog.consumer.pause(PATIENCE)

    async def _delete_if_empty(self, backlog: Backlog) -> None:
        """Delete the queue if nothing has been there for a while."""
        consumer = backlog.consumer
        now = self._loop.time()
        name = backlog.queue.name
        if consumer is None or consumer.under_way or not await self._queues.is_worked_off(name):
            backlog.used = now
            return
        backlog.sweep_until = 0  # whatever was counted there
        if now - backlog.used < EMPTY_FOR:
            return
        backlog.gone = True  # nothing is put there from here on
        await self._suspend(backlog)
        if await self._queues.delete_empty(backlog.queue.name):
            await self._forget(backlog)
        else:
            backlog.gone = False

    async def _forget(self, backlog: Backlog) -> None:
        if self._known.get(backlog.record.lane) is backlog:
            del self._known[backlog.record.lane]
        if backlog.consumer is not None:
            await backlog.consumer.stop()
        await self._records.remove(backlog.queue.name)
        _log.info("backlog over", lane=backlog.record.lane, queue=backlog.queue.name)

    async def _end(self, backlog: Backlog) -> None:
        backlog.gone = True
        backlog.consuming = False
        if backlog.consumer is not None:
            await backlog.consumer.pause(PATIENCE)
            await backlog.consumer.stop()

    def _start(self, backlog: Backlog, work: Awaitable[None]) -> None:
        backlog.busy = True

        async def act() -> None:
            try:
                await work
            except (BrokerAway, StoreAway) as error:
                backlog.gone = False
                _log.info("backlog left as it is", lane=backlog.record.lane, error=str(error))
            finally:
                backlog.busy = False

        self._spawn(act())

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a backlog was not tended", exc_info=task.exception())
