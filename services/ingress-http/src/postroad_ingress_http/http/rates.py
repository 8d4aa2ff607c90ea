"""What a client is told about its rate: headers of every answer, and the refusal beyond it."""

from dataclasses import dataclass
from math import ceil

from postroad_common.tokenbucket import TokenBuckets
from postroad_ingress_http.http.errors import ApiError


@dataclass(frozen=True, slots=True)
class RateState:
    """A bucket after it was asked. `reset` and `retry_after` are seconds until full and until one.

    `retry_after` is 0.0 when the request was allowed.
    """

    limit: int
    remaining: int
    reset: float
    retry_after: float

    def headers(self) -> dict[str, str]:
        """Return the headers that tell a client how much it may still ask."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(ceil(self.reset)),
        }


def take(buckets: TokenBuckets[str], key: str, now: float) -> RateState:
    """Take one from the bucket of `key`, if it is there."""
    return _rate(buckets, key, now, buckets.take(key, now))


def give_back(buckets: TokenBuckets[str], key: str, now: float) -> None:
    """Put one back that was taken from the bucket of `key`."""
    buckets.take(key, now, -1.0)


def look(buckets: TokenBuckets[str], key: str, now: float) -> RateState:
    """Return what `take` would, without taking."""
    return _rate(buckets, key, now, buckets.wait(key, now))


def _rate(buckets: TokenBuckets[str], key: str, now: float, wait: float) -> RateState:
    level = buckets.level(key, now)
    missing = buckets.capacity - level
    return RateState(int(buckets.capacity), int(level), missing / buckets.per_second, wait)


def too_many(rate: RateState, what: str) -> ApiError:
    """Return the 429 that says when to come back."""
    headers = rate.headers() | {"Retry-After": str(max(1, ceil(rate.retry_after)))}
    return ApiError(429, f"Too many {what}; wait and try again.", headers=headers)
