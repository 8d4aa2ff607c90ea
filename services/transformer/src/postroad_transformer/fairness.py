"""Turns that are taken in rotation, so that what is much of one login does not delay another's."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairTurns:
    """Hands out `places` turns in rotation among the names that wait, at most `each` to a name."""

    def __init__(self, places: int, each: int) -> None:
        self._free = places
        self._each = each
        self._taken: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def __len__(self) -> int:
        """Count those who wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def take(self, name: str) -> AsyncIterator[None]:
        """Hold a turn of `name` for as long as the context lasts; waits for it."""
        await self._acquire(name)
        try:
            yield
        finally:
            self._release(name)

    async def _acquire(self, name: str) -> None:
        if self._free and self._taken[name] < self._each:
            self._grant(name)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(name)
            raise

    def _grant(self, name: str) -> None:
        self._free -= 1
        self._taken[name] += 1

    def _release(self, name: str) -> None:
        self._free += 1
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]
        for other in list(self._waiting):
            if not self._free:
                return
            if self._taken[other] < self._each:
                self._pass_to(other)

    def _pass_to(self, name: str) -> None:
        """Give a turn to the first who waits under `name`; the name goes to the end of the line."""
        turns = self._waiting.pop(name)
        while turns:
            turn = turns.popleft()
            if not turn.done():
                self._grant(name)
                turn.set_result(None)
                break
        if turns:
            self._waiting[name] = turns
