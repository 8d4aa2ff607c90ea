"""What Prometheus reads of feedback, beside what every service has."""

from postroad_common.broker.topology import EVENTS as QUEUE
from postroad_common.metrics import AGES, QUEUE_AGE, counter, gauge, histogram
from postroad_common.schemas.events import EventName

EVENTS = counter("postroad_feedback_events_total", "Events recorded", {"event": EventName})
DUPLICATES = counter("postroad_feedback_duplicates_total", "Events that were recorded before")
EVENT_LAG = histogram(
    "postroad_feedback_event_lag_seconds",
    "From an event to its being recorded: what the timelines are late by",
    AGES,
)
RECOVERED = counter(
    "postroad_feedback_recovered_batches_total", "Abandoned batches that were finished"
)
DROPPED = counter(
    "postroad_feedback_dropped_batches_total", "Abandoned batches that could not be finished"
)
GIVEN_UP = counter(
    "postroad_feedback_unknown_events_total", "Events whose message never became known"
)
CALLS = counter(
    "postroad_feedback_webhook_calls_total",
    "Webhook calls: taken by the end point, refused with a status, or failed without one",
    {"outcome": ("delivered", "refused", "failed")},
)
CALL_SECONDS = histogram(
    "postroad_feedback_webhook_call_seconds",
    "From the beginning of a webhook call to the end of its answer",
    (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0),
)
SPANS = counter(
    "postroad_feedback_spans_total",
    "Spans of OpenTelemetry: taken by the collector, or dropped because it was away too long",
    {"outcome": ("exported", "dropped")},
)
BACKLOG = gauge(
    "postroad_feedback_webhook_backlog",
    "Events that wait to be posted to end points, counted up to 100,000",
)
BACKLOG_AGE = gauge(
    "postroad_feedback_webhook_backlog_age_seconds",
    "For how long the event has been due that has waited longest for a healthy end point",
)
RESTING = gauge(
    "postroad_feedback_webhooks_resting", "End points that are left alone after failed calls"
)
DISABLED = counter(
    "postroad_feedback_webhooks_disabled_total",
    "End points disabled because calls failed for too long, or as they answered 410 Gone",
)
ARCHIVED = counter("postroad_feedback_archived_total", "Entries of the archive that were stored")
ARCHIVED_BYTES = counter(
    "postroad_feedback_archived_bytes_total", "Octets of the archive's entries, compressed"
)
AGE = QUEUE_AGE.labels(QUEUE.label)
