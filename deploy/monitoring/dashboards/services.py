"""Health of the services: up, ready, busy, connected."""

from dashboards.panels import Panel, Query, Row, board

BOARD = board(
    "services",
    "Postroad: service health",
    "Whether every process is up and ready, how busy it is, and how its servers answer it.",
    [
        Row(
            "Processes",
            [
                Panel("Up", [Query('sum by (service) (up{job="postroad"})', "{{service}}")]),
                Panel(
                    "Ready",
                    [
                        Query(
                            'sum by (service) (postroad_ready{check="service"})',
                            "{{service}}",
                        )
                    ],
                ),
                Panel(
                    "Releases",
                    [Query("count by (service, version) (postroad_build_info)")],
                    text="Two of one service: an upgrade is under way.",
                ),
            ],
        ),
        Row(
            "Load",
            [
                Panel(
                    "Processor",
                    [
                        Query(
                            "sum by (service) "
                            '(rate(process_cpu_seconds_total{job="postroad"}[5m]))',
                            "{{service}}",
                        )
                    ],
                    "percentunit",
                    stacked=True,
                ),
                Panel(
                    "Memory",
                    [
                        Query(
                            'sum by (service) (process_resident_memory_bytes{job="postroad"})',
                            "{{service}}",
                        )
                    ],
                    "bytes",
                    stacked=True,
                ),
                Panel(
                    "How late event loops run (99 of 100)",
                    [Query("service:postroad_event_loop_lag_seconds:p99_5m", "{{service}}")],
                    "s",
                ),
            ],
        ),
        Row(
            "Work",
            [
                Panel(
                    "Deliveries from queues, by ending",
                    [
                        Query(
                            "sum by (service, ending) (rate(postroad_deliveries_total[5m]))",
                            "{{service}} {{ending}}",
                        )
                    ],
                    "mps",
                ),
                Panel(
                    "Events recorded",
                    [
                        Query(
                            "sum by (event) (rate(postroad_feedback_events_total[5m])) > 0",
                            "{{event}}",
                        )
                    ],
                    "cps",
                    stacked=True,
                ),
                Panel(
                    "Events: how late, and how many wait in the processes",
                    [
                        Query("postroad_feedback_event_lag_seconds:p95_5m", "late by (s)"),
                        Query("sum(postroad_events_waiting)", "waiting"),
                    ],
                ),
            ],
        ),
        Row(
            "Servers, as the services see them",
            [
                Panel(
                    "Confirms of RabbitMQ (99 of 100)",
                    [Query("service:postroad_publish_seconds:p99_5m", "{{service}}")],
                    "s",
                ),
                Panel(
                    "Commands to MongoDB (99 of 100)",
                    [Query("service:postroad_database_command_seconds:p99_5m", "{{service}}")],
                    "s",
                ),
                Panel(
                    "Failures",
                    [
                        Query(
                            "sum by (service) (rate(postroad_publish_failures_total[5m]))",
                            "{{service}}: publications",
                        ),
                        Query(
                            "sum by (service) (rate(postroad_database_failures_total[5m]))",
                            "{{service}}: database",
                        ),
                        Query(
                            "sum by (service) (rate(postroad_broker_connections_lost_total[5m]))",
                            "{{service}}: connections lost",
                        ),
                    ],
                    "cps",
                ),
            ],
        ),
        Row(
            "Edges",
            [
                Panel(
                    "Tracker: time to answer",
                    [
                        Query(
                            "histogram_quantile(0.99, sum by (le) "
                            "(rate(postroad_tracker_request_seconds_bucket[5m])))",
                            "99 of 100",
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Tracker: spool",
                    [
                        Query("sum(postroad_tracker_spool_bytes)", "octets"),
                        Query("max(postroad_tracker_spool_age_seconds)", "oldest (s)"),
                    ],
                ),
                Panel(
                    "Webhooks",
                    [
                        Query("max(postroad_feedback_webhook_backlog)", "events that wait"),
                        Query("max(postroad_feedback_webhooks_resting)", "end points resting"),
                        Query(
                            "sum by (outcome) (rate(postroad_feedback_webhook_calls_total[5m]))",
                            "calls/s: {{outcome}}",
                        ),
                    ],
                ),
                Panel(
                    "SMTP sessions",
                    [
                        Query(
                            "sum by (listener) (postroad_ingress_smtp_sessions_open)",
                            "{{listener}}",
                        )
                    ],
                ),
                Panel(
                    "Certificate: days left",
                    [
                        Query(
                            "(min(postroad_ingress_smtp_certificate_expiry_timestamp_seconds)"
                            " - time()) / 86400",
                            "days",
                        )
                    ],
                    now=True,
                ),
            ],
        ),
    ],
)
