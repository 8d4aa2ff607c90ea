"""The metrics that every service has. Labels are bounded: never an address, never a raw domain."""

from prometheus_client import Counter, Gauge, Histogram

CONSUMED = Counter(
    "postroad_deliveries_total", "Deliveries from a queue, by how they ended", ["queue", "ending"]
)
DEAD_LETTERED = Counter(
    "postroad_dead_letters_total", "Messages set aside on a dead-letter queue", ["queue"]
)
EVENT_LOOP_LAG = Histogram(
    "postroad_event_loop_lag_seconds",
    "How late the event loop runs",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0),
)
READY = Gauge("postroad_ready", "Whether the service is ready", ["check"])
