"""What Prometheus reads of this service. Labels are few and bounded."""

import functools

from prometheus_client import Counter, Gauge, Histogram

SESSIONS = Counter("postroad_smtp_sessions_total", "Connections taken", ["listener"])
OPEN_SESSIONS = Gauge("postroad_smtp_sessions_open", "Connections open now", ["listener"])
TURNED_AWAY = Counter(
    "postroad_smtp_connections_refused_total", "Connections not taken", ["listener", "reason"]
)
ACCEPTED = Counter("postroad_smtp_messages_accepted_total", "Messages accepted", ["listener"])
RECIPIENTS = Counter(
    "postroad_smtp_recipients_accepted_total", "Recipients of accepted messages", ["listener"]
)
OCTETS = Counter("postroad_smtp_message_bytes_total", "Octets of accepted messages", ["listener"])
REFUSED = Counter(
    "postroad_smtp_refused_total", "Negative replies, by their code", ["listener", "code"]
)
AUTH_FAILURES = Counter("postroad_smtp_auth_failures_total", "Failed logins", ["reason"])
PUBLISH_SECONDS = Histogram(
    "postroad_smtp_publish_seconds",
    "From the end of the data to the broker's confirm",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
MEMORY = Gauge("postroad_smtp_memory_bytes", "Memory leased for messages in flight")


@functools.cache
def accepted_of(listener: str) -> tuple[Counter, Counter, Counter]:
    """Messages, recipients and octets accepted by `listener`: looked up once, not per message."""
    return ACCEPTED.labels(listener), RECIPIENTS.labels(listener), OCTETS.labels(listener)
