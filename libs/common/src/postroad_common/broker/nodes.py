"""Which node of the broker a link goes to next, and which of its addresses."""

import random
import time
from collections.abc import Callable

AVOID_SECONDS = 30.0
"""For so long, a node that did not answer or fell silent comes after the others."""

Address = tuple[str, int]
"""An IP address and a port."""


class Nodes:
    """The URLs of the nodes, beginning with one by chance."""

    def __init__(self, urls: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._urls = [part.strip() for part in urls.split(",") if part.strip()]
        self._clock = clock
        self._next = random.randrange(len(self._urls))
        self._avoided: dict[str | Address, float] = {}  # until when

    def __len__(self) -> int:
        """Count the URLs."""
        return len(self._urls)

    def next(self, taken: str | None = None) -> str:
        """Return the URL after the last one that was returned.

        Those that are to be avoided come after the others, and `taken`, where another link is
        connected, last of all.
        """
        ring = [self._urls[(self._next + step) % len(self._urls)] for step in range(len(self))]
        found = min(ring, key=lambda url: (url == taken, self._avoided_until(url)))
        self._next = (self._urls.index(found) + 1) % len(self)
        return found

    def in_order(self, addresses: list[Address], taken: Address | None = None) -> list[Address]:
        """Return the addresses of one URL in the order in which to try them, as `next` has it."""
        return sorted(addresses, key=lambda each: (each == taken, self._avoided_until(each)))

    def avoid(self, node: str | Address) -> None:
        """Let others come first for a while."""
        now = self._clock()
        self._avoided = {each: until for each, until in self._avoided.items() if until > now}
        self._avoided[node] = now + AVOID_SECONDS

    def _avoided_until(self, node: str | Address) -> float:
        until = self._avoided.get(node, 0.0)
        return until if until > self._clock() else 0.0
