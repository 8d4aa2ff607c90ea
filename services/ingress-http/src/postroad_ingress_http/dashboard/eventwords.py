"""What an event tells beside its reply, in words instead of the names and values of the wire."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from postroad_common.mail.requeue import RequeueReason
from postroad_ingress_http.dashboard import changes
from postroad_ingress_http.dashboard.texts import octets

Detail = tuple[str, str | float]
"""What is told and its text; a float is a time in Unix seconds."""

_LONGEST = 2000
_LABELS = {
    "ip": "Network address",
    "helo": "Calls itself",
    "tls": "TLS",
    "line_ends_repaired": "Line ends repaired",
    "send_at": "To be sent",
    "since": "Suppressed since",
    "given": "Ordered",
    "code": "Reply code",
    "enhanced": "Enhanced code",
    "stage": "Answer to",
    "host": "Server",
    "next": "Next attempt",
    "requeue": "Waits because",
    "provider": "Receiving provider",
    "return": "Returned mail",
    "class": "Bounce class",
    "failed_recipient": "Failed recipient",
    "outcome": "Told",
    "to": "Told to",
    "notification": "Message id",
    "forward": "Forwarded as",
    "return_id": "Returned mail",
    "user_agent": "Program",
    "referer": "Coming from",
    "source": "Understood from",
    "url": "Link",
}
_TIMES = frozenset({"next", "send_at", "since", "given", "received", "expires"})
_SAID = {
    "local": ("The reply", "is of Postroad, not of a server"),
    "uncertain": ("Not certain", "the server may have taken the mail all the same"),
    "expired": ("Time", "is over: there is no further attempt"),
    "suspended": ("Attempt", "none was made"),
    "simulated": ("Simulated", "no server was contacted"),
    "forwarded": ("Forwarded", "to the envelope sender"),
    "hard": ("Severity", "hard: the address is dead"),
    "machine": ("Made by", "a machine, not a person"),
    "test": ("Test", "it was not to be sent"),
}
_STAGES = {
    "route": "finding the server",
    "connect": "connecting",
    "banner": "the greeting",
    "ehlo": "EHLO",
    "starttls": "STARTTLS",
    "auth": "AUTH",
    "mail": "MAIL FROM",
    "rcpt": "RCPT TO",
    "data": "DATA",
    "dot": "the whole mail",
}
_POLICIES = {
    "none": "there is none",
    "route": "settings of the route",
    "mta-sts": "MTA-STS",
    "dane": "DANE",
    "requiretls": "the mail (REQUIRETLS)",
}
_REQUEUES = {
    RequeueReason.DEFERRED: "it was deferred",
    RequeueReason.NOT_DUE: "its time has not come",
    RequeueReason.TWIN_UNDER_WAY: "a copy of it is under way",
    RequeueReason.LANE_FULL: "much other mail waits for the same receiver",
    RequeueReason.LANE_CLOSED: "the receiver takes nothing at present",
    RequeueReason.PAUSED: "an operator has paused its lane",
    RequeueReason.LIMIT_REACHED: "a limit of the settings is reached",
    RequeueReason.WARMUP: "the source address has sent what it may on this day",
    RequeueReason.ROUTING_PENDING: "much mail waits for the look-up of its domain",
    RequeueReason.ROUTING_FAILED: "its domain could not be looked up",
    RequeueReason.BODY_UNAVAILABLE: "its content cannot be read now",
    RequeueReason.SHARD_MOVED: "another process sends it from now on",
}


def describe(told: Mapping[str, Any]) -> list[Detail]:
    """Return what there is to say; nothing is said of what is empty, nor of the conversation."""
    return list(_described(told))


def waits_because(requeue: str) -> str:
    """Return in words why a message waits; `requeue` is a `RequeueReason`."""
    known = {str(reason): text for reason, text in _REQUEUES.items()}
    return known.get(requeue, requeue.replace("_", " "))


def _described(told: Mapping[str, Any]) -> Iterator[Detail]:
    for name, value in told.items():
        match name, value:
            case ("conversation", _) | (_, None | "" | False):
                continue
            case ("changes", Mapping()):
                yield from ((change.about, change.text) for change in changes.describe(value))
            case ("client", Mapping()):
                yield from ((f"Client: {label.lower()}", text) for label, text in describe(value))
            case ("tls_policy", Mapping()):
                yield "TLS policy", _policy(value)
            case (_, True) if name in _SAID:
                yield _SAID[name]
            case (_, Mapping()):
                yield from ((f"{_label(name)}: {label}", text) for label, text in describe(value))
            case _:
                yield _label(name), _text(name, value)


def _policy(told: Mapping[str, Any]) -> str:
    """Return by what TLS was required, what of it, and what came of that."""
    known = dict(told)
    kind = str(known.pop("kind", ""))
    rest = ", ".join(str(value) for value in known.values() if value)
    return f"{_POLICIES.get(kind, kind)}{': ' if rest else ''}{rest}"


def _label(name: str) -> str:
    return _LABELS.get(name) or name.replace("_", " ").capitalize()


def _text(name: str, value: Any) -> str | float:
    match name, value:
        case (_, int() | float()) if name in _TIMES:
            return float(value)
        case ("attempt", int()):
            return f"the {ordinal(value + 1)}"
        case ("size", int()):
            return octets(value)
        case ("confidence", float()):
            return f"{value:.0%}".replace("%", " %")
        case ("stage", str()):
            return _STAGES.get(value, value)
        case ("requeue", str()):
            return waits_because(value)
        case (_, True):
            return "yes"
        case (_, Sequence()) if not isinstance(value, str):
            return ", ".join(map(str, value))[:_LONGEST]
    return str(value)[:_LONGEST]


def ordinal(number: int) -> str:
    """Return a number as it counts things: `2nd`."""
    last = number % 10 if number % 100 not in {11, 12, 13} else 0
    return f"{number}{({1: 'st', 2: 'nd', 3: 'rd'}).get(last, 'th')}"
