"""What a client is told about its rate: headers of every answer, and the refusal beyond it."""

from postroad_ingress_http.http.buckets import Verdict
from postroad_ingress_http.http.errors import ApiError


def rate_headers(verdict: Verdict) -> dict[str, str]:
    """The headers that tell a client how much it may still ask."""
    return {
        "RateLimit-Limit": str(verdict.limit),
        "RateLimit-Remaining": str(verdict.remaining),
        "RateLimit-Reset": str(int(verdict.reset) + 1),
    }


def too_many(verdict: Verdict, what: str) -> ApiError:
    """429 that says when to come back."""
    headers = rate_headers(verdict) | {"Retry-After": str(int(verdict.retry_after) + 1)}
    return ApiError(429, f"Too many {what}; wait and try again.", headers=headers)
