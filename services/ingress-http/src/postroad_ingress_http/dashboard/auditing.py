"""How the values of the audit log read: times, switches and lists instead of what is stored."""

from collections.abc import Iterator, Mapping
from datetime import tzinfo
from typing import Any

from postroad_ingress_http.dashboard.times import when

_LONGEST = 80
_TIMES_BEGIN = 1_000_000_000.0  # numbers as large are Unix seconds where the name says so
_TIMES = frozenset(
    {"at", "checked", "created", "due", "ends", "expires", "retires", "seen", "since", "until"}
    | {"updated", "used", "last_used", "failing_since", "finished", "given", "ordered"}
)
_LEFT_OUT = frozenset({"account", "actor", "lease", "position", "version"})


def describe(values: Mapping[str, Any] | None, zone: tzinfo) -> list[tuple[str, str]]:
    """Return the names and texts of what there is to say; nothing is said of what is empty."""
    return [
        (name.replace("_", " "), text)
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
