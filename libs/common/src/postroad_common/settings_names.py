"""The names of all settings of all services, so that each can refuse what none of them knows.

A test checks that this list equals the fields of all settings classes.
"""

KNOWN_SETTINGS = frozenset(
    {
        "admin_email",
        "admin_password",
        "admin_token",
        "amqp_url",
        "bind",
        "bounce_domain",
        "bounce_max_age_days",
        "dns",
        "grace_seconds",
        "hostname",
        "http_port",
        "http_url",
        "inline_body_max",
        "limits",
        "log_format",
        "log_level",
        "max_deliver_seconds",
        "max_message_size",
        "max_recipients",
        "metrics_port",
        "mongodb_uri",
        "mx_port",
        "retry_schedule",
        "reuse_port",
        "routes",
        "secret",
        "smtp_port",
        "smtps_port",
        "spool_dir",
        "spool_max_bytes",
        "state_dir",
        "tls_cert",
        "tls_key",
        "token",
        "tracker_port",
        "tracking_url",
        "trusted_proxies",
        "url",
        "webhook_allow_networks",
    }
)
