"""What Prometheus reads of ingress-smtp, beside what every service has."""

import functools

from prometheus_client import Counter

from postroad_common.metrics import (
    ACCEPTED_BYTES,
    ACCEPTED_MESSAGES,
    ACCEPTED_RECIPIENTS,
    counter,
    gauge,
    histogram,
)

_LISTENERS = ("submission", "submissions", "mx")
_BACKENDS = ("submission", "mx")
_REPLIES = (
    421,
    450,
    451,
    452,
    454,
    500,
    501,
    502,
    503,
    504,
    530,
    535,
    538,
    550,
    552,
    553,
    554,
    555,
)
TLS_VERSIONS = ("TLSv1.3", "TLSv1.2", "none")

SESSIONS = counter(
    "postroad_ingress_smtp_sessions_total", "Connections taken", {"listener": _LISTENERS}
)
OPEN_SESSIONS = gauge(
    "postroad_ingress_smtp_sessions_open", "Connections open now", {"listener": _LISTENERS}
)
TURNED_AWAY = counter(
    "postroad_ingress_smtp_connections_refused_total",
    "Connections not taken: too many, no PROXY header from a proxy, no TLS handshake; and those "
    "that made room for others because they had not logged in",
    {"listener": _LISTENERS, "reason": ("limit", "proxy", "handshake", "made_room")},
)
ACCEPTED = counter(
    "postroad_ingress_smtp_messages_accepted_total",
    "Messages accepted: submissions, and returned mail on the MX listener",
    {"listener": _BACKENDS},
)
RECIPIENTS = counter(
    "postroad_ingress_smtp_recipients_accepted_total",
    "Recipients of accepted messages",
    {"listener": _BACKENDS},
)
OCTETS = counter(
    "postroad_ingress_smtp_message_bytes_total",
    "Octets of accepted messages",
    {"listener": _BACKENDS},
)
TLS = counter(
    "postroad_ingress_smtp_messages_tls_total",
    "Messages accepted, by what protected the connection",
    {"listener": _BACKENDS, "tls": TLS_VERSIONS},
)
REFUSED = counter(
    "postroad_ingress_smtp_refused_total",
    "Negative replies, by their code",
    {"listener": _BACKENDS, "code": map(str, _REPLIES)},
)
AUTH_FAILURES = counter(
    "postroad_ingress_smtp_auth_failures_total",
    "Failed logins",
    {"reason": ("credentials", "blocked", "network", "connections", "store away", "busy")},
)
PUBLISH_SECONDS = histogram(
    "postroad_ingress_smtp_publish_seconds",
    "From the end of the data to the broker's confirm",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
MEMORY = gauge("postroad_ingress_smtp_memory_bytes", "Memory leased for messages in flight")
CERTIFICATE_ENDS = gauge(
    "postroad_ingress_smtp_certificate_expiry_timestamp_seconds",
    "When the listeners' certificate ceases to be valid, in Unix time",
)
_SUBMITTED = (
    ACCEPTED_MESSAGES.labels("smtp"),
    ACCEPTED_RECIPIENTS.labels("smtp"),
    ACCEPTED_BYTES.labels("smtp"),
)


@functools.cache
def _accepted_of(listener: str, tls: str) -> tuple[list[Counter], list[Counter], list[Counter]]:
    """Return what counts messages, recipients and octets: looked up once, not per message."""
    messages = [ACCEPTED.labels(listener), TLS.labels(listener, tls)]
    recipients = [RECIPIENTS.labels(listener)]
    octets = [OCTETS.labels(listener)]
    if listener == "submission":
        for some, one in zip((messages, recipients, octets), _SUBMITTED, strict=True):
            some.append(one)
    return messages, recipients, octets


def count_accepted(listener: str, protection: str | None, recipients: int, octets: int) -> None:
    """Count a message. `protection`: the TLS version and what follows it, or None."""
    version = (protection or "none").partition(" ")[0]
    counted = _accepted_of(listener, version)
    for metric in counted[0]:
        metric.inc()
    for metric in counted[1]:
        metric.inc(recipients)
    for metric in counted[2]:
        metric.inc(octets)
