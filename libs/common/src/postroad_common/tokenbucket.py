"""Token buckets in memory, one per key: rates per token, per address, per login name.

Pure: the clock comes in as an argument, any steady one in seconds.
"""

from typing import Generic, TypeVar

from postroad_common.caching import Cache

K = TypeVar("K")
MAX_KEYS = 10_000


class TokenBuckets(Generic[K]):
    """Buckets of `capacity` tokens, refilled with `per_second`, full when first seen.

    The state is this process's own. At most `keys` buckets are remembered; one that is forgotten is
    full again.
    """

    def __init__(self, capacity: float, per_second: float, *, keys: int = MAX_KEYS) -> None:
        self.capacity = float(capacity)
        self.per_second = per_second
        self._levels: Cache[K, tuple[float, float]] = Cache(keys)

    def level(self, key: K, now: float) -> float:
        """Return the tokens in the bucket; below zero where some were reserved in advance."""
        found = self._levels.peek(key)
        if found is None:
            return self.capacity
        level, then = found
        return min(self.capacity, level + max(0.0, now - then) * self.per_second)

    def wait(self, key: K, now: float, amount: float = 1.0) -> float:
        """Return the seconds until `take` would succeed, 0.0 if it would now. Nothing is taken."""
        return max(0.0, (amount - self.level(key, now)) / self.per_second)

    def take(self, key: K, now: float, amount: float = 1.0) -> float:
        """Take `amount` tokens and return 0.0 if they are there.

        Otherwise nothing is taken and the seconds are returned after which they will be.
        """
        level = self.level(key, now)
        missing = amount - level
        self._levels.put(key, (level if missing > 0.0 else -missing, now))
        return max(0.0, missing / self.per_second)
