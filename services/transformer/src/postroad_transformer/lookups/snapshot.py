"""Which mail may be suppressed, told without the database: for the time that it is away.

A Bloom filter over the names of all entries: it never says no for an entry that it has seen, and
yes for one in a thousand that is not there. So mail goes on while MongoDB fails over, and only what
may be suppressed waits. New entries are taken up within seconds, removed ones within the hour.
"""

import asyncio
import hashlib
import time

import structlog

from postroad_common.errors import StoreAway
from postroad_common.store.suppressions import Addressed, Suppressions, names_of

BITS = 1 << 25  # 4 MiB; for two million entries
HASHES = 6
REFRESH_EVERY = 3.0  # seconds
RELOAD_EVERY = 3600.0  # seconds; entries that were removed are forgotten then
OVERLAP = 60.0  # seconds of new entries read again: the clocks of other machines differ
PAGE = 5_000

_log = structlog.get_logger("lookups")


class BloomFilter:
    """The names of entries, of which nothing but bits are kept."""

    def __init__(self) -> None:
        self._bits = bytearray(BITS // 8)

    def add(self, name: str) -> None:
        """Take up a name."""
        for place in _places(name):
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, name: str) -> bool:
        return all(self._bits[place >> 3] >> (place & 7) & 1 for place in _places(name))


class SuppressionSnapshot:
    """One per process. Until it is loaded for the first time, all mail may be suppressed."""

    def __init__(self, suppressions: Suppressions) -> None:
        self._suppressions = suppressions
        self._filter: BloomFilter | None = None
        self._read_until = 0.0

    def may_be_suppressed(self, mail: Addressed) -> bool:
        """Whether there may be an entry that holds for `mail`."""
        known = self._filter
        return known is None or any(name in known for name in names_of(mail))

    async def reload(self) -> None:
        """Read all names. Raises StoreAway."""
        began, made, after = time.time(), BloomFilter(), ""
        while page := await self._suppressions.names(after=after, limit=PAGE):
            for name in page:
                made.add(name)
            after = page[-1]
            await asyncio.sleep(0)
        self._filter, self._read_until = made, began
        await self.refresh()

    async def refresh(self) -> None:
        """Read the names of new entries. Raises StoreAway."""
        known, now = self._filter, time.time()
        if known is None:
            return
        for name in await self._suppressions.names_since(self._read_until - OVERLAP):
            known.add(name)
        self._read_until = now

    async def run(self) -> None:
        """Keep up with the list, for ever."""
        reloaded = -RELOAD_EVERY
        while True:
            now = time.monotonic()
            try:
                if now - reloaded >= RELOAD_EVERY:
                    await self.reload()
                    reloaded = now
                else:
                    await self.refresh()
            except StoreAway as error:
                _log.info("suppressions not read", error=str(error))
            await asyncio.sleep(REFRESH_EVERY)


def _places(name: str) -> list[int]:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
    return [(first + number * step) % BITS for number in range(HASHES)]
