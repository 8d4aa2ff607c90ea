"""The cache of the house: a bounded mapping that forgets the least recently used entry first.

Entries may also expire, and may be bounded by weight (octets, say) instead of number. It is built
on `OrderedDict`, whose operations are in C: `cachetools` does the same in Python and costs several
times as much per look-up, which the hot paths would feel.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterator
from math import inf
from typing import Generic, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class Cache(Generic[K, V]):
    """At most `size` entries, each for `seconds` after it was put (for ever if None).

    With `weigh` the sum of what it returns for the values is bounded by `size` instead; a value
    that weighs more than `heaviest` (by default `size`) is not kept at all. `clock` tells monotonic
    seconds, and is read only where entries expire. `forgotten` is called with each entry that is
    pushed out to make room.
    """

    __slots__ = (
        "_clock",
        "_entries",
        "_expires",
        "_forgotten",
        "_heaviest",
        "_seconds",
        "_size",
        "_weigh",
        "weight",
    )

    def __init__(
        self,
        size: int,
        *,
        seconds: float | None = None,
        weigh: Callable[[V], int] | None = None,
        heaviest: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        forgotten: Callable[[K, V], None] | None = None,
    ) -> None:
        self._size = size
        self._seconds = seconds
        self._weigh = weigh
        self._heaviest = size if heaviest is None else heaviest
        self._clock = clock
        self._forgotten = forgotten
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._expires: dict[K, float] = {}  # only of entries that do
        self.weight = 0  # of all values, where they are weighed

    def __len__(self) -> int:
        """Count the entries, those that have expired unseen included."""
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        """Tell whether there is an entry, without using it."""
        return key in self._entries and not self._is_over(key)

    def __iter__(self) -> Iterator[K]:
        """Iterate over the keys, the least recently used first."""
        return iter(self._entries)

    def items(self) -> ItemsView[K, V]:
        """Return all entries, the least recently used first."""
        return self._entries.items()

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: D | None = None) -> V | D | None:
        """Return the value and mark it as used; `default` if there is none or it has expired."""
        if self._expires and self._is_over(key):
            self.pop(key)
            return default
        try:
            value = self._entries[key]
            self._entries.move_to_end(key)
        except KeyError:  # never there, or pushed out by another thread just now
            return default
        return value

    @overload
    def peek(self, key: K) -> V | None: ...
    @overload
    def peek(self, key: K, default: D) -> V | D: ...
    def peek(self, key: K, default: D | None = None) -> V | D | None:
        """Return what `get` would, without marking it as used."""
        if key not in self._entries or self._is_over(key):
            return default
        return self._entries[key]

    def put(self, key: K, value: V, seconds: float | None = None) -> None:
        """Keep `value`, for `seconds` instead of the cache's own time if they are given."""
        if self._weigh is None:
            self._entries[key] = value
            self._entries.move_to_end(key)
        else:
            self.pop(key)
            weight = self._weigh(value)
            if weight > self._heaviest:
                return
            self._entries[key] = value
            self.weight += weight
        lasting = self._seconds if seconds is None else seconds
        if lasting is None or lasting == inf:
            self._expires.pop(key, None)
        else:
            self._expires[key] = self._clock() + lasting
        while (len(self._entries) if self._weigh is None else self.weight) > self._size:
            self._push_out()

    def pop(self, key: K) -> V | None:
        """Remove an entry and return its value; None if there was none."""
        if key not in self._entries:
            return None
        value = self._entries.pop(key)
        self._expires.pop(key, None)
        if self._weigh is not None:
            self.weight -= self._weigh(value)
        return value

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self._expires.clear()
        self.weight = 0

    def _is_over(self, key: K) -> bool:
        expires = self._expires.get(key)
        return expires is not None and expires <= self._clock()

    def _push_out(self) -> None:
        key, value = self._entries.popitem(last=False)
        self._expires.pop(key, None)
        if self._weigh is not None:
            self.weight -= self._weigh(value)
        if self._forgotten is not None:
            self._forgotten(key, value)
