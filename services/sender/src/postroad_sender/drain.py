"""Giving shards away, one while the process lives and all when it ends, so that nobody notices.

The order is what keeps limits exact: nothing new begins; what is under way ends; its connections
are closed; what was learnt is written down; and only then the broker is told to go to the next.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from postroad_common.errors import StoreAway
from postroad_common.mail.requeue import RequeueReason
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Shard
from postroad_sender.handler import Handler
from postroad_sender.lanes.backlog_flow import BacklogFlow
from postroad_sender.lanes.dispatch import PATIENCE, LaneDispatcher
from postroad_sender.lanes.lane_store import LaneStore

_log = structlog.get_logger("shards")


class Drain:
    """One per process."""

    def __init__(
        self,
        *,
        handler: Handler,
        dispatcher: LaneDispatcher,
        backlogs: BacklogFlow,
        lane_store: LaneStore,
        disposition: Disposition,
        shards: Sequence[Shard],
    ) -> None:
        self._handler = handler
        self._dispatcher = dispatcher
        self._backlogs = backlogs
        self._lane_store = lane_store
        self._disposition = disposition
        self._shards = shards

    async def release(self, shard: Shard) -> None:
        """Let the broker give `shard` to the next in line, and stand in line again."""
        consumer = shard.consumer
        if consumer is None or shard.leaving:
            return
        shard.leaving = True
        try:
            for job in self._handler.take_timed(shard):
                self._disposition.nack(job, RequeueReason.SHARD_MOVED)
            leaving = asyncio.create_task(self._backlogs.release([shard]))
            lanes = await self._dispatcher.release(shard)
            await leaving
            with contextlib.suppress(StoreAway):
                await self._lane_store.save([*lanes, *self._dispatcher.lanes()])
            await consumer.pause(RequeueReason.SHARD_MOVED, PATIENCE)
        finally:
            shard.leaving = False
        await consumer.resume()
        _log.info("shard left", shard=shard.name)

    async def drain(self) -> None:
        """Give all shards away, for good."""
        self._handler.draining = True
        leaving = asyncio.create_task(self._backlogs.release())
        await asyncio.sleep(0)  # from here on, what is left alone goes back to the queue
        jobs = self._handler.take_timed() + await self._dispatcher.stop()
        for job in jobs:
            self._disposition.nack(job, RequeueReason.DRAIN)
        _log.info("requeued", requeue=RequeueReason.DRAIN, messages=len(jobs))
        await leaving
        await self._handler.finished()
        await self._disposition.committed()
        with contextlib.suppress(StoreAway):
            await self._lane_store.save(self._dispatcher.lanes())
        consumers = [shard.consumer for shard in self._shards if shard.consumer is not None]
        await asyncio.gather(*(consumer.stop() for consumer in consumers))
