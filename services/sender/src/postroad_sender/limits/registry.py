"""The shared limits of this process: which lanes count against which.

All lanes of a domain, of a provider and of a site have one home, so their limits are local; what a
source may do in all is shared with other processes (`cluster_limit`, `daily_quota`).
"""

import asyncio
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from postroad_common.schemas.lanes import LimitKind
from postroad_common.store.leases import Leases
from postroad_sender import metrics
from postroad_sender.limits.caps import DeliveryLimits, StaticCaps
from postroad_sender.limits.cluster_limit import ClusterLimit, ClusterLimits
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.limits.daily_quota import DailyQuota
from postroad_sender.limits.rate_limit import TOLERANCE, RateLimit
from postroad_sender.limits.shared_limit import LaneLimits, SharedLimit
from postroad_sender.routes.sources import Source
from postroad_sender.timings import Timings

TIDY_EVERY = 10.0  # seconds


class LimitRegistry:
    """All shared limits of this process, kept as long as there are lanes that they apply to."""

    def __init__(
        self,
        caps: StaticCaps,
        leases: Leases,
        homes: Callable[[], Sequence[str]],
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        *,
        timings: Timings | None = None,
    ) -> None:
        timings = timings or Timings()
        turn = timings.allocation_turn
        self._caps = caps
        self._leases = leases
        self._clock = clock
        self._wall = wall
        self.cluster_limits = ClusterLimits(
            leases, lambda: [_short(home) for home in homes()], wall, every=timings.exchange_every
        )
        self._shared_limits: weakref.WeakValueDictionary[tuple[str, ...], SharedLimit] = (
            weakref.WeakValueDictionary()
        )
        self._quotas: weakref.WeakValueDictionary[str, DailyQuota] = weakref.WeakValueDictionary()
        self._owned_since: dict[str, float] = {}
        for name, limits in caps.of_sources().items():
            if limits.connections is not None:
                self.cluster_limits.add(
                    ClusterLimit(f"connections/{name}", limits.connections, turn=turn)
                )
            if limits.messages_per_second is not None:
                self.cluster_limits.add(
                    ClusterLimit.of_rate(f"rate/{name}", limits.messages_per_second, turn=turn)
                )

    def is_apart(self, domain: str) -> bool:
        """Whether mail for `domain` needs lanes of its own, because it is counted for itself."""
        return self._caps.has_domains and self._caps.of_domain(domain) != DeliveryLimits()

    def needs_one_home(self, domain: str, provider: str) -> bool:
        """Whether its mail must not be spread over shards."""
        return self._caps.of_provider(provider) != DeliveryLimits() or self.is_apart(domain)

    def limits_for(
        self,
        source: Source,
        home: str,
        *,
        site: str,
        provider: str,
        domain: str,
        usual: DeliveryLimits,
    ) -> LaneLimits | None:
        """Return what a new lane has to pass; `usual` holds for each source and site.

        None where there are no limits but those that a lane has anyway.
        """
        shared_limits = []
        if source.name:
            shared_limits.append(self._of_source(source, provider, home))
        if provider and (limits := self._caps.of_provider(provider)) != DeliveryLimits():
            shared_limits.append(self._local("provider", provider, home, limits))
        if self._caps.has_domains:
            shared_limits.append(self._local("site", f"{source.name}|{site}", home, usual))
            if (limits := self._caps.of_domain(domain)) != DeliveryLimits():
                shared_limits.append(self._local("domain", domain, home, limits))
        found = [shared for shared in shared_limits if shared is not None]
        return LaneLimits(found) if found else None

    def release(self, home: str) -> None:
        """Give up the shard `home`."""
        self._owned_since.pop(home, None)
        for shared in list(self._shared_limits.values()):
            if shared.home == home and shared.rate_limit is not None:
                shared.rate_limit.release()
        self.cluster_limits.release(_short(home))

    async def run(self) -> None:
        """Give back what was leased and is not used, for ever."""
        while True:
            await asyncio.sleep(TIDY_EVERY)
            for quota in list(self._quotas.values()):
                await quota.tidy()
                if quota.kind is LimitKind.WARMUP:
                    name = quota.name.removeprefix("warmup/")
                    metrics.WARMUP.labels(name).set(quota.leased)

    async def close(self) -> None:
        """Give back what was leased and not used: this process ends."""
        await asyncio.gather(*(quota.close() for quota in list(self._quotas.values())))

    # -- inside

    def _local(self, kind: str, name: str, home: str, limits: DeliveryLimits) -> SharedLimit:
        key = (kind, name, home)
        found = self._shared_limits.get(key)
        if found is not None:
            return found
        rate_limit = None
        rate = limits.messages_per_second
        if rate is not None:
            # another process may have sent the last message a moment before the shard was ours
            since = self._owned_since.setdefault(home, self._clock())
            rate_limit = RateLimit(rate, since + (1.0 + TOLERANCE) / rate)
        most = limits.messages_per_day
        quotas: tuple[DailyQuota, ...] = ()
        if most is not None:
            what = f"cap of {kind} {name}"
            quotas = (self._quota_for(f"{kind}/{name}", lambda _: most, what, LimitKind.CAP),)
        connection_limit = (
            None if limits.connections is None else ConnectionLimit(limits.connections)
        )
        shared = SharedLimit(
            f"{kind} {name}",
            home,
            since=self._wall(),
            connection_limit=connection_limit,
            rate_limit=rate_limit,
            quotas=quotas,
        )
        self._shared_limits[key] = shared
        return shared

    def _of_source(self, source: Source, provider: str, home: str) -> SharedLimit | None:
        limits = self._caps.of_source(source)
        warmup = source.warmup
        particular = warmup is not None and provider in warmup.per_provider
        if limits == DeliveryLimits() and warmup is None:
            return None
        key = ("source", source.name, home, provider if particular else "")
        found = self._shared_limits.get(key)
        if found is not None:
            return found
        quotas = []
        if warmup is not None:
            name, what = f"warmup/{source.name}", f"warm-up of {source.name}"
            quotas.append(self._quota_for(name, warmup.most_on, what, LimitKind.WARMUP))
            if particular:
                number = partial(warmup.most_on, provider=provider)
                name, what = f"{name}/{provider}", f"{what} for {provider}"
                quotas.append(self._quota_for(name, number, what, LimitKind.WARMUP))
        most = limits.messages_per_day
        if most is not None:
            name, what = f"source/{source.name}", f"cap of source {source.name}"
            quotas.append(self._quota_for(name, lambda _: most, what, LimitKind.CAP))
        # the numbers are made at the start: what an earlier process left is taken up or given back
        holder, cluster_limits = _short(home), self.cluster_limits.limits
        of_connections = cluster_limits.get(f"connections/{source.name}")
        of_rate = cluster_limits.get(f"rate/{source.name}")
        waiters = self.cluster_limits.waiters(source.name, holder)
        connection_limit = (
            None if of_connections is None else of_connections.connections(holder, waiters)
        )
        rate_limit = None if of_rate is None else of_rate.rate_limit(holder, waiters)
        subject = f"source {source.name}, share of shard {holder}"
        shared = SharedLimit(
            subject,
            "",
            since=self._wall(),
            connection_limit=connection_limit,
            rate_limit=rate_limit,
            quotas=tuple(quotas),
            waiters=waiters,
        )
        self._shared_limits[key] = shared
        return shared

    def _quota_for(
        self, name: str, most: Callable[[int], int | None], what: str, kind: LimitKind
    ) -> DailyQuota:
        found = self._quotas.get(name)
        if found is None:
            found = DailyQuota(name, most, self._leases, what=what, kind=kind, wall=self._wall)
            self._quotas[name] = found
        return found


def _short(home: str) -> str:
    """Return the number of a shard; in the store its whole name would be a path."""
    return home.rpartition(".")[2]
