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
    per_second: float

    def headers(self) -> dict[str, str]:
        """Return the headers that tell a client how much it may still ask.

        `RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-10: a
        quota `q` in `w` seconds, of which `r` is left, all of it again in `t` seconds. The others
        are those of its earlier drafts.
        """
        reset = str(ceil(self.reset))
        window = max(1, ceil(self.limit / self.per_second))
        return {
            "RateLimit-Policy": f'"requests";q={self.limit};w={window}',
            "RateLimit": f'"requests";r={self.remaining};t={reset}',
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": reset,
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
    return RateState(
        int(buckets.capacity),
        max(0, int(level)),
        missing / buckets.per_second,
        wait,
        buckets.per_second,
    )


def too_many(rate: RateState, what: str) -> ApiError:
    """Return the 429 that says when to come back."""
    headers = rate.headers() | {"Retry-After": str(max(1, ceil(rate.retry_after)))}
    return ApiError(429, f"Too many {what}; wait and try again.", headers=headers)
