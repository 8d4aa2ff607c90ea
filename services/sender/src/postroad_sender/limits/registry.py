"""The gates of this process: which lanes have to pass which.

All lanes of a domain, of a provider and of a site have one home, so their gates are local; what a
source may do in all is shared with other processes (`shares`, `tally`).
"""

import asyncio
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from postroad_common.store.leases import Leases
from postroad_sender import metrics
from postroad_sender.limits.caps import Limits, StaticCaps
from postroad_sender.limits.cluster_limit import Number, Shares
from postroad_sender.limits.connection_limit import Slots
from postroad_sender.limits.daily_quota import Tally
from postroad_sender.limits.rate_limit import TOLERANCE, Pace
from postroad_sender.limits.shared_limit import Bounds, Gate
from postroad_sender.routes.sources import Source

TIDY_EVERY = 10.0  # seconds


class Gates:
    """All gates of this process; they are kept as long as there are lanes behind them."""

    def __init__(
        self,
        caps: StaticCaps,
        leases: Leases,
        homes: Callable[[], Sequence[str]],
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._caps = caps
        self._leases = leases
        self._clock = clock
        self._wall = wall
        self.shares = Shares(leases, lambda: [_short(home) for home in homes()], wall)
        self._gates: weakref.WeakValueDictionary[tuple[str, ...], Gate] = (
            weakref.WeakValueDictionary()
        )
        self._tallies: weakref.WeakValueDictionary[str, Tally] = weakref.WeakValueDictionary()
        self._owned_since: dict[str, float] = {}
        for name, limits in caps.of_sources().items():
            if limits.connections is not None:
                self.shares.add(Number(f"connections/{name}", limits.connections))
            if limits.messages_per_second is not None:
                self.shares.add(Number.of_rate(f"rate/{name}", limits.messages_per_second))

    def is_apart(self, domain: str) -> bool:
        """Whether mail for `domain` needs lanes of its own, because it is counted for itself."""
        return self._caps.has_domains and self._caps.of_domain(domain) != Limits()

    def needs_one_home(self, domain: str, provider: str) -> bool:
        """Whether its mail must not be spread over shards."""
        return self._caps.of_provider(provider) != Limits() or self.is_apart(domain)

    def bounds(
        self,
        source: Source,
        home: str,
        *,
        site: str,
        provider: str,
        domain: str,
        usual: Limits,
    ) -> Bounds | None:
        """What a new lane has to pass; `usual` holds for each source and site.

        None where there are no limits but those that a lane has anyway.
        """
        gates = []
        if source.name:
            gates.append(self._of_source(source, provider, home))
        if provider and (limits := self._caps.of_provider(provider)) != Limits():
            gates.append(self._local("provider", provider, home, limits))
        if self._caps.has_domains:
            gates.append(self._local("site", f"{source.name}|{site}", home, usual))
            if (limits := self._caps.of_domain(domain)) != Limits():
                gates.append(self._local("domain", domain, home, limits))
        found = [gate for gate in gates if gate is not None]
        return Bounds(found) if found else None

    def let_go(self, home: str) -> None:
        """This process does not own the shard `home` any more."""
        self._owned_since.pop(home, None)
        for gate in list(self._gates.values()):
            if gate.home == home and gate.pace is not None:
                gate.pace.let_go()
        self.shares.let_go(_short(home))

    async def keep(self) -> None:
        """Give back what was leased and is not used, for ever."""
        while True:
            await asyncio.sleep(TIDY_EVERY)
            for tally in list(self._tallies.values()):
                await tally.tidy()
                if tally.kind == "warmup":
                    name = tally.name.removeprefix("warmup/")
                    metrics.WARMUP.labels(name).set(tally.leased)

    async def leave(self) -> None:
        """This process ends: give back what was leased and not used."""
        await asyncio.gather(*(tally.leave() for tally in list(self._tallies.values())))

    # -- inside

    def _local(self, kind: str, name: str, home: str, limits: Limits) -> Gate:
        key = (kind, name, home)
        found = self._gates.get(key)
        if found is not None:
            return found
        pace = None
        rate = limits.messages_per_second
        if rate is not None:
            # another process may have sent the last message a moment before the shard was ours
            since = self._owned_since.setdefault(home, self._clock())
            pace = Pace(rate, since + (1.0 + TOLERANCE) / rate)
        most = limits.messages_per_day
        tallies: tuple[Tally, ...] = ()
        if most is not None:
            what = f"cap of {kind} {name}"
            tallies = (self._tally(f"{kind}/{name}", lambda _: most, what, "cap"),)
        slots = None if limits.connections is None else Slots(limits.connections)
        gate = Gate(
            f"{kind} {name}", home, since=self._wall(), slots=slots, pace=pace, tallies=tallies
        )
        self._gates[key] = gate
        return gate

    def _of_source(self, source: Source, provider: str, home: str) -> Gate | None:
        limits = self._caps.of_source(source)
        warmup = source.warmup
        particular = warmup is not None and provider in warmup.per_provider
        if limits == Limits() and warmup is None:
            return None
        key = ("source", source.name, home, provider if particular else "")
        found = self._gates.get(key)
        if found is not None:
            return found
        tallies = []
        if warmup is not None:
            name, what = f"warmup/{source.name}", f"warm-up of {source.name}"
            tallies.append(self._tally(name, warmup.most_on, what, "warmup"))
            if particular:
                number = partial(warmup.most_on, provider=provider)
                name, what = f"{name}/{provider}", f"{what} for {provider}"
                tallies.append(self._tally(name, number, what, "warmup"))
        most = limits.messages_per_day
        if most is not None:
            name, what = f"source/{source.name}", f"cap of source {source.name}"
            tallies.append(self._tally(name, lambda _: most, what, "cap"))
        # the numbers are made at the start: what an earlier process left is taken up or given back
        holder, numbers = _short(home), self.shares.numbers
        of_connections = numbers.get(f"connections/{source.name}")
        of_rate = numbers.get(f"rate/{source.name}")
        demand = self.shares.demand(source.name, holder)
        slots = None if of_connections is None else of_connections.connections(holder, demand)
        pace = None if of_rate is None else of_rate.pace(holder, demand)
        subject = f"source {source.name}, share of shard {holder}"
        gate = Gate(
            subject,
            "",
            since=self._wall(),
            slots=slots,
            pace=pace,
            tallies=tuple(tallies),
            demand=demand,
        )
        self._gates[key] = gate
        return gate

    def _tally(self, name: str, most: Callable[[int], int | None], what: str, kind: str) -> Tally:
        found = self._tallies.get(name)
        if found is None:
            found = Tally(name, most, self._leases, what=what, kind=kind, wall=self._wall)
            self._tallies[name] = found
        return found


def _short(home: str) -> str:
    """The number of a shard; in the store its whole name would be a path."""
    return home.rpartition(".")[2]
