"""Counts how attempts end: by status, provider, reason and TLS, and how long deliveries took."""

from collections.abc import Iterable
from functools import cache

from prometheus_client import Counter

from postroad_common.schemas.eventdata import OTHER_PROVIDER
from postroad_sender import metrics
from postroad_sender.delivery.job import Job
from postroad_sender.delivery.outcome import Outcome, Status

UNVERIFIED = " unverified"
"""How the text of the protection ends where the certificate was not verified."""


def make_series(providers: Iterable[str]) -> None:
    """Have the series of `providers` from the start."""
    for provider in (*providers, OTHER_PROVIDER):
        for status in Status:
            _of_provider(provider, status)


def count_delivered(job: Job, outcome: Outcome, now: float) -> None:
    """Count one recipient that has the message; `now` is in Unix seconds."""
    _OUTCOMES[Status.DELIVERED].inc()
    _of_provider(job.provider, Status.DELIVERED).inc()
    metrics.DELIVERY_SECONDS.observe(max(0.0, now - job.message.began))
    protection = "" if outcome.server is None else outcome.server.tls
    if not protection:
        _CLEAR.inc()
    elif protection.endswith(UNVERIFIED):
        _UNVERIFIED.inc()
    else:
        _VERIFIED.inc()


def count_outcome(job: Job, outcome: Outcome, now: float) -> None:
    """Count what became of one recipient."""
    if outcome.status is Status.DELIVERED:
        count_delivered(job, outcome, now)
        return
    _OUTCOMES[outcome.status].inc()
    _of_provider(job.provider, outcome.status).inc()
    if outcome.status is Status.DEFERRED:
        metrics.DEFERRALS.labels(outcome.classification).inc()
        if not job.message.attempt:
            metrics.DEFERRED_MESSAGES.inc()


@cache
def _of_provider(provider: str, status: Status) -> Counter:
    return metrics.PROVIDER_OUTCOMES.labels(provider or OTHER_PROVIDER, status)


_OUTCOMES = {status: metrics.OUTCOMES.labels(status) for status in Status}
_CLEAR = metrics.DELIVERIES_TLS.labels("none")
_VERIFIED = metrics.DELIVERIES_TLS.labels("verified")
_UNVERIFIED = metrics.DELIVERIES_TLS.labels("unverified")
