"""Who may come in and how much of what there is they may use: connections, memory, rates.

One process, one event loop: plain counters. What the bounds are is in `limits`.
"""

import asyncio
import contextlib
import ipaddress
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from postroad_common.tokenbucket import TokenBuckets

_V6_PREFIX = 64


def client_key(address: str) -> str:
    """Return what clients are counted by: an IPv4 address, or the /64 of an IPv6 one."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((ip, _V6_PREFIX), strict=False))


class ConnectionLimiter:
    """Counts connections: at most `total` in all, and `per_key` of each key but None."""

    def __init__(self, total: int, per_key: int) -> None:
        self._total = total
        self._per_key = per_key
        self._by_key: Counter[str | None] = Counter()
        self.open = 0

    def take(self, key: str | None) -> bool:
        """Count one more, and return whether it was allowed. `release` ends it."""
        of_key = self._by_key.get(key, 0)
        if self.open >= self._total or (key is not None and of_key >= self._per_key):
            return False
        self._by_key[key] = of_key + 1
        self.open += 1
        return True

    def has_room_of(self, key: str | None) -> bool:
        """Return whether `key` has not got all that it may."""
        return key is None or self._by_key.get(key, 0) < self._per_key

    def release(self, key: str | None) -> None:
        """Count one less."""
        self.open -= 1
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]


class Admissions:
    """The connections of a listener, of which a share is kept for clients that have logged in.

    When all others are taken, who has waited longest without logging in makes room for the next,
    so that no crowd of idle connections keeps customers out.
    """

    def __init__(
        self,
        all_: ConnectionLimiter,
        before_login: ConnectionLimiter | None,
        *,
        grace: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep places. `before_login` is None where nobody logs in: there nobody makes room.

        Everybody has `grace` seconds to log in, whoever waits.
        """
        self._all = all_
        self._before_login = before_login
        self._grace = grace
        self._clock = clock
        self._waiting: dict[Admission, float] = {}
        """Who has not logged in, and since when, the longest first."""

    def take(self, key: str | None) -> "Admission | None":
        """Return the place of one more connection, or None if there is none."""
        if not self._all.has_room_of(key):
            return None
        if self._before_login is None:
            return Admission(self, key) if self._all.take(key) else None
        if not self._before_login.has_room_of(key):
            return None
        while not (taken := self._take(key, self._before_login)) and self._make_room():
            pass
        if not taken:
            return None
        admission = Admission(self, key)
        self._waiting[admission] = self._clock()
        return admission

    def _take(self, key: str | None, before_login: ConnectionLimiter) -> bool:
        if not self._all.take(key):
            return False
        if before_login.take(key):
            return True
        self._all.release(key)
        return False

    def _make_room(self) -> bool:
        longest = next(iter(self._waiting), None)
        if longest is None or self._clock() - self._waiting[longest] < self._grace:
            return False
        longest.release()
        longest.give_way()
        return True

    def logged_in(self, admission: "Admission") -> None:
        """Let another wait in its place."""
        if self._waiting.pop(admission, None) is not None and self._before_login is not None:
            self._before_login.release(admission.key)

    def release(self, admission: "Admission") -> None:
        """Give a place back."""
        self.logged_in(admission)
        self._all.release(admission.key)


class Admission:
    """The place of one connection. `give_way` is called when another has got the place."""

    __slots__ = ("_admissions", "_released", "give_way", "key")

    def __init__(self, admissions: Admissions, key: str | None) -> None:
        self._admissions = admissions
        self._released = False
        self.key = key
        self.give_way: Callable[[], object] = lambda: None

    def logged_in(self) -> None:
        """Make room for another that has not."""
        self._admissions.logged_in(self)

    def release(self) -> None:
        """Give the place back, if that has not been done."""
        if not self._released:
            self._released = True
            self._admissions.release(self)


class Turns:
    """Lets at most `each` of the same key go on at a time; the others wait in their order."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._queues: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn of `key`, and hold it."""
        semaphore, users = self._queues.get(key) or (asyncio.Semaphore(self._each), 0)
        self._queues[key] = (semaphore, users + 1)
        try:
            async with semaphore:
                yield
        finally:
            _, users = self._queues[key]
            if users == 1:
                del self._queues[key]
            else:
                self._queues[key] = (semaphore, users - 1)


class Memory:
    """The octets that all messages in flight may use together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def lease(self) -> "Lease":
        """Return a share, empty at first."""
        return Lease(self)

    def take(self, size: int) -> bool:
        """Take `size` octets and return whether there were as many."""
        if not self.has(size):
            return False
        self.used += size
        return True

    def has(self, size: int) -> bool:
        """Return whether `take` would succeed."""
        return self.used + size <= self._limit

    def give(self, size: int) -> None:
        """Give octets back."""
        self.used -= size


class Lease:
    """The memory of one message: it is kept about twice while it changes hands."""

    __slots__ = ("_memory", "_size")

    _STEP = 64 * 1024

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._size = 0

    def grow(self, size: int) -> bool:
        """Make room for a message of `size` octets in all; False when there is none."""
        need = 2 * size
        if need <= self._size:
            return True
        need = max(need, self._size + self._STEP)
        if not self._memory.take(need - self._size):
            return False
        self._size = need
        return True

    def could_grow(self, size: int) -> bool:
        """Return whether `grow` would succeed. A size only announced takes no memory."""
        return self._memory.has(2 * size - self._size)

    def release(self) -> None:
        """Give everything back."""
        self._memory.give(self._size)
        self._size = 0


def rates(limit: int, seconds: float) -> TokenBuckets[str] | None:
    """Return buckets of `limit` in `seconds`, one per key; None if `limit` is 0: no limit."""
    return TokenBuckets(limit, limit / seconds) if limit else None
