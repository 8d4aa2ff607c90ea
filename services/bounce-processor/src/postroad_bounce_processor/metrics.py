"""What Prometheus reads of this service. Labels are few and bounded."""

from prometheus_client import Counter

RETURNS = Counter(
    "postroad_returns_total",
    "Returned mail, by what it was and which reader understood it",
    ["kind", "source"],
)
BOUNCE_CLASSES = Counter(
    "postroad_bounce_classes_total", "Bounces and failures, by class", ["class", "hard"]
)
REPORTS = Counter("postroad_dsn_total", "Delivery status notifications written", ["outcome"])
FORWARDS = Counter("postroad_returns_forwarded_total", "Returned mail passed on to its sender")
FEEDBACK = Counter(
    "postroad_feedback_reports_total",
    "Mail to the addresses for complaints: matched, unmatched, or other than a complaint",
    ["outcome"],
)
LEFT_OUT = Counter(
    "postroad_reports_left_out_total", "Reports and forwards that were not sent", ["reason"]
)
SUPPRESSED = Counter(
    "postroad_suppressions_added_total", "Addresses put on a suppression list", ["kind"]
)
