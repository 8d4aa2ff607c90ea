"""What waits to be posted to end points, for the metrics: looked at now and then."""

import time

from postroad_common.store.outbox import Outbox
from postroad_feedback import metrics

LOOK_SECONDS = 15.0
_MOST = 100_000


async def measure_backlog(outbox: Outbox) -> None:
    """Set the metrics of the webhook backlog.

    Raises:
        StoreAway: they keep the values of the last look.
    """
    found = await outbox.backlog(time.time(), _MOST)
    metrics.BACKLOG.set(found.waiting)
    metrics.BACKLOG_AGE.set(found.overdue_seconds)
    metrics.RESTING.set(found.resting)
