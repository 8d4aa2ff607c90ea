"""How much mail comes in and goes out, how long it takes, and where it waits."""

from dashboards.panels import Panel, Query, Row, board

BOARD = board(
    "throughput",
    "Postroad: throughput",
    "What is accepted, delivered and put off, how long that takes, and where mail waits.",
    [
        Row(
            "Now",
            [
                Panel(
                    "Accepted",
                    [Query("sum(via:postroad_accepted_recipients:rate5m)", "recipients")],
                    "mps",
                    now=True,
                ),
                Panel(
                    "Delivered",
                    [Query('sum(status:postroad_sender_outcomes:rate5m{status="delivered"})')],
                    "mps",
                    now=True,
                ),
                Panel(
                    "Half is delivered within",
                    [Query("postroad_sender_delivery_seconds:p50_5m")],
                    "s",
                    now=True,
                ),
                Panel(
                    "Waits in queues",
                    [Query('sum(queue:postroad_queue_messages:max{queue!~".*[.]dead"})')],
                    now=True,
                ),
            ],
        ),
        Row(
            "In and out",
            [
                Panel(
                    "Accepted recipients, by the way in",
                    [Query("via:postroad_accepted_recipients:rate5m", "{{via}}")],
                    "mps",
                    stacked=True,
                ),
                Panel(
                    "Attempts, by what became of them",
                    [Query("status:postroad_sender_outcomes:rate5m", "{{status}}")],
                    "mps",
                    stacked=True,
                ),
                Panel(
                    "Octets accepted",
                    [Query("sum by (via) (rate(postroad_accepted_bytes_total[5m]))", "{{via}}")],
                    "Bps",
                ),
            ],
        ),
        Row(
            "Times",
            [
                Panel(
                    "From acceptance to delivery",
                    [
                        Query("postroad_sender_delivery_seconds:p50_5m", "half"),
                        Query("postroad_sender_delivery_seconds:p95_5m", "19 of 20"),
                    ],
                    "s",
                    "Over SMTP and REST alike, with all that receivers put off.",
                ),
                Panel(
                    "Age of messages when they are taken from a queue (19 of 20)",
                    [Query("queue:postroad_queue_age_seconds:p95_5m", "{{queue}}")],
                    "s",
                ),
                Panel(
                    "From the end of DATA to the confirm (99 of 100)",
                    [
                        Query(
                            "histogram_quantile(0.99, sum by (le) "
                            "(rate(postroad_ingress_smtp_publish_seconds_bucket[5m])))",
                            "SMTP",
                        ),
                        Query(
                            "histogram_quantile(0.99, sum by (le) "
                            '(rate(postroad_ingress_http_request_seconds_bucket{area="send"}[5m])))',
                            "REST, whole request",
                        ),
                    ],
                    "s",
                ),
            ],
        ),
        Row(
            "Queues",
            [
                Panel(
                    "Work",
                    [
                        Query(
                            "queue:postroad_queue_messages:max"
                            '{queue!~"sender[.]retry[.].*|.*[.]dead|sender[.]parked"}',
                            "{{queue}}",
                        )
                    ],
                    stacked=True,
                ),
                Panel(
                    "Retry tiers and backlogs",
                    [
                        Query(
                            'queue:postroad_queue_messages:max{queue=~"sender[.]retry[.].*"}',
                            "{{queue}}",
                        ),
                        Query('queue:postroad_queue_messages:max{queue="sender.parked"}'),
                    ],
                    stacked=True,
                ),
                Panel(
                    "Dead letters",
                    [Query('queue:postroad_queue_messages:max{queue=~".*[.]dead"}', "{{queue}}")],
                    stacked=True,
                ),
            ],
        ),
        Row(
            "Refused",
            [
                Panel(
                    "Negative replies over SMTP",
                    [
                        Query(
                            "sum by (code) (rate(postroad_ingress_smtp_refused_total[5m]))",
                            "{{code}}",
                        )
                    ],
                    "cps",
                ),
                Panel(
                    "REST answers of POST /v1/send",
                    [
                        Query(
                            "sum by (status) "
                            '(rate(postroad_ingress_http_requests_total{area="send"}[5m]))',
                            "{{status}}",
                        )
                    ],
                    "reqps",
                ),
                Panel(
                    "Failed logins",
                    [
                        Query(
                            "sum by (reason) (rate(postroad_ingress_smtp_auth_failures_total[5m]))",
                            "{{reason}}",
                        )
                    ],
                    "cps",
                ),
            ],
        ),
    ],
)
