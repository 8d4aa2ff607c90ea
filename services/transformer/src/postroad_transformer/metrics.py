"""What Prometheus reads of the transformer, beside what every service has."""

from postroad_common.broker.topology import ACCEPTED
from postroad_common.metrics import QUEUE_AGE, counter, histogram

MESSAGES = counter(
    "postroad_transformer_messages_total",
    "Messages (one per recipient), by result",
    {"result": ("outbound", "suppressed", "test")},
)
UNCHANGED = counter(
    "postroad_transformer_unchanged_total", "Submissions whose content was not changed"
)
TEMPLATE_SECONDS = histogram(
    "postroad_transformer_template_seconds",
    "Time to make the template of a submission",
    (0.0005, 0.001, 0.002, 0.005, 0.02, 0.1, 0.5, 2.0),
)
DOUBTED = counter(
    "postroad_transformer_suppression_doubts_total",
    "Mails that were held, once for each look, because they may be suppressed and MongoDB was away",
)
SKIPPED = counter(
    "postroad_transformer_lookups_skipped_total",
    "What was not looked up or stored because MongoDB was away: addresses that were checked "
    "by the snapshot of the suppression list, sender domains signed for with the keys at hand, "
    "images",
    {"lookup": ("suppressions", "keys", "images")},
)
ARCHIVED = counter("postroad_transformer_archived_total", "Entries handed to the archive")
ARCHIVE_QUEUED = counter(
    "postroad_transformer_archive_queued_total",
    "Batches of the archive that were left to feedback, because the database was away",
)
ARCHIVED_BYTES = counter(
    "postroad_transformer_archived_bytes_total",
    "Octets of the archive's entries, as they are and compressed",
    {"what": ("content", "packed")},
)
ARCHIVED_CONTENT = ARCHIVED_BYTES.labels("content")
ARCHIVED_PACKED = ARCHIVED_BYTES.labels("packed")
AGE = QUEUE_AGE.labels(ACCEPTED.label)
SENT = MESSAGES.labels("outbound")
TESTED = MESSAGES.labels("test")
SUPPRESSED = MESSAGES.labels("suppressed")
HEAVY_SECONDS = histogram(
    "postroad_transformer_heavy_seconds",
    "Time that heavy mail takes in a process of its own",
    (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 20.0),
)
GIVEN_UP = counter(
    "postroad_transformer_given_up_total",
    "Heavy mail whose HTML was left as it was, because it took too much: `crowded` is for a login "
    "whose mail did so again and again, `busy` for a machine without time for it time and again",
    {"reason": ("time", "memory", "crowded", "busy")},
)
