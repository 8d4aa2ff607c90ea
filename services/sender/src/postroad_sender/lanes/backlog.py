"""Backlogs: a lane that is closed or slow keeps what finds no room in a queue of its own.

There it costs nothing, however much it is and however long it stays. The queue is made when a lane
has sent many messages to the retry tiers, and is noted in the store first, so that whoever owns
the lane next finds it. How what is there comes back is in `backlog_flow`. Where there may be no
more such queues, or the store is away, the retry tiers do.
"""

import asyncio
from collections.abc import Callable

import structlog

from postroad_common.broker import Consumer, DynamicQueues
from postroad_common.broker.topology import Queue, parked_queue
from postroad_common.errors import BrokerAway, StoreAway
from postroad_common.store.backlogs import BacklogRecord, BacklogRecords
from postroad_common.tasks import BackgroundTasks
from postroad_sender.delivery.job import Shard
from postroad_sender.lanes.pool import ConnectionPool

AT_ONCE = 40  # messages of a backlog in memory
ZEROS = 5  # times that a queue seems empty until that is believed
AGAIN_AFTER = 30.0  # seconds after a queue could not be made

_log = structlog.get_logger("backlog")


class Backlog:
    """One lane's. `pool` is None until its destination is known again.

    `oldest` is from when its oldest mail could be delivered, as far as is known (Unix seconds);
    None if there is none.
    """

    def __init__(self, record: BacklogRecord, home: Shard, consumer: Consumer) -> None:
        self.record = record
        self.queue = record.queue
        self.home = home
        self.consumer = consumer
        self.shard = Shard(record.queue, AT_ONCE, consumer, home=home)
        self.pool: ConnectionPool | None = None
        self.started = False  # the consumer was, once
        self.used = 0.0  # when something was last put there or taken
        self.looked = 0.0
        self.consuming = False
        self.busy = False  # something is being done about it
        self.gone = False
        self.sweeping = 0.0  # `before` of the directive that the sweep is for
        self.zeros = 0  # how often it seemed that nothing waited
        self.sweep_until = 0  # `shard.taken` when all that waited then has been taken
        self.oldest = record.oldest
        self.seen = 0  # `shard.taken` when that was looked at

    def note_put(self, began: float) -> None:
        """Mail that could be delivered since `began` (Unix seconds) is put there."""
        self.oldest = began if self.oldest is None else min(self.oldest, began)


class Backlogs:
    """One per process: the lanes that have a queue, by their names. At most `most` of them."""

    def __init__(
        self,
        queues: DynamicQueues,
        records: BacklogRecords,
        make_consumer: Callable[[Queue, int], Consumer],
        *,
        most: int,
    ) -> None:
        self.known: dict[str, Backlog] = {}
        self._make_consumer = make_consumer
        self._queues = queues
        self._records = records
        self._most = most
        self._asked: set[str] = set()
        self._failed_at = -AGAIN_AFTER
        self._tasks = BackgroundTasks("making a backlog")
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self.known)

    def queue_for(self, pool: ConnectionPool, began: float) -> str | None:
        """Return the queue where `pool`'s lane lets messages wait, if it has one.

        One is put there that could be delivered since `began` (Unix seconds).
        """
        lane = str(pool.lane.key)
        backlog = self.known.get(lane)
        if backlog is not None:
            backlog.pool = pool
            if backlog.gone:
                return None
            backlog.used = self._loop.time()
            backlog.note_put(began)
            return backlog.queue
        return None

    def is_coming(self, pool: ConnectionPool, domain: str) -> bool:
        """Ask for a queue for `pool`'s lane. Whether it is being made: not if it is there."""
        lane = str(pool.lane.key)
        if lane in self.known:
            return False
        return self._ask(pool, lane, domain)

    def _ask(self, pool: ConnectionPool, lane: str, domain: str) -> bool:
        home, now = pool.home, self._loop.time()
        if lane in self._asked:
            return True
        if (
            home is None
            or not home.is_active
            or len(self.known) + len(self._asked) >= self._most
            or self._failed_at > now - AGAIN_AFTER
        ):
            return False
        self._asked.add(lane)
        self._tasks.spawn(self._open(pool, lane, domain, home))
        return True

    def add(self, record: BacklogRecord, home: Shard) -> Backlog:
        """Return the backlog in `record`, which is known from here on."""
        if record.lane not in self.known:
            consumer = self._make_consumer(parked_queue(record.lane), AT_ONCE)
            self.known[record.lane] = Backlog(record, home, consumer)
        return self.known[record.lane]

    def owns(self, pool: ConnectionPool) -> bool:
        """Whether the lane of `pool` has a backlog."""
        return str(pool.lane.key) in self.known

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
            backlog = self.add(record, home)
            backlog.pool = pool
            backlog.used = self._loop.time()
            _log.info("backlog opened", lane=lane, queue=queue.name)
        finally:
            self._asked.discard(lane)
            pool.schedule()
