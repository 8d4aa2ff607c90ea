"""Cluster limits: numbers that hold over all replicas, divided among shards and not processes.

What a shard holds is written in the store and belongs to whoever owns the shard: it survives a
crash, needs no clock, and with the store away everybody goes on with what they have. Who gets how
much is decided in `allocation`.
"""

import asyncio
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from postroad_common.errors import StoreAway
from postroad_common.store.leases import Division
from postroad_sender.limits.allocation import differs, divide
from postroad_sender.limits.connection_limit import ConnectionLimit, Waiter
from postroad_sender.limits.rate_limit import TOLERANCE, RateLimit
from postroad_sender.timings import Timings

TURN = Timings().allocation_turn
IDLE_ROUNDS = 5  # times as long between looks, while nothing is wanted or held here

_log = structlog.get_logger("caps")


class DivisionStore(Protocol):
    """What shares need of `store.leases`."""

    def divisions(self, names: Iterable[str]) -> Awaitable[dict[str, Division]]:
        """How the numbers are divided."""

    def divide(self, name: str, division: Division) -> Awaitable[bool]:
        """Replace a division, unless somebody else has."""


class Allocation(Protocol):
    """What one shard has of a number, in the process that owns the shard."""

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for more."""

    def wish(self, most: int) -> int:
        """How much is wanted."""

    @property
    def used(self) -> int:
        """How much cannot be given back now."""

    def allow(self, many: int) -> None:
        """There may be `many` from now on."""


class LimitWaiters:
    """The lanes of one source and shard that wait for something of it.

    A lane that waits for a connection wants the rate, too, and the other way round: otherwise it
    would lose the one while it waits for the other.
    """

    def __init__(self) -> None:
        self._lanes: dict[Waiter, None] = {}

    def add(self, lane: Waiter) -> None:
        """Note that `lane` waits."""
        self._lanes[lane] = None

    def __bool__(self) -> bool:
        self._lanes = {lane: None for lane in self._lanes if lane.is_waiting}
        return bool(self._lanes)


class ConnectionAllocation:
    """Connections."""

    def __init__(self, waiters: LimitWaiters) -> None:
        self.connection_limit = ConnectionLimit(0)
        self._waiters = waiters

    @property
    def used(self) -> int:
        """The open connections."""
        return self.connection_limit.used

    @property
    def is_wanted(self) -> bool:
        """Whether a lane waits."""
        return bool(self._waiters)

    def wish(self, most: int) -> int:
        """All, as long as somebody waits: who wants how many is not known before."""
        return most if self._waiters else self.connection_limit.used

    def allow(self, many: int) -> None:
        """Allow `many` connections."""
        if many != self.connection_limit.most:
            self.connection_limit.resize(many)


@dataclass(slots=True, eq=False)
class _Coming:
    """What a rate is to be in a moment."""

    many: int


class RateAllocation:
    """Messages per second, in units of `unit` each.

    More is used only when the second in which another may have used it is over.
    """

    used = 0

    def __init__(self, unit: float, waiters: LimitWaiters) -> None:
        self.rate_limit = RateLimit(0.0)
        self._waiters = waiters
        self._unit = unit
        self._quiet = (1.0 + TOLERANCE) / unit
        self._now = 0
        self._coming: list[_Coming] = []
        self._looked = asyncio.get_running_loop().time()

    @property
    def is_wanted(self) -> bool:
        """Whether a lane waits."""
        return bool(self._waiters)

    def wish(self, most: int) -> int:
        """All, as long as somebody waits; otherwise a little more than was used."""
        now = asyncio.get_running_loop().time()
        seconds = max(0.1, now - self._looked)
        spent, self.rate_limit.spent, self._looked = self.rate_limit.spent, 0, now
        if self._waiters:
            return most
        return min(most, math.ceil(1.5 * spent / seconds / self._unit)) if spent else 0

    def allow(self, many: int) -> None:
        """Less at once, more a little later."""
        for coming in self._coming:
            coming.many = min(coming.many, many)
        if many < self._now:
            self._set(many)
        elif many > max((coming.many for coming in self._coming), default=self._now):
            more = _Coming(many)
            self._coming.append(more)
            asyncio.get_running_loop().call_later(self._quiet, self._come, more)

    def _come(self, more: _Coming) -> None:
        self._coming.remove(more)
        if more.many > self._now:
            self._set(more.many)

    def _set(self, many: int) -> None:
        self._now = many
        self.rate_limit.resize(many * self._unit)


class ClusterLimit:
    """One number that is divided: connections, or with a `unit` messages per second."""

    def __init__(
        self, name: str, most: int, unit: float | None = None, *, turn: float = TURN
    ) -> None:
        self.name = name
        self.most = most
        self.allocations: dict[str, Allocation] = {}
        self._unit = unit
        self._turn = turn if unit is None else max(turn, 5.0 / unit)

    @classmethod
    def of_rate(cls, name: str, rate: float, *, turn: float = TURN) -> "ClusterLimit":
        """Divide `rate` messages per second, in units of one or, if it is less, in one."""
        most = max(1, int(rate))
        return cls(name, most, rate / most, turn=turn)

    def connections(self, holder: str, waiters: LimitWaiters) -> ConnectionLimit:
        """Return what `holder` has of the connections; none until the store has been asked."""
        part = self.allocations.setdefault(holder, ConnectionAllocation(waiters))
        assert isinstance(part, ConnectionAllocation)  # noqa: S101 - a number is of one kind
        return part.connection_limit

    def rate_limit(self, holder: str, waiters: LimitWaiters) -> RateLimit:
        """Return what `holder` has of a rate; nothing until the store has been asked."""
        part = self.allocations.setdefault(holder, RateAllocation(self._unit or 1.0, waiters))
        assert isinstance(part, RateAllocation)  # noqa: S101 - a number is of one kind
        return part.rate_limit

    def turn(self, wall: float) -> int:
        """Whose turn it is, where turns are taken."""
        return int(wall // self._turn) + zlib.crc32(self.name.encode()) % 97


class ClusterLimits:
    """The numbers that this process has parts of. `homes` tells which shards it owns."""

    def __init__(
        self,
        store: DivisionStore,
        homes: Callable[[], Sequence[str]],
        wall: Callable[[], float] = time.time,
        *,
        every: float = Timings().exchange_every,
    ) -> None:
        self._every = every
        self._store = store
        self._homes = homes
        self._wall = wall
        self.limits: dict[str, ClusterLimit] = {}
        self._waiters: dict[tuple[str, str], LimitWaiters] = {}
        # What is written there for a home is ours only once we have written ourselves: until then
        # its last owner might still be about to give it away.
        self._claimed: set[tuple[str, str]] = set()
        self._moves = 0  # times that a home was let go
        self._idle = False

    def add(self, limit: ClusterLimit) -> None:
        """Divide `limit` from now on."""
        self.limits[limit.name] = limit

    def waiters(self, source: str, home: str) -> LimitWaiters:
        """Return what waits for `source` in the shard `home`."""
        return self._waiters.setdefault((source, home), LimitWaiters())

    def release(self, home: str) -> None:
        """Give up `home`: what it held belongs to its next owner."""
        self._moves += 1
        for limit in self.limits.values():
            self._claimed.discard((limit.name, home))
            part = limit.allocations.get(home)
            if part is not None:
                part.allow(0)

    async def run(self) -> None:
        """Exchange, for ever."""
        every = self._every
        while True:
            try:
                await self.exchange()
            except StoreAway as error:
                _log.info("shares stay as they are", error=str(error))
            waited = 0.0
            while waited < (IDLE_ROUNDS * every if self._idle and not self._is_wanted() else every):
                await asyncio.sleep(every / 2)
                waited += every / 2

    async def exchange(self) -> None:
        """Take what is wanted and free, give back what is not needed. Raises StoreAway."""
        if not self.limits:
            return
        found = await self._store.divisions(self.limits)
        self._idle = True
        for name, limit in self.limits.items():
            await self._exchange(limit, found.get(name, Division()), self._homes())

    async def _exchange(
        self, limit: ClusterLimit, division: Division, homes: Sequence[str]
    ) -> None:
        wall = self._wall()
        allocations = {home: limit.allocations.get(home) for home in homes}
        mine = {
            home: (0, 0) if part is None else (part.wish(limit.most), part.used)
            for home, part in allocations.items()
        }
        new, usable = divide(division, mine, most=limit.most, now=wall, turn=limit.turn(wall))
        claimed = {home for home in homes if (limit.name, home) in self._claimed}
        for home, part in allocations.items():
            if part is not None:
                part.allow(usable[home] if home in claimed else 0)
        if any(wish or used or division.held.get(home) for home, (wish, used) in mine.items()):
            self._idle = False
        if len(claimed) == len(homes) and not differs(division, new, mine, wall):
            return
        moves = self._moves
        if not await self._store.divide(limit.name, new) or self._moves != moves:
            return
        for home, part in allocations.items():
            self._claimed.add((limit.name, home))
            more = new.held.get(home, 0)
            if part is not None and (home not in claimed or more > division.held.get(home, 0)):
                part.allow(more)

    def _is_wanted(self) -> bool:
        return any(
            part.is_wanted for limit in self.limits.values() for part in limit.allocations.values()
        )
