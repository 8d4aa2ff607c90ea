"""The metrics that every service has, or that several have alike; the rest is with each service.

Which of them a service has follows from what it does: who consumes nothing has no deliveries.
"""

from postroad_common.mail.requeue import RequeueReason
from postroad_common.metrics.definition import (
    DESCRIPTIONS,
    AtStart,
    Description,
    counter,
    gauge,
    histogram,
)

__all__ = [
    "ACCEPTED_BYTES",
    "ACCEPTED_MESSAGES",
    "ACCEPTED_RECIPIENTS",
    "AGES",
    "BROKER_CONNECTED",
    "BROKER_CONNECTS",
    "BROKER_LOSSES",
    "BUILD",
    "BUNDLES",
    "BUNDLE_MAILS",
    "COMMANDS",
    "CONSUMED",
    "DATABASE_FAILURES",
    "DATABASE_SECONDS",
    "DEAD_LETTERED",
    "DESCRIPTIONS",
    "ENDINGS",
    "EVENTS_WAITING",
    "EVENT_LOOP_LAG",
    "PUBLISH_FAILURES",
    "PUBLISH_SECONDS",
    "QUEUE_AGE",
    "READY",
    "REQUEUED",
    "AtStart",
    "Description",
    "counter",
    "gauge",
    "histogram",
]

AGES = (0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
"""Bounds for how long something has waited, in seconds."""
_CALLS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds for how long a server of ours takes, in seconds."""
ENDINGS = ("ack", "retry", "dead")
COMMANDS = (
    "find",
    "insert",
    "update",
    "delete",
    "aggregate",
    "getMore",
    "findAndModify",
    "ping",
    "other",
)
_VIA = {"via": ("smtp", "rest")}
_QUEUES = AtStart("the queues that the service consumes")

BUILD = gauge(
    "postroad_build_info",
    "Always 1: which release of which service this is",
    {
        "service": AtStart("the service"),
        "version": AtStart("its release"),
        "python": AtStart("the release of Python"),
    },
)
READY = gauge(
    "postroad_ready",
    "Whether a readiness check passes (1) or not (0); `service` stands for all together",
    {"check": AtStart("`service` and the checks of the service")},
)
EVENT_LOOP_LAG = histogram(
    "postroad_event_loop_lag_seconds",
    "How late the event loop runs",
    (0.001, 0.005, 0.02, 0.1, 0.5, 2.0),
)

ACCEPTED_MESSAGES = counter(
    "postroad_accepted_messages_total", "Submissions that are safely on the queue", _VIA
)
ACCEPTED_RECIPIENTS = counter(
    "postroad_accepted_recipients_total", "Recipients of submissions that are safely queued", _VIA
)
ACCEPTED_BYTES = counter(
    "postroad_accepted_bytes_total", "Octets of submissions that are safely on the queue", _VIA
)

CONSUMED = counter(
    "postroad_deliveries_total",
    "Deliveries from a queue, by how they ended",
    {"queue": _QUEUES, "ending": ENDINGS},
)
REQUEUED = counter(
    "postroad_requeued_total",
    "Deliveries that wait for another try, here or at the broker, by reason",
    {"reason": RequeueReason},
)
DEAD_LETTERED = counter(
    "postroad_dead_letters_total", "Messages put on a dead-letter queue", {"queue": _QUEUES}
)
QUEUE_AGE = histogram(
    "postroad_queue_age_seconds",
    "How long messages had been due when they were taken from a queue",
    AGES,
    {
        "queue": AtStart(
            "the queues that the service consumes; in the sender `sender.parked` for all backlogs "
            "together, and retry tiers for what came back through them"
        )
    },
)
PUBLISH_SECONDS = histogram(
    "postroad_publish_seconds",
    "From a publication (one message, or a batch) to the broker's confirm",
    _CALLS,
)
BUNDLES = counter(
    "postroad_bundles_total", "AMQP messages that submissions left in, alone or together"
)
BUNDLE_MAILS = counter("postroad_bundle_mails_total", "Submissions that left in these")
PUBLISH_FAILURES = counter(
    "postroad_publish_failures_total",
    "Publications that were not confirmed",
    {"reason": ("away", "unroutable")},
)
BROKER_CONNECTED = gauge(
    "postroad_broker_connected",
    "Whether the connection to RabbitMQ is up",
    {"role": AtStart("`publish`, `standby` where clients wait, `consume` where it consumes")},
)
BROKER_CONNECTS = counter(
    "postroad_broker_connects_total",
    "Attempts to connect to RabbitMQ",
    {"role": AtStart("as `postroad_broker_connected`"), "result": ("connected", "failed")},
)
BROKER_LOSSES = counter(
    "postroad_broker_connections_lost_total",
    "Connections to RabbitMQ that ended without being asked to",
    {"role": AtStart("as `postroad_broker_connected`")},
)
EVENTS_WAITING = gauge(
    "postroad_events_waiting", "Events in this process that the broker has not confirmed"
)

DATABASE_SECONDS = histogram(
    "postroad_database_command_seconds",
    "Commands to MongoDB, as the driver measures them",
    _CALLS,
    {"command": COMMANDS},
)
DATABASE_FAILURES = counter(
    "postroad_database_failures_total",
    "Calls to the store that failed: MongoDB away or too slow, refused, value not storable",
    {"reason": ("away", "refused", "unstorable")},
)
