"""The connection pools of this process: which one a domain's mail goes to, made when needed."""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from postroad_common.schemas.lanes import LimitKind
from postroad_sender import metrics
from postroad_sender.connect.destination import Destination
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Requeue
from postroad_sender.lanes.source_pool import SourcePool, make_source_pool
from postroad_sender.limits.caps import DeliveryLimits
from postroad_sender.limits.registry import LimitRegistry
from postroad_sender.routes.sources import Source
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.tls.requirement import TlsRequirement

FRESH_FOR = 30.0  # seconds until DNS is asked again where a domain's mail goes
FORGET_AFTER = 600.0  # seconds without work
MOST_DOMAINS = 50_000
MOST_IDLE = 10_000  # lanes without work that are kept, at about 7 kB each


class MakePool(Protocol):
    """Makes the pool of a new lane."""

    def __call__(
        self, lane: Lane[Job], destination: Destination, *, home: Shard | None, requeue: Requeue
    ) -> ConnectionPool:
        """Return a pool whose jobs wait by `requeue` when they cannot go."""


class Pools:
    """One per process. All that is counted together has one home: the shard it is sent from."""

    def __init__(
        self,
        make_pool: MakePool,
        requeue: Requeue,
        *,
        caps: Caps,
        shards: Sequence[Shard],
        limit_registry: LimitRegistry | None,
        most_idle: int = MOST_IDLE,
    ) -> None:
        self._most_idle = most_idle
        self._make_pool = make_pool
        self._requeue = requeue
        self._caps = caps
        self._shards = shards
        self._limit_registry = limit_registry
        self._pools: dict[LaneKey, ConnectionPool] = {}
        self._placed: OrderedDict[str, tuple[float, ConnectionPool, TlsRequirement]] = OrderedDict()
        self._source_pools: dict[str, SourcePool] = {}
        self._shared: dict[tuple[LaneKey, ...], SourcePool] = {}

    def __iter__(self) -> Iterator[ConnectionPool]:
        return iter(self._pools.values())

    def cached(self, domain: str, now: float) -> tuple[ConnectionPool, TlsRequirement] | None:
        """Return the pool for `domain` and what TLS it requires, if that was found lately."""
        placed = self._placed.get(domain)
        if placed is None or placed[0] <= now:
            return None
        return placed[1], placed[2]

    def of(self, domain: str, destination: Destination, shard: Shard, now: float) -> ConnectionPool:
        """Return the pool for `domain`, whose mail came from `shard`; the first if several."""
        home, site = self._home(domain, destination, shard)
        pools = tuple(
            self._from(source, domain, destination, home, site=site, now=now)
            for source in destination.sources
        )
        if len(pools) > 1:
            keys = tuple(pool.lane.key for pool in pools)
            source_pool = self._shared.get(keys)
            if source_pool is None or source_pool.pools != pools:
                source_pool = self._shared[keys] = make_source_pool(pools)
            self._source_pools[domain] = source_pool
        self._placed[domain] = (now + FRESH_FOR, pools[0], destination.requirement)
        self._placed.move_to_end(domain)
        if len(self._placed) > MOST_DOMAINS:
            self._source_pools.pop(self._placed.popitem(last=False)[0], None)
        return pools[0]

    def choose(self, domain: str, pool: ConnectionPool, now: float) -> ConnectionPool:
        """Return the pool of the source whose turn it is; `pool` if `domain` has one source."""
        if self._source_pools and (found := self._source_pools.get(domain)) is not None:
            return found.choose(now)
        return pool

    def keep(self, pool: ConnectionPool) -> None:
        """Remember `pool` again if it had been forgotten."""
        if self._pools.get(pool.lane.key) is not pool:
            self._pools[pool.lane.key] = pool

    def of_lane(self, lane: Lane[Job]) -> ConnectionPool | None:
        """Return the pool of `lane`, if it is not forgotten."""
        pool = self._pools.get(lane.key)
        return pool if pool is not None and pool.lane is lane else None

    def at_home(self, shard: Shard) -> list[ConnectionPool]:
        """Return the pools whose sites belong to `shard`."""
        return [pool for pool in self._pools.values() if pool.home is shard]

    def remove(self, pools: Iterable[ConnectionPool]) -> None:
        """Forget `pools`, and which domains they are of."""
        gone = set(map(id, pools))
        self._pools = {key: pool for key, pool in self._pools.items() if id(pool) not in gone}
        for domain in [name for name, (_, pool, _) in self._placed.items() if id(pool) in gone]:
            del self._placed[domain]
            self._source_pools.pop(domain, None)

    def sweep(self, now: float, is_kept: Callable[[ConnectionPool], bool]) -> None:
        """Forget pools without work but those that are kept, and count the others.

        Those without work for long go, and beyond `most_idle` those that have been so for longest;
        lanes that are closed are remembered as long as possible.
        """
        idle = [pool for pool in self if pool.lane.is_idle and not is_kept(pool)]
        idle.sort(key=lambda pool: (pool.lane.closed_for(now) > 0.0, pool.lane.used))
        excess = max(0, len(idle) - self._most_idle)
        gone = idle[:excess]
        gone += [pool for pool in idle[excess:] if now - pool.lane.used > FORGET_AFTER]
        if gone:
            self.remove(gone)
        self._count(now)
        self._shared = {
            keys: source_pool
            for keys, source_pool in self._shared.items()
            if source_pool.pools[0].lane.key in self._pools
        }

    # -- inside

    def _count(self, now: float) -> None:
        """Set the metrics."""
        waiting = 0
        states = {"idle": 0, "open": 0, "limited": 0, "closed": 0}
        capped = dict.fromkeys(LimitKind, 0)
        for pool in self:
            lane = pool.lane
            waiting += len(lane)
            if lane.limits is not None and (used_up := lane.limits.kind_closed()) is not None:
                capped[used_up] += 1
            states[_state_of(lane, now)] += 1
        for state, count in states.items():
            metrics.LANES.labels(state).set(count)
        for kind, count in capped.items():
            metrics.CAPPED.labels(kind).set(count)
        metrics.WAITING.set(waiting)

    def _home(
        self, domain: str, destination: Destination, shard: Shard
    ) -> tuple[Shard | None, str]:
        """Return the shard whose owner sends to `domain`, and the site as lanes name it.

        The sites of a provider have one home, and so have the sources of a site.
        """
        site, provider = destination.key.site, destination.provider
        registry = self._limit_registry
        if not self._shards:
            return None, site
        if destination.route.spread and not (
            registry is not None and registry.needs_one_home(domain, provider)
        ):
            home = shard.home or shard
            return home, f"{site}#{home.name.rpartition('.')[2]}"
        number = zlib.crc32(f"|{provider or site}".encode()) % len(self._shards)
        return self._shards[number], site

    def _from(
        self,
        source: Source,
        domain: str,
        destination: Destination,
        home: Shard | None,
        *,
        site: str,
        now: float,
    ) -> ConnectionPool:
        """Return the pool of the lane from `source`."""
        registry = self._limit_registry
        apart = registry is not None and registry.is_apart(domain)
        key = LaneKey(source.name, f"{site}/{domain}" if apart else site)
        pool = self._pools.get(key)
        if pool is None:
            route = destination.route
            caps = Caps(
                connections=route.connections or self._caps.connections,
                messages_per_second=route.messages_per_second or self._caps.messages_per_second,
                closed_longest=self._caps.closed_longest,
            )
            limits = None
            if registry is not None:
                limits = registry.limits_for(
                    source,
                    "" if home is None else home.name,
                    site=site,
                    provider=destination.provider,
                    domain=domain,
                    usual=DeliveryLimits(caps.connections, caps.messages_per_second),
                )
            lane: Lane[Job] = Lane(
                key, Controller(caps, now), now, provider=destination.provider, limits=limits
            )
            pool = self._make_pool(lane, destination.via(source), home=home, requeue=self._requeue)
            self._pools[key] = pool
        pool.destination = destination.via(source)
        pool.lane.used = now
        return pool


def _state_of(lane: Lane[Job], now: float) -> str:
    """Return the state that a lane is counted under."""
    if lane.is_idle:
        return "idle"
    if lane.closed_for(now) > 0.0:
        return "closed"
    return "limited" if lane.controller.effects(now) else "open"
