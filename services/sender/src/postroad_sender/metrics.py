"""The sender's metrics. Labels are bounded: outcomes, signals and stages, never a domain."""

from prometheus_client import Counter, Gauge, Histogram

OUTCOMES = Counter(
    "postroad_sender_outcomes_total",
    "Recipients, by what became of the attempt",
    ["status"],
)
SIGNALS = Counter(
    "postroad_sender_signals_total",
    "What replies and troubles said about their lanes",
    ["signal", "stage"],
)
LATENCY = Histogram(
    "postroad_sender_transaction_seconds",
    "From MAIL to the last reply of a transaction",
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300),
)
WAIT = Histogram(
    "postroad_sender_wait_seconds",
    "Time in the lane before a transaction begins",
    buckets=(0.001, 0.01, 0.05, 0.25, 1, 5, 15, 60, 300),
)
CONNECTIONS = Gauge("postroad_sender_connections", "Open connections to receiving servers")
OPENED = Counter(
    "postroad_sender_connections_opened_total", "Attempts to open a session", ["result"]
)
TLS_POLICIES = Counter(
    "postroad_sender_tls_policies_total",
    "What came of TLS policies, once for each policy and connection",
    ["kind", "result"],
)
LANES = Gauge("postroad_sender_lanes", "Lanes in memory, by state", ["state"])
CAPPED = Gauge(
    "postroad_sender_lanes_capped",
    "Lanes whose limit for the day is used up, by kind of limit",
    ["kind"],
)
WARMUP = Gauge(
    "postroad_sender_warmup_leased",
    "Messages of today's warm-up that all processes together have used or hold",
    ["source"],
)
WAITING = Gauge("postroad_sender_waiting", "Messages waiting in lanes")
REQUEUED = Counter(
    "postroad_sender_requeued_total", "Messages put back to a queue, by reason", ["reason"]
)
REROUTED = Counter(
    "postroad_sender_rerouted_total",
    "Messages passed on to the shard of their site",
)
OWNED = Gauge("postroad_sender_shards", "Shards that this process owns")
BACKLOGS = Gauge("postroad_sender_backlogs", "Lanes with a queue of their own for their backlog")
RECOGNISED = Counter(
    "postroad_sender_recognised_total",
    "Messages brought again that were already dealt with",
    ["how"],
)
