"""How old the mail in backlogs is, for the metrics, without a look at each.

What is put there tells its age, and what is taken from there, in order, how old the rest is at
most. The store keeps that for whoever owns the backlog next.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from postroad_common.broker import DynamicQueues
from postroad_common.errors import BrokerAway, StoreAway
from postroad_common.store.backlogs import BacklogRecords
from postroad_sender import metrics
from postroad_sender.lanes.backlog import ZEROS, Backlog, Backlogs
from postroad_sender.timings import Timings

WORTH_NOTING = 60.0  # seconds that what the store knows may be off

_log = structlog.get_logger("backlog")


class BacklogAges:
    """One per process."""

    def __init__(
        self,
        backlogs: Backlogs,
        queues: DynamicQueues,
        records: BacklogRecords,
        *,
        timings: Timings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._known = backlogs.known
        self._queues = queues
        self._records = records
        self._timings = timings
        self._clock = clock
        self._noted: dict[str, float] = {}  # by queue
        self._zeros = 0  # in a row, of the oldest

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except (BrokerAway, StoreAway) as error:
                _log.debug("ages of backlogs are not known now", error=str(error))
            await asyncio.sleep(self._timings.backlog_every)

    async def look(self) -> None:
        """Set the metrics, and note in the store what has changed.

        Raises:
            BrokerAway, StoreAway: some of it is done the next time.
        """
        for backlog in self._known.values():
            _learn(backlog)
        waiting = {
            backlog.queue: backlog.oldest
            for backlog in self._known.values()
            if backlog.oldest is not None
        }
        metrics.BACKLOGS.set(len(self._known))
        oldest = min(waiting.values(), default=None)
        now = self._clock()
        metrics.BACKLOG_AGE.set(0.0 if oldest is None else max(0.0, now - oldest))
        await self._doubt(oldest)
        await self._note(waiting)

    async def _doubt(self, oldest: float | None) -> None:
        """See whether the oldest is still there: in a closed lane it may have expired."""
        for backlog in self._known.values():
            if oldest is None or backlog.oldest != oldest or backlog.consuming:
                continue
            # RabbitMQ may say so although there is something: see `DynamicQueues.count`
            empty = await self._queues.count(backlog.queue) == 0
            self._zeros = self._zeros + 1 if empty else 0
            if self._zeros >= ZEROS:
                backlog.oldest = None
                self._zeros = 0
            return

    async def _note(self, waiting: dict[str, float]) -> None:
        for queue, oldest in waiting.items():
            if abs(oldest - self._noted.get(queue, 0.0)) > WORTH_NOTING:
                await self._records.note_oldest(queue, oldest)
                self._noted[queue] = oldest
        self._noted = {queue: self._noted[queue] for queue in waiting}


def _learn(backlog: Backlog) -> None:
    """Take what was brought last for the oldest, but in a sweep: there the old goes to the end."""
    shard = backlog.shard
    if shard.taken != backlog.seen and backlog.seen >= backlog.sweep_until:
        backlog.oldest = shard.brought
    backlog.seen = shard.taken
