"""When a slow lane has more messages in this process than other lanes can spare the room for.

The broker brings no more of a shard's messages than fit here. So a lane that does not move must not
fill that room: what it has beyond a fair part waits in a retry tier, or in a queue of its own.
"""

from collections.abc import Iterable, Iterator

from postroad_sender.delivery.job import Job, Shard
from postroad_sender.lanes.backlog import Backlogs
from postroad_sender.lanes.lane import PRESSURE, SHARE, fair_level
from postroad_sender.lanes.pool import ConnectionPool

LATE_FADES = 0.8  # of our own lateness, from one look to the next
LATE_TURNS = 4.0  # a lane that opens a connection and sends waits for its turn about as often
MANY = 25  # messages that are worth waiting until their lane has a queue of its own


class Crowding:
    """One per process."""

    def __init__(self, backlogs: Backlogs | None) -> None:
        self._backlogs = backlogs
        self._late = 0.0  # seconds that this process lately was late for what it wanted to do

    def note_lateness(self, seconds: float) -> None:
        """Take into account that a timer of this process fired `seconds` late."""
        self._late = max(LATE_FADES * self._late, seconds)

    def crowds(self, pool: ConnectionPool, job: Job, now: float) -> bool:
        """Whether `job` has to wait elsewhere, and not only until its lane has a queue for that."""
        lane, shard = pool.lane, job.shard
        if shard.home is not None:
            return False
        if not lane.is_crowding(
            shard.load, shard.capacity, now, job.account, patience=LATE_TURNS * self._late
        ):
            return False
        if len(lane) < MANY or self._backlogs is None:
            return True
        return not self._backlogs.is_coming(pool, job.domain)

    def surplus(
        self, pools: Iterable[ConnectionPool], shard: Shard, now: float
    ) -> Iterator[tuple[ConnectionPool, Job]]:
        """Take what is too much of `shard` out of slow lanes, if its room is nearly full."""
        if shard.load < PRESSURE * shard.capacity:
            return

        def concerns(job: Job) -> bool:
            return job.shard is shard

        counts = {
            pool: pool.lane.count(concerns)
            for pool in pools
            if pool.lane.is_slow(now, LATE_TURNS * self._late)
        }
        keep = fair_level(list(counts.values()), int(SHARE * shard.capacity))
        for pool, count in counts.items():
            if count <= keep:
                continue
            head = pool.lane.head()
            if (
                count - keep >= MANY
                and self._backlogs is not None
                and head is not None
                and self._backlogs.is_coming(pool, head.domain)
            ):
                continue  # in a moment they have a better place to wait
            for job in pool.lane.shed(keep, concerns):
                yield pool, job
