"""How receivers take our mail: by provider, by class of refusal, by TLS."""

from dashboards.panels import Panel, Query, Row, board

BOARD = board(
    "deliverability",
    "Postroad: deliverability",
    "How the large providers and all others take our mail, and what comes back.",
    [
        Row(
            "Now",
            [
                Panel(
                    "Hard bounces of an hour",
                    [Query("postroad_hard_bounces:ratio1h")],
                    "percentunit",
                    "Of what was delivered or failed.",
                    now=True,
                ),
                Panel(
                    "Complaints of a day",
                    [Query("postroad_complaints:ratio1d")],
                    "percentunit",
                    "Providers act from 0.3 %; stay below 0.1 %.",
                    now=True,
                ),
                Panel(
                    "Delivered over TLS",
                    [Query("postroad_deliveries_tls:ratio1h")],
                    "percentunit",
                    now=True,
                ),
                Panel(
                    "Submitted over TLS",
                    [Query("postroad_submissions_tls:ratio1h")],
                    "percentunit",
                    now=True,
                ),
            ],
        ),
        Row(
            "Providers",
            [
                Panel(
                    "Attempts that succeed",
                    [Query("provider:postroad_sender_delivered:ratio30m", "{{provider}}")],
                    "percentunit",
                ),
                Panel(
                    "Delivered",
                    [
                        Query(
                            "provider_status:postroad_sender_outcomes:rate5m"
                            '{status="delivered"} > 0',
                            "{{provider}}",
                        )
                    ],
                    "mps",
                    stacked=True,
                ),
                Panel(
                    "Deferred and failed",
                    [
                        Query(
                            "provider_status:postroad_sender_outcomes:rate5m"
                            '{status!="delivered"} > 0',
                            "{{provider}} {{status}}",
                        )
                    ],
                    "mps",
                ),
            ],
        ),
        Row(
            "Why not",
            [
                Panel(
                    "Deferred, by class",
                    [
                        Query(
                            "sum by (class) (rate(postroad_sender_deferrals_total[5m])) > 0",
                            "{{class}}",
                        )
                    ],
                    "mps",
                    stacked=True,
                ),
                Panel(
                    "Failed and bounced in an hour, by class",
                    [Query("class:postroad_bounces:rate1h * 3600 > 0", "{{class}}")],
                    "short",
                    stacked=True,
                ),
                Panel(
                    "What replies said about speed and reputation",
                    [
                        Query(
                            "sum by (signal) (rate(postroad_sender_signals_total[5m])) > 0",
                            "{{signal}}",
                        )
                    ],
                    "cps",
                ),
            ],
        ),
        Row(
            "What comes back",
            [
                Panel(
                    "Returned mail, by what it is",
                    [
                        Query(
                            "sum by (kind) (rate(postroad_bounce_processor_returns_total[5m]))",
                            "{{kind}}",
                        )
                    ],
                    "mps",
                    stacked=True,
                ),
                Panel(
                    "Addresses suppressed",
                    [
                        Query(
                            "sum by (kind) "
                            "(increase(postroad_bounce_processor_suppressions_total[1h]))",
                            "{{kind}} (new, 1 h)",
                        ),
                        Query(
                            'sum(increase(postroad_transformer_messages_total{result="suppressed"}'
                            "[1h]))",
                            "mail not sent (1 h)",
                        ),
                    ],
                ),
                Panel(
                    "Opens and clicks",
                    [
                        Query(
                            "sum by (event) (rate(postroad_feedback_events_total"
                            '{event=~"opened|clicked|unsubscribed|complained"}[5m]))',
                            "{{event}}",
                        )
                    ],
                    "cps",
                ),
            ],
        ),
        Row(
            "TLS",
            [
                Panel(
                    "Deliveries, by what protected the connection",
                    [
                        Query(
                            "sum by (tls) (rate(postroad_sender_deliveries_tls_total[5m]))",
                            "{{tls}}",
                        )
                    ],
                    "mps",
                    stacked=True,
                ),
                Panel(
                    "Policies of receiving domains (connections of an hour)",
                    [
                        Query(
                            "sum by (kind, result) "
                            "(increase(postroad_sender_tls_policies_total[1h]))",
                            "{{kind}} {{result}}",
                        )
                    ],
                ),
                Panel(
                    "Accepted, by TLS version",
                    [
                        Query(
                            "sum by (listener, tls) "
                            "(rate(postroad_ingress_smtp_messages_tls_total[5m]))",
                            "{{listener}} {{tls}}",
                        )
                    ],
                    "mps",
                    stacked=True,
                ),
            ],
        ),
    ],
)
