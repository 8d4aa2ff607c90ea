"""Shares: a number that holds over all replicas, divided among the shards and not the processes.

What a shard holds is written in the store and belongs to whoever owns the shard: it survives a
crash, needs no clock, and with the store away everybody goes on with what they have. Who gets how
much is decided in `division`.
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
from postroad_sender.limits.connection_limit import Slots, Waiter
from postroad_sender.limits.rate_limit import TOLERANCE, Pace

EVERY = 1.0  # seconds between looks at what others want
IDLE_EVERY = 5.0  # the same, while nothing is wanted or held here
TURN = 10.0  # seconds, of those who cannot have a part at the same time

_log = structlog.get_logger("caps")


class ShareStore(Protocol):
    """What shares need of `store.leases`."""

    def divisions(self, names: Iterable[str]) -> Awaitable[dict[str, Division]]:
        """How the numbers are divided."""

    def divide(self, name: str, division: Division) -> Awaitable[bool]:
        """Replace a division, unless somebody else has."""


class Part(Protocol):
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


class Demand:
    """The lanes of one source and shard that wait for something of it.

    A lane that waits for a connection wants the rate, too, and the other way round: otherwise it
    would lose the one while it waits for the other.
    """

    def __init__(self) -> None:
        self._lanes: dict[Waiter, None] = {}

    def add(self, lane: Waiter) -> None:
        """It waits."""
        self._lanes[lane] = None

    def __bool__(self) -> bool:
        self._lanes = {lane: None for lane in self._lanes if lane.is_waiting}
        return bool(self._lanes)


class ConnectionPart:
    """Connections."""

    def __init__(self, demand: Demand) -> None:
        self.slots = Slots(0)
        self._demand = demand

    @property
    def used(self) -> int:
        """The open connections."""
        return self.slots.used

    @property
    def is_wanted(self) -> bool:
        """Whether a lane waits."""
        return bool(self._demand)

    def wish(self, most: int) -> int:
        """All, as long as somebody waits: who wants how many is not known before."""
        return most if self._demand else self.slots.used

    def allow(self, many: int) -> None:
        """Resize the slots."""
        if many != self.slots.most:
            self.slots.resize(many)


@dataclass(slots=True, eq=False)
class _Coming:
    """What a rate is to be in a moment."""

    many: int


class RatePart:
    """Messages per second, in units of `unit` each.

    More is used only when the second in which another may have used it is over.
    """

    used = 0

    def __init__(self, unit: float, demand: Demand) -> None:
        self.pace = Pace(0.0)
        self._demand = demand
        self._unit = unit
        self._quiet = (1.0 + TOLERANCE) / unit
        self._now = 0
        self._coming: list[_Coming] = []
        self._looked = asyncio.get_running_loop().time()

    @property
    def is_wanted(self) -> bool:
        """Whether a lane waits."""
        return bool(self._demand)

    def wish(self, most: int) -> int:
        """All, as long as somebody waits; otherwise a little more than was used."""
        now = asyncio.get_running_loop().time()
        seconds = max(0.1, now - self._looked)
        spent, self.pace.spent, self._looked = self.pace.spent, 0, now
        if self._demand:
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
        self.pace.resize(many * self._unit)


class Number:
    """One number that is divided: connections, or with a `unit` messages per second."""

    def __init__(self, name: str, most: int, unit: float | None = None) -> None:
        self.name = name
        self.most = most
        self.parts: dict[str, Part] = {}
        self._unit = unit
        self._turn = TURN if unit is None else max(TURN, 5.0 / unit)

    @classmethod
    def of_rate(cls, name: str, rate: float) -> "Number":
        """`rate` messages per second, in units of one or, if it is less, in one."""
        most = max(1, int(rate))
        return cls(name, most, rate / most)

    def connections(self, holder: str, demand: Demand) -> Slots:
        """What `holder` has of a number of connections; none until the store has been asked."""
        part = self.parts.setdefault(holder, ConnectionPart(demand))
        assert isinstance(part, ConnectionPart)  # noqa: S101 - a number is of one kind
        return part.slots

    def pace(self, holder: str, demand: Demand) -> Pace:
        """What `holder` has of a rate; nothing until the store has been asked."""
        part = self.parts.setdefault(holder, RatePart(self._unit or 1.0, demand))
        assert isinstance(part, RatePart)  # noqa: S101 - a number is of one kind
        return part.pace

    def turn(self, wall: float) -> int:
        """Whose turn it is, where turns are taken."""
        return int(wall // self._turn) + zlib.crc32(self.name.encode()) % 97


class Shares:
    """The numbers that this process has parts of. `homes` tells which shards it owns."""

    def __init__(
        self,
        store: ShareStore,
        homes: Callable[[], Sequence[str]],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._homes = homes
        self._wall = wall
        self.numbers: dict[str, Number] = {}
        self._demands: dict[tuple[str, str], Demand] = {}
        # What is written there for a home is ours only once we have written ourselves: until then
        # its last owner might still be about to give it away.
        self._claimed: set[tuple[str, str]] = set()
        self._moves = 0  # times that a home was let go
        self._idle = False

    def add(self, number: Number) -> None:
        """Divide `number` from now on."""
        self.numbers[number.name] = number

    def demand(self, source: str, home: str) -> Demand:
        """What waits for `source` in the shard `home`."""
        return self._demands.setdefault((source, home), Demand())

    def let_go(self, home: str) -> None:
        """This process does not own `home` any more; what it held is its next owner's."""
        self._moves += 1
        for number in self.numbers.values():
            self._claimed.discard((number.name, home))
            part = number.parts.get(home)
            if part is not None:
                part.allow(0)

    async def keep(self) -> None:
        """Exchange, for ever."""
        while True:
            try:
                await self.exchange()
            except StoreAway as error:
                _log.info("shares stay as they are", error=str(error))
            waited = 0.0
            while waited < (IDLE_EVERY if self._idle and not self._is_wanted() else EVERY):
                await asyncio.sleep(EVERY / 2)
                waited += EVERY / 2

    async def exchange(self) -> None:
        """Take what is wanted and free, give back what is not needed. Raises StoreAway."""
        if not self.numbers:
            return
        found = await self._store.divisions(self.numbers)
        self._idle = True
        for name, number in self.numbers.items():
            await self._exchange(number, found.get(name, Division()), self._homes())

    async def _exchange(self, number: Number, division: Division, homes: Sequence[str]) -> None:
        wall = self._wall()
        parts = {home: number.parts.get(home) for home in homes}
        mine = {
            home: (0, 0) if part is None else (part.wish(number.most), part.used)
            for home, part in parts.items()
        }
        new, usable = divide(division, mine, most=number.most, now=wall, turn=number.turn(wall))
        claimed = {home for home in homes if (number.name, home) in self._claimed}
        for home, part in parts.items():
            if part is not None:
                part.allow(usable[home] if home in claimed else 0)
        if any(wish or used or division.held.get(home) for home, (wish, used) in mine.items()):
            self._idle = False
        if len(claimed) == len(homes) and not differs(division, new, mine, wall):
            return
        moves = self._moves
        if not await self._store.divide(number.name, new) or self._moves != moves:
            return
        for home, part in parts.items():
            self._claimed.add((number.name, home))
            more = new.held.get(home, 0)
            if part is not None and (home not in claimed or more > division.held.get(home, 0)):
                part.allow(more)

    def _is_wanted(self) -> bool:
        return any(
            part.is_wanted for number in self.numbers.values() for part in number.parts.values()
        )
