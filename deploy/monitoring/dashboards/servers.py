"""RabbitMQ and MongoDB, for those who operate them."""

from dashboards.panels import Panel, Query, Row, board

BOARD = board(
    "servers",
    "Postroad: RabbitMQ and MongoDB",
    "The broker by its own metrics, the database by those of Percona's exporter.",
    [
        Row(
            "RabbitMQ",
            [
                Panel(
                    "Messages",
                    [
                        Query("sum(rabbitmq_queue_messages_ready)", "ready"),
                        Query("sum(rabbitmq_queue_messages_unacked)", "unacknowledged"),
                    ],
                    stacked=True,
                ),
                Panel(
                    "Longest queues",
                    [
                        Query(
                            "topk(10, max by (queue) (rabbitmq_detailed_queue_messages_ready))",
                            "{{queue}}",
                        )
                    ],
                ),
                Panel(
                    "Connections and channels",
                    [
                        Query("sum(rabbitmq_connections)", "connections"),
                        Query("sum(rabbitmq_channels)", "channels"),
                        Query("sum(rabbitmq_consumers)", "consumers"),
                    ],
                ),
            ],
        ),
        Row(
            "RabbitMQ: nodes",
            [
                Panel(
                    "Memory",
                    [
                        Query("rabbitmq_process_resident_memory_bytes", "{{instance}}"),
                        Query("rabbitmq_resident_memory_limit_bytes", "{{instance}} limit"),
                    ],
                    "bytes",
                ),
                Panel(
                    "Free disk",
                    [
                        Query("rabbitmq_disk_space_available_bytes", "{{instance}}"),
                        Query(
                            "rabbitmq_disk_space_available_limit_bytes",
                            "{{instance}} limit",
                        ),
                    ],
                    "bytes",
                ),
                Panel(
                    "Confirmed and delivered",
                    [
                        Query(
                            "sum(rate(rabbitmq_global_messages_confirmed_total[5m]))", "confirmed"
                        ),
                        Query(
                            "sum(rate(rabbitmq_global_messages_acknowledged_total[5m]))",
                            "acknowledged",
                        ),
                        Query(
                            "sum(rate(rabbitmq_global_messages_redelivered_total[5m]))",
                            "redelivered",
                        ),
                    ],
                    "mps",
                ),
                Panel(
                    "Alarms",
                    [
                        Query("max(rabbitmq_alarms_free_disk_space_watermark)", "disk"),
                        Query("max(rabbitmq_alarms_memory_used_watermark)", "memory"),
                        Query("max(rabbitmq_alarms_file_descriptor_limit)", "files"),
                    ],
                ),
            ],
        ),
        Row(
            "MongoDB, as the services see it",
            [
                Panel(
                    "Commands",
                    [
                        Query(
                            "sum by (command) "
                            "(rate(postroad_database_command_seconds_count[5m])) > 0",
                            "{{command}}",
                        )
                    ],
                    "cps",
                    stacked=True,
                ),
                Panel(
                    "Time of a command",
                    [
                        Query(
                            "sum by (command) (rate(postroad_database_command_seconds_sum[5m])) / "
                            "(sum by (command) "
                            "(rate(postroad_database_command_seconds_count[5m])) > 0)",
                            "{{command}}",
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Failures",
                    [
                        Query(
                            "sum by (reason) (rate(postroad_database_failures_total[5m]))",
                            "{{reason}}",
                        )
                    ],
                    "cps",
                ),
            ],
        ),
        Row(
            "MongoDB, by its exporter",
            [
                Panel("Up", [Query("mongodb_up", "{{instance}}")]),
                Panel(
                    "Connections",
                    [Query('mongodb_ss_connections{conn_type="current"}', "{{instance}}")],
                ),
                Panel(
                    "Operations",
                    [
                        Query(
                            "sum by (legacy_op_type) (rate(mongodb_ss_opcounters[5m]))",
                            "{{legacy_op_type}}",
                        )
                    ],
                    "ops",
                    stacked=True,
                ),
                Panel(
                    "Cache",
                    [Query("mongodb_ss_wt_cache_bytes_currently_in_the_cache", "{{instance}}")],
                    "bytes",
                ),
            ],
        ),
    ],
)
