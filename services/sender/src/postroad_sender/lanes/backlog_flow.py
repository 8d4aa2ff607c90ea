"""How backlogs come back: consumed while their lanes are open, left alone while they are not.

The queue of a lane is consumed at the lane's speed; empty for a while, it is deleted. Only the
owner of the lane's shard touches it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

import structlog

from postroad_common.broker import DynamicQueues
from postroad_common.errors import BrokerAway, StoreAway
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.lanes import BounceDirective
from postroad_common.store.backlogs import BacklogRecords
from postroad_common.tasks import BackgroundTasks
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.lanes.backlog import ZEROS, Backlog, Backlogs
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import HOLD_LONGEST, ConnectionPool
from postroad_sender.timings import Timings

RECONCILE_EVERY = 0.1  # seconds
PATIENCE = 20.0  # seconds for messages under way when a backlog is left

_log = structlog.get_logger("backlog")


class BacklogFlow:
    """One per process. `find` leads from a domain to its pool; `begin` starts a consumer."""

    def __init__(
        self,
        backlogs: Backlogs,
        queues: DynamicQueues,
        records: BacklogRecords,
        *,
        shards: Mapping[str, Shard],
        find: Callable[[str, Shard], Awaitable[ConnectionPool | None]],
        begin: Callable[[Shard], Awaitable[None]],
        timings: Timings,
    ) -> None:
        self._backlogs = backlogs
        self._known = backlogs.known
        self._queues = queues
        self._records = records
        self._shards = shards
        self._find = find
        self._begin = begin
        self._timings = timings
        self._tasks = BackgroundTasks("moving a backlog")
        self._loop = asyncio.get_running_loop()

    def reconcile(self) -> None:
        """Let backlogs flow while their lanes are open, and stop them when not. Cheap."""
        now = self._loop.time()
        for backlog in self._known.values():
            if backlog.busy:
                continue
            if not backlog.home.is_active:
                if backlog.consuming:
                    self._start(backlog, self._suspend(backlog, RequeueReason.SHARD_MOVED))
                continue
            pool = backlog.pool
            if pool is None:
                if now - backlog.looked > self._timings.backlog_every:
                    backlog.looked = now
                    self._start(backlog, self._find_pool(backlog))
                continue
            closed = pool.closed_for(now)
            bounce = pool.lane.directives.bounce
            sweeps = bounce is not None and self._sweeps(backlog, pool.lane, bounce)
            if sweeps and bounce is not None and backlog.sweeping != bounce.before:
                self._start(backlog, self._begin_sweep(backlog, bounce))
            elif backlog.consuming and closed > HOLD_LONGEST and not sweeps:
                self._start(backlog, self._suspend(backlog, pool.lane.requeue_reason(now)))
            elif not backlog.consuming and (closed <= 0.0 or sweeps):
                self._start(backlog, self._resume(backlog))
            elif backlog.consuming and now - backlog.looked > self._timings.backlog_every:
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
                backlog = self._backlogs.add(record, home)
                backlog.oldest = backlog.oldest or time.time()
                _log.info("backlog found", lane=record.lane, queue=record.queue)

    async def run(self) -> None:
        """Discover backlogs and let them flow, for ever."""
        discovered = self._loop.time() - self._timings.backlog_every
        while True:
            if self._loop.time() - discovered >= self._timings.backlog_every:
                discovered = self._loop.time()
                try:
                    await self.discover()
                except StoreAway as error:
                    _log.info("backlogs of others are not known now", error=str(error))
            self.reconcile()
            await asyncio.sleep(RECONCILE_EVERY)

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

    def _sweeps(self, backlog: Backlog, lane: Lane[Job], bounce: BounceDirective) -> bool:
        """Whether it may hold mail that is to bounce.

        That is taken even from the backlog of a closed lane. What else is met there goes back, so
        it is over when as many messages were taken as waited when it was directed.
        """
        if lane.swept >= bounce.before:
            return False
        if backlog.sweeping == bounce.before and backlog.shard.taken >= backlog.sweep_until:
            _log.info("backlog swept", lane=str(lane.key), before=bounce.before)
            lane.swept = bounce.before
            return False
        return True

    async def _begin_sweep(self, backlog: Backlog, bounce: BounceDirective) -> None:
        waiting = await self._queues.count(backlog.queue)
        if waiting == 0 and backlog.zeros < ZEROS:
            backlog.zeros += 1  # perhaps the broker does not know; ask again
            return
        backlog.zeros = 0
        backlog.sweep_until = backlog.shard.taken + (waiting or 0)
        backlog.sweeping = bounce.before

    async def _find_pool(self, backlog: Backlog) -> None:
        """Find out where its mail goes; the queue may be gone, if its owner died at that moment."""
        if await self._queues.count(backlog.queue) is None:
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
        if backlog.started:
            await backlog.consumer.resume()
        else:
            backlog.started = True
            await self._begin(backlog.shard)

    async def _suspend(self, backlog: Backlog, reason: RequeueReason) -> None:
        backlog.consuming = False
        if backlog.started:
            await backlog.consumer.pause(reason, PATIENCE)

    async def _delete_if_empty(self, backlog: Backlog) -> None:
        """Delete the queue if nothing has been there for a while."""
        consumer = backlog.consumer
        now = self._loop.time()
        name = backlog.queue
        if not backlog.started or consumer.under_way or not await self._queues.is_worked_off(name):
            backlog.used = now
            return
        backlog.sweep_until = 0  # whatever was counted there
        backlog.oldest = None
        if now - backlog.used < self._timings.backlog_empty_for:
            return
        backlog.gone = True  # nothing is put there from here on
        await self._suspend(backlog, RequeueReason.LANE_CLOSED)
        if await self._queues.delete_empty(backlog.queue):
            await self._forget(backlog)
        else:
            backlog.gone = False

    async def _forget(self, backlog: Backlog) -> None:
        if self._known.get(backlog.record.lane) is backlog:
            del self._known[backlog.record.lane]
        await backlog.consumer.stop()
        await self._records.remove(backlog.queue)
        _log.info("backlog over", lane=backlog.record.lane, queue=backlog.queue)

    async def _end(self, backlog: Backlog) -> None:
        backlog.gone = True
        backlog.consuming = False
        if backlog.started:
            await backlog.consumer.pause(RequeueReason.SHARD_MOVED, PATIENCE)
        await backlog.consumer.stop()

    def _start(self, backlog: Backlog, work: Coroutine[Any, Any, None]) -> None:
        backlog.busy = True

        async def act() -> None:
            try:
                await work
            except (BrokerAway, StoreAway) as error:
                backlog.gone = False
                _log.info("backlog left as it is", lane=backlog.record.lane, error=str(error))
            finally:
                backlog.busy = False

        self._tasks.spawn(act())
