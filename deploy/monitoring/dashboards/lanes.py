"""Delivery: lanes, connections, waits and requeues of the sender."""

from dashboards.panels import Panel, Query, Row, board

BOARD = board(
    "lanes",
    "Postroad: delivery lanes",
    "What the senders do: lanes and their states, connections, waits, requeues, limits.",
    [
        Row(
            "Lanes",
            [
                Panel(
                    "Lanes, by state",
                    [Query("sum by (state) (postroad_sender_lanes)", "{{state}}")],
                    stacked=True,
                ),
                Panel("Messages in lanes", [Query("sum(postroad_sender_waiting)", "waiting")]),
                Panel(
                    "Lanes at a limit of the day",
                    [Query("sum by (kind) (postroad_sender_lanes_capped)", "{{kind}}")],
                ),
            ],
        ),
        Row(
            "Connections",
            [
                Panel(
                    "Open",
                    [Query("sum by (instance) (postroad_sender_connections)", "{{instance}}")],
                    stacked=True,
                ),
                Panel(
                    "Opened",
                    [
                        Query(
                            "sum by (result) (rate(postroad_sender_connections_opened_total[5m]))",
                            "{{result}}",
                        )
                    ],
                    "cps",
                ),
                Panel(
                    "Messages of a connection",
                    [
                        Query(
                            "sum(rate(postroad_sender_transaction_seconds_count[5m])) / (sum(rate("
                            'postroad_sender_connections_opened_total{result="opened"}[5m])) > 0)',
                            "on average",
                        )
                    ],
                ),
            ],
        ),
        Row(
            "Times",
            [
                Panel(
                    "A transaction",
                    [
                        Query(
                            f"histogram_quantile({share}, sum by (le) "
                            "(rate(postroad_sender_transaction_seconds_bucket[5m])))",
                            name,
                        )
                        for share, name in ((0.5, "half"), (0.95, "19 of 20"))
                    ],
                    "s",
                ),
                Panel(
                    "The wait in a lane before it",
                    [
                        Query(
                            f"histogram_quantile({share}, sum by (le) "
                            "(rate(postroad_sender_wait_seconds_bucket[5m])))",
                            name,
                        )
                        for share, name in ((0.5, "half"), (0.95, "19 of 20"))
                    ],
                    "s",
                ),
                Panel(
                    "Used of the warm-ups of today",
                    [Query("max by (source) (postroad_sender_warmup_leased)", "{{source}}")],
                ),
            ],
        ),
        Row(
            "What goes back to a queue",
            [
                Panel(
                    "Requeued, by reason",
                    [
                        Query(
                            "sum by (reason) (rate(postroad_sender_requeued_total[5m]))",
                            "{{reason}}",
                        )
                    ],
                    "mps",
                    stacked=True,
                ),
                Panel(
                    "Backlogs",
                    [
                        Query("max(postroad_backlog_queues)", "queues"),
                        Query('queue:postroad_queue_messages:max{queue="sender.parked"}', "mails"),
                    ],
                ),
                Panel(
                    "Oldest mail in backlogs",
                    [
                        Query(
                            "max by (instance) (postroad_sender_backlog_age_seconds)",
                            "{{instance}}",
                        )
                    ],
                    "s",
                    "From its acceptance, of mail for later from its time.",
                ),
                Panel(
                    "Passed on, or brought again",
                    [
                        Query("sum(rate(postroad_sender_rerouted_total[5m]))", "to another shard"),
                        Query(
                            "sum by (how) (rate(postroad_sender_recognised_total[5m]))",
                            "again: {{how}}",
                        ),
                    ],
                    "mps",
                ),
            ],
        ),
        Row(
            "Processes",
            [
                Panel(
                    "Shards, by sender",
                    [Query("sum by (instance) (postroad_sender_shards)", "{{instance}}")],
                    stacked=True,
                ),
                Panel(
                    "Journal",
                    [Query("sum by (instance) (postroad_sender_journal_bytes)", "{{instance}}")],
                    "bytes",
                ),
                Panel(
                    "Processor time of a delivery",
                    [
                        Query(
                            'sum(rate(process_cpu_seconds_total{job="postroad"}[5m])) / (sum('
                            'status:postroad_sender_outcomes:rate5m{status="delivered"}) > 0)',
                            "of all services together",
                        )
                    ],
                    "s",
                ),
            ],
        ),
    ],
)
