"""How the audit log reads: what was done in words, and what is different now.

Times, switches and lists stand there instead of what is stored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from postroad_ingress_http.dashboard.times import when

_LONGEST = 80
_TIMES_BEGIN = 1_000_000_000.0  # numbers as large are Unix seconds where the name says so
_TIMES = frozenset(
    {"at", "checked", "created", "due", "ends", "expires", "retires", "seen", "since", "until"}
    | {"updated", "used", "last_used", "failing_since", "finished", "given", "ordered"}
)
_LEFT_OUT = frozenset({"account", "actor", "lease", "position", "updated", "version"})

KINDS: Mapping[str, str] = {
    "accounts": "account",
    "credentials": "SMTP login",
    "domains": "sender domain",
    "invitations": "invitation",
    "jobs": "job",
    "lanes": "lane",
    "messages": "message",
    "message_directives": "order for a message",
    "saved_searches": "saved search",
    "scheduled": "scheduled mail",
    "sessions": "session",
    "suppressions": "suppression",
    "templates": "template",
    "tokens": "REST token",
    "users": "user",
    "webhooks": "webhook",
}
"""What changes are of, by the noun of their action, for people."""
_DONE = {"create": "added", "update": "changed", "delete": "removed", "resend": "sent again"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that a change made, replaced (`before` is not empty) or took away (`after` is)."""

    name: str
    before: str
    after: str


def deed(action: str) -> str:
    """Return what an action, `noun.verb`, did: `SMTP login added`."""
    noun, _, verb = action.partition(".")
    kind = KINDS.get(noun, noun.replace("_", " "))
    return f"{kind[:1].upper()}{kind[1:]} {_DONE.get(verb, verb.replace('_', ' '))}".rstrip()


def differences(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, zone: tzinfo
) -> list[Difference]:
    """Return what is different after a change; nothing is said of what is the same."""
    before, after = before or {}, after or {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    old = dict(describe({name: before.get(name) for name in names}, zone))
    new = dict(describe({name: after.get(name) for name in names}, zone))
    return [Difference(name, old.get(name, ""), new.get(name, "")) for name in old | new]


def describe(values: Mapping[str, Any] | None, zone: tzinfo) -> list[tuple[str, str]]:
    """Return the names and texts of what there is to say; nothing is said of what is empty."""
    return [
        (name.removesuffix("_hash").replace("_", " "), text)
        for name, value in (values or {}).items()
        if name not in _LEFT_OUT and (text := _text(name, value, zone))
    ]


def _text(name: str, value: Any, zone: tzinfo) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float() if name in _TIMES and value > _TIMES_BEGIN:
            return when(value, zone)
        case float():
            return f"{value:g}"
        case Mapping():
            return ", ".join(_members(value, zone))
        case list() | tuple():
            return "; ".join(filter(None, (_text(name, item, zone) for item in value)))
        case None:
            return ""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _members(values: Mapping[str, Any], zone: tzinfo) -> Iterator[str]:
    """Yield the members of an object; switches by the names of those that are on."""
    if values and all(isinstance(value, bool) for value in values.values()):
        on = [name for name, value in values.items() if value]
        yield from on or ["none"]
        return
    for name, text in describe(values, zone):
        yield f"{name} {text}"
