"""What Prometheus reads of the bounce-processor, beside what every service has."""

from typing import get_args

from postroad_bounce_processor.understanding.record import RecordSource, ReturnKind
from postroad_common.broker import topology
from postroad_common.mail.classification import Classification
from postroad_common.metrics import QUEUE_AGE, counter
from postroad_common.schemas.returns import Outcome

RETURNS = counter(
    "postroad_bounce_processor_returns_total",
    "Returned mail, by what it was and which reader understood it",
    {"kind": ReturnKind, "source": RecordSource},
)
BOUNCES = counter(
    "postroad_bounce_processor_bounces_total",
    "Recipients that mail failed for, by class: `failure` was met by the sender, `return` came "
    "back later; `hard`: the address itself is dead",
    {"origin": ("failure", "return"), "class": Classification, "hard": ("true", "false")},
)
REPORTS = counter(
    "postroad_bounce_processor_dsn_total",
    "Delivery status notifications written",
    {"outcome": get_args(Outcome)},
)
FORWARDS = counter(
    "postroad_bounce_processor_forwarded_total", "Returned mail passed on to its sender"
)
FEEDBACK = counter(
    "postroad_bounce_processor_feedback_total",
    "Mail to the addresses for complaints: matched, unmatched, or other than a complaint",
    {"outcome": ("matched", "unmatched", "other")},
)
LEFT_OUT = counter(
    "postroad_bounce_processor_left_out_total",
    "Reports and forwards that were not sent: their origin or message gets too many, or a loop",
    {
        "reason": (
            "pace",
            "loop",
            "too many returns for one message",
            "too many reports without a message",
        )
    },
)
SUPPRESSED = counter(
    "postroad_bounce_processor_suppressions_total",
    "Addresses put on a suppression list",
    {"kind": ("hard", "soft", "complaint")},
)
RETURNS_AGE = QUEUE_AGE.labels(topology.RETURNS.label)
FAILURES_AGE = QUEUE_AGE.labels(topology.FAILURES.label)
