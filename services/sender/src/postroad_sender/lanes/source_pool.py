"""Source pools: the lanes of one site from several sources, and which gets the next message.

Sources take turns by their weight. One that is closed or used up for today is passed over while
another is open; one whose warm-up goes down gets less, one that cannot keep up gets less, too.
"""

import random
from collections.abc import Sequence

from postroad_sender.lanes.pool import ConnectionPool

SPARING = 0.05  # of its weight, for a source with next to nothing left today
CROWD = 8  # messages that may wait in a lane whatever its speed


class SourcePool:
    """The pools of one site, one for each source of a pool; all have the same home."""

    def __init__(self, pools: Sequence[ConnectionPool]) -> None:
        self.pools = tuple(pools)
        # at sites with one message each, the first choices alone are to go by the weights
        self._turns = [random.expovariate(_weight(pool)) for pool in self.pools]
        self._now = 0.0  # the turn that was given last

    def choose(self, now: float) -> ConnectionPool:
        """Return the pool for the next message; if all are closed, the one that opens first."""
        best, first = -1, 0.0
        for number, pool in enumerate(self.pools):
            if pool.lane.closed_for(now) > 0.0:
                continue
            turn = max(self._turns[number], self._now)
            if best < 0 or turn < first:
                best, first = number, turn
        if best < 0:
            return min(self.pools, key=lambda pool: pool.lane.closed_for(now))
        pool = self.pools[best]
        self._now = first
        self._turns[best] = first + _cost(pool, now)
        return pool


def _weight(pool: ConnectionPool) -> float:
    weight = pool.destination.source.weight
    limits = pool.lane.limits
    return weight if limits is None else weight * max(SPARING, limits.share_left())


def _cost(pool: ConnectionPool, now: float) -> float:
    lane, many = pool.lane, len(pool.lane)
    return (1.0 + many if many > CROWD and lane.is_slow(now) else 1.0) / _weight(pool)


def make_source_pool(pools: Sequence[ConnectionPool]) -> SourcePool:
    """Make these pools know each other."""
    source_pool = SourcePool(pools)
    for pool in source_pool.pools:
        if pool.siblings:
            pool.is_mixed = pool.is_mixed or {one.lane.key for one in pool.siblings} != {
                one.lane.key for one in source_pool.pools
            }
        pool.siblings = source_pool.pools
    return source_pool
