"""Looks at the queues now and then, for the metrics: what waits, and whether anybody takes it.

RabbitMQ has these numbers too, for each queue; here they stand with the other metrics, and the
backlogs of lanes, whose queues come and go, are one. Each replica looks: take the maximum.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import structlog

from postroad_common.broker.depths import QueueDepth, QueueDepths
from postroad_common.broker.topology import BACKLOGS, QUEUES, SHARD_QUEUES, parked_queue
from postroad_common.errors import Transient
from postroad_common.metrics import gauge
from postroad_common.store.backlogs import BacklogRecords

LOOK_SECONDS = 10.0
_MOST_BACKLOGS = 1000
_NAMES = (*(queue.label for queue in QUEUES), BACKLOGS)
_MESSAGES = gauge(
    "postroad_queue_messages",
    "AMQP messages that are ready in a queue; one of `transformer.accepted` may be several mails. "
    "`sender.parked` are the backlogs of all lanes together",
    {"queue": _NAMES},
)
_CONSUMERS = gauge("postroad_queue_consumers", "Consumers of a queue", {"queue": _NAMES})
_BACKLOGS = gauge("postroad_backlog_queues", "Lanes that have a queue of their own")
_log = structlog.get_logger(__name__)


class QueueWatch:
    """One per process."""

    def __init__(self, depths: QueueDepths, backlogs: BacklogRecords) -> None:
        self._depths = depths
        self._backlogs = backlogs

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except Transient as error:
                _log.debug("queues not looked at", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.9, 1.1))

    async def look(self) -> None:
        """Set the metrics.

        Raises:
            BrokerAway, StoreAway: some keep the values of the last look.
        """
        for depth in await self._depths.all():
            _MESSAGES.labels(depth.name).set(depth.ready or 0)
            _CONSUMERS.labels(depth.name).set(depth.consumers or 0)
        found = await self._parked()
        _BACKLOGS.set(len(found))
        _MESSAGES.labels(BACKLOGS).set(sum(depth.ready or 0 for depth in found))
        _CONSUMERS.labels(BACKLOGS).set(sum(depth.consumers or 0 for depth in found))

    async def _parked(self) -> Sequence[QueueDepth]:
        records = await self._backlogs.of_shards(queue.name for queue in SHARD_QUEUES)
        model = parked_queue("")
        queues = [replace(model, name=record.queue) for record in records[:_MOST_BACKLOGS]]
        return [depth for depth in await self._depths.of(queues) if depth.ready is not None]
