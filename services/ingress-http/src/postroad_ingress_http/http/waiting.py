"""Connections from which nothing worth a place has come: the first to go when there are too many.

Such a connection has not sent a whole head, or sends the body of a request without a token, or
rests between two requests. Where they are too many the one that has waited longest is closed, so
that half heads and slow bodies displace each other and nobody who has something to say.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)


class WaitingConnections(Generic[C]):
    """Connections that wait, in the order in which they began to, with the address of each."""

    def __init__(self, per_address: int) -> None:
        self._per_address = per_address
        self._since: dict[C, str] = {}
        self._of: dict[str, dict[C, None]] = {}

    def add(self, connection: C, address: str) -> C | None:
        """Note that it waits from now on; return one to close if its address has too many."""
        self.discard(connection)
        self._since[connection] = address
        beside = self._of.setdefault(address, {})
        beside[connection] = None
        return next(iter(beside)) if len(beside) > self._per_address else None

    def discard(self, connection: C) -> None:
        """Note that it waits no longer, if it did."""
        address = self._since.pop(connection, None)
        if address is None:
            return
        beside = self._of[address]
        del beside[connection]
        if not beside:
            del self._of[address]

    def longest(self) -> C | None:
        """Return the connection that has waited longest, if any does."""
        return next(iter(self._since), None)
