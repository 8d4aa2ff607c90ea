"""Answers of DNS by name, each kept for its time and asked for by one question at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from postroad_common.caching import Cache
from postroad_smtp.client.stage import Fault, WireError

MOST_OCTETS = 16_777_216  # of one kind of answers, about
HEAVIEST = 65_536  # octets of an answer that is kept
_EACH = 500  # octets that an entry takes beside what it holds

V = TypeVar("V")
Ask = Callable[[str], Awaitable[tuple[V, float]]]
"""Returns the answer about a name and how long it may be kept (seconds). Raises WireError."""


class Answers(Generic[V]):
    """Answers of one kind. `ask` gets one that is not kept, and `weigh` tells its octets.

    A failure is kept for `definite` seconds if it has a reply, else for `unknown` seconds.
    """

    def __init__(
        self,
        ask: Ask[V],
        *,
        weigh: Callable[[V], int],
        definite: float,
        unknown: float,
        clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._definite = definite
        self._unknown = unknown
        self._kept: Cache[str, V | WireError] = Cache(
            MOST_OCTETS,
            weigh=lambda found: _EACH + (0 if isinstance(found, WireError) else weigh(found)),
            heaviest=HEAVIEST,
            clock=clock,
        )
        self._asking: dict[str, asyncio.Task[V | WireError]] = {}

    async def find(self, name: str) -> V:
        """Return the answer about `name`.

        Raises:
            WireError: as `ask`.
        """
        found = self._kept.get(name)
        if found is None:
            task = self._asking.get(name)
            if task is None:
                task = self._asking[name] = asyncio.create_task(self._ask_and_keep(name))
                task.add_done_callback(lambda _: self._asking.pop(name))
            found = await asyncio.shield(task)  # others may wait for it, too
        if isinstance(found, WireError):
            raise WireError(found.stage, found.reply or found.fault or Fault.DNS, found.detail)
        return found

    async def _ask_and_keep(self, name: str) -> V | WireError:
        found: V | WireError
        try:
            found, seconds = await self._ask(name)
        except WireError as error:
            found, seconds = error, self._definite if error.reply else self._unknown
        self._kept.put(name, found, seconds)
        return found
