"""What Prometheus reads of the sender, beside what every service has."""

from postroad_common.mail.classification import Classification
from postroad_common.mail.requeue import RequeueReason
from postroad_common.metrics import AtStart, counter, gauge, histogram
from postroad_smtp.client.stage import Stage

_STATUSES = ("delivered", "deferred", "failed")
_SIGNALS = (
    "none",
    "refused",
    "timeout",
    "dropped",
    "connections",
    "busy",
    "rate",
    "policy",
    "reputation",
    "greylist",
    "mailbox",
    "recipient",
    "recipients",
    "parameters",
    "other",
)

OUTCOMES = counter(
    "postroad_sender_outcomes_total",
    "Recipients, by what became of the attempt",
    {"status": _STATUSES},
)
PROVIDER_OUTCOMES = counter(
    "postroad_sender_provider_outcomes_total",
    "Recipients, by who runs the receiving servers and what became of the attempt",
    {
        "provider": AtStart("the providers of the settings, or `other`"),
        "status": AtStart("as `postroad_sender_outcomes_total`"),
    },
)
DEFERRALS = counter(
    "postroad_sender_deferrals_total",
    "Recipients that were deferred, by class; those that failed for good are counted by class in "
    "`postroad_bounce_processor_bounces_total`",
    {"class": Classification},
)
DEFERRED_MESSAGES = counter(
    "postroad_sender_deferred_messages_total",
    "Recipients that were deferred for the first time: `deferred_unique` of docs/numbers.md",
)
SIMULATED = counter(
    "postroad_sender_simulated_total",
    "Attempts that the simulator made up, by the address; these are in none of the others",
    {
        "address": (
            *("delivered", "failed", "bounced", "complained", "deferred", "opened", "clicked"),
            "other",
        )
    },
)
DELIVERY_SECONDS = histogram(
    "postroad_sender_delivery_seconds",
    "From the acceptance of a message, over SMTP or REST, to its delivery to a recipient; of mail "
    "for later, from its time",
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400),
)
DELIVERIES_TLS = counter(
    "postroad_sender_deliveries_tls_total",
    "Deliveries, by what protected the connection: TLS with a certificate that was verified, with "
    "one that was not, or nothing",
    {"tls": ("verified", "unverified", "none")},
)
SIGNALS = counter(
    "postroad_sender_signals_total",
    "What replies and faults said about their lanes",
    {"signal": _SIGNALS, "stage": Stage},
)
LATENCY = histogram(
    "postroad_sender_transaction_seconds",
    "From MAIL to the last reply of a transaction",
    (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300),
)
WAIT = histogram(
    "postroad_sender_wait_seconds",
    "Time in the lane before a transaction begins",
    (0.001, 0.01, 0.05, 0.25, 1, 5, 15, 60, 300),
)
CONNECTIONS = gauge("postroad_sender_connections", "Open connections to receiving servers")
OPENINGS_HELD = counter(
    "postroad_sender_openings_held_total",
    "Times that a lane wanted another connection and had opened too many in the last second",
)
ADDRESSES_FULL = counter(
    "postroad_sender_addresses_full_total",
    "Times that a lane wanted another connection and its addresses had as many as they may",
)
OPENED = counter(
    "postroad_sender_connections_opened_total",
    "Attempts to open a session; `in vain`: it ended before it carried a message; `next host`: in "
    "the middle of an attempt, because a host did not take the message",
    {"result": ("opened", "failed", "in vain", "next host")},
)
TLS_POLICIES = counter(
    "postroad_sender_tls_policies_total",
    "What came of TLS policies, once for each policy and connection",
    {
        "kind": ("route", "dane", "mta-sts", "requiretls"),
        "result": ("ok", "failed", "waived", "would-fail"),
    },
)
LANES = gauge(
    "postroad_sender_lanes",
    "Lanes in memory, by state",
    {"state": ("idle", "open", "limited", "closed")},
)
CAPPED = gauge(
    "postroad_sender_lanes_capped",
    "Lanes whose limit for the day is used up, by kind of limit",
    {"kind": ("cap", "warmup")},
)
WARMUP = gauge(
    "postroad_sender_warmup_leased",
    "Messages of today's warm-up that all processes together have used or hold",
    {"source": AtStart("sources with a warm-up")},
)
WAITING = gauge("postroad_sender_waiting", "Messages waiting in lanes")
REQUEUED = counter(
    "postroad_sender_requeued_total",
    "Messages put back to a queue, by reason",
    {"reason": RequeueReason},
)
REROUTED = counter(
    "postroad_sender_rerouted_total", "Messages passed on to the shard of their site"
)
OWNED = gauge("postroad_sender_shards", "Shards that this process owns")
BACKLOGS = gauge("postroad_sender_backlogs", "Lanes with a queue of their own for their backlog")
BACKLOG_AGE = gauge(
    "postroad_sender_backlog_age_seconds",
    "Age of the oldest mail in the backlogs of this replica's lanes, at most: from its acceptance, "
    "of mail for later from its time; 0 without any",
)
RECOGNISED = counter(
    "postroad_sender_recognised_total",
    "Messages brought again that were already dealt with",
    {"how": ("handed on", "under way", "delivered")},
)
JOURNAL_BYTES = gauge(
    "postroad_sender_journal_bytes", "Octets of the journal of what was delivered"
)
