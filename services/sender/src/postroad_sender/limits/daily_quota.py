"""Daily quotas: how many messages may still begin today, exact over all processes and restarts.

What a process may use it leases from the store first, in parts small enough that a crash loses
little: lost is then what might have been sent, so that it becomes fewer and never more. Days are
UTC days. With the store away only what is leased already is used.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Protocol

import structlog

from postroad_common.errors import StoreAway
from postroad_common.schemas.lanes import LimitKind
from postroad_common.store.leases import DAY, Grant
from postroad_sender.limits.connection_limit import Waiter

PARTS = 100  # of the day's number, for a part that is leased at once
PART_MOST = 500
AGAIN_AFTER = 30.0  # seconds; others may have given back what they did not use
AWAY_FOR = 10.0  # seconds until a store that was away is asked again
UNUSED_FOR = 60.0  # seconds until what is leased and not used is given back

_log = structlog.get_logger("caps")


class LeaseStore(Protocol):
    """What a quota needs of `store.leases`."""

    def lease(self, name: str, day: int, many: int, most: int) -> Awaitable[Grant]:
        """Lease a part."""

    def give_back(self, name: str, day: int, many: int) -> Awaitable[None]:
        """Give back what was not used."""


class DailyQuota:
    """One limit for a day. `most` tells the number for a day (since 1970); None: no limit."""

    def __init__(
        self,
        name: str,
        most: Callable[[int], int | None],
        store: LeaseStore,
        *,
        what: str,
        kind: LimitKind,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.kind = kind
        self._what = what
        self._limit_of = most
        self._store = store
        self._wall = wall
        self._day = -1
        self._ends = 0.0
        self._most: int | None = 0
        self._left = 0  # leased and not used
        self._leased = 0  # by all
        self._ask_at = 0.0
        self._used_at = 0.0
        self._away = False
        self._waiting: dict[Waiter, None] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def most(self) -> int | None:
        """The number for today."""
        self._start_day(self._wall())
        return self._most

    @property
    def leased(self) -> int:
        """How many of today all processes together have used or hold, as far as is known."""
        return self._leased

    def opens_at(self) -> float | None:
        """When (Unix seconds) there is more, if there is none now."""
        closed = self.closed_for()
        return self._wall() + closed if closed > 0.0 else None

    def share_left(self) -> float:
        """Return what of today's number is left to all, from 0.0 to 1.0."""
        self._start_day(self._wall())
        if self._most is None:
            return 1.0
        return (self._most - self._leased + self._left) / self._most if self._most else 0.0

    def may(self, waiter: Waiter) -> bool:
        """Whether a message may begin. If not, `waiter` is woken when more was leased."""
        wall = self._wall()
        self._start_day(wall)
        if self._most is None:
            return True
        if self._left <= self._batch_size() // 2:
            self._ask(wall)
        if self._left:
            return True
        self._waiting[waiter] = None
        return False

    def spend(self) -> None:
        """Count a message that begins."""
        if self._most is not None:
            self._left -= 1
            self._used_at = self._wall()

    def closed_for(self) -> float:
        """Seconds until there may be more; 0.0 while there is, or may be at once."""
        wall = self._wall()
        self._start_day(wall)
        if self._most is None or self._left:
            return 0.0
        self._ask(wall)
        if self._away:
            return max(0.0, self._ask_at - wall)
        if self._leased >= self._most:
            return max(0.0, self._ends - wall)
        return 0.0

    def why(self) -> str:
        """How it stands, as operators read it."""
        if self._away and not self._left:
            return f"{self._what}: the database is away, and what was leased is used up"
        if self._most == 0:
            return f"{self._what}: nothing today"
        return f"{self._what}: {self._leased - self._left} of {self._most} today"

    def forget(self, waiter: Waiter) -> None:
        """Stop waiting."""
        self._waiting.pop(waiter, None)

    async def tidy(self) -> None:
        """Give back what has not been used for a while."""
        if self._task is None and self._wall() - self._used_at >= UNUSED_FOR:
            await self._give_back()

    async def close(self) -> None:
        """Give back what is not used: no message begins any more."""
        self._ask_at = inf
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._give_back()

    # -- inside

    async def _give_back(self) -> None:
        self._start_day(self._wall())
        unused = self._left
        if not unused:
            return
        self._left = 0  # whatever becomes of the answer, these are not used
        self._leased -= unused
        try:
            await self._store.give_back(self.name, self._day, unused)
        except StoreAway as error:
            _log.info("unused leases are lost", cap=self.name, many=unused, error=str(error))

    def _start_day(self, wall: float) -> None:
        """Begin anew when the day has changed."""
        if wall < self._ends and self._day >= 0:
            return
        self._day = int(wall // DAY)
        self._ends = (self._day + 1.0) * DAY
        self._most = self._limit_of(self._day)
        self._left = self._leased = 0
        self._away = False
        if self._ask_at < inf:
            self._ask_at = 0.0

    def _batch_size(self) -> int:
        return max(1, min(PART_MOST, (self._most or 0) // PARTS))

    def _ask(self, wall: float) -> None:
        if self._task is None and wall >= self._ask_at and self._most:
            self._ask_at = wall + AWAY_FOR
            self._task = asyncio.create_task(self._lease(self._day, self._batch_size(), self._most))

    async def _lease(self, day: int, many: int, most: int) -> None:
        away = True
        try:
            grant = await self._store.lease(self.name, day, many, most)
            away = False
        except StoreAway as error:
            _log.info("nothing is leased now", cap=self.name, error=str(error))
        finally:
            self._task = None
        if day != self._day:
            return
        wall = self._wall()
        self._away = away
        if away:
            self._ask_at = max(self._ask_at, wall + AWAY_FOR)
        else:
            if not self._left:
                self._used_at = wall
            self._left += grant.granted
            self._leased = grant.leased
            if self._ask_at < inf:
                self._ask_at = 0.0 if grant.granted else wall + AGAIN_AFTER
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            waiter.schedule()
