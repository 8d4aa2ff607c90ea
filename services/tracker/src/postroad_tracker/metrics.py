"""What Prometheus reads of the tracker, beside what every service has."""

from postroad_common.metrics import counter, gauge, histogram
from postroad_common.tokens import LinkKind

REQUESTS = counter(
    "postroad_tracker_requests_total",
    "Requests with a valid signature, by what they asked for",
    {"kind": LinkKind, "outcome": ("served", "head")},
)
REFUSED = counter("postroad_tracker_refused_total", "Requests without a valid signature")
REQUEST_SECONDS = histogram(
    "postroad_tracker_request_seconds",
    "From a request to its answer",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0),
)
UNRECORDED = counter(
    "postroad_tracker_unrecorded_total", "Hits that were answered and not kept: the spool is full"
)
FORWARDED = counter("postroad_tracker_events_total", "Events that the broker has confirmed")
TORN = counter("postroad_tracker_torn_lines_total", "Unreadable lines met in the spool")
SPOOL_BYTES = gauge("postroad_tracker_spool_bytes", "Octets of hits that the broker has not got")
SPOOL_LIMIT = gauge(
    "postroad_tracker_spool_limit_bytes", "Octets of hits that the spool may hold at most"
)
SPOOL_AGE = gauge(
    "postroad_tracker_spool_age_seconds", "Age of the oldest hit that the broker has not got"
)
