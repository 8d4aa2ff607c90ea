"""Daily log files: which there are, and their columns.

A file has one record per event of its kind on one day (UTC). Times are `YYYY-MM-DD hh:mm:ss`,
lists are joined with `;`. `logfiles` reads them from the event log,
`logformats` writes them out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from postroad_common.schemas.events import Event, EventName
from postroad_common.schemas.features import Features
from postroad_common.store.messages import MessageRecord

Record = tuple[str, ...]
_FEATURES = (
    ("preventscam", "preventscam"),
    ("inlinecss", "inlinecss"),
    ("bouncetracking", "trackbounces"),
    ("openstracking", "trackopens"),
    ("clicktracking", "trackclicks"),
)


@dataclass(frozen=True, slots=True)
class _Line:
    """What a column is made from."""

    event: Event
    message: MessageRecord | None

    def data(self, *names: str) -> str:
        """Return the first of these data that the event has, as text."""
        for name in names:
            value = self.event.facts.get(name)
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return str(value)
        return ""


def _features(features: Features) -> str:
    return ";".join(label for name, label in _FEATURES if getattr(features, name))


def _state(line: _Line) -> str:
    return line.message.state if line.message else ""


_COLUMNS: Mapping[str, Callable[[_Line], str]] = {
    "id": lambda line: line.event.message,
    "time": lambda line: f"{datetime.fromtimestamp(line.event.time, UTC):%Y-%m-%d %H:%M:%S}",
    "envelope": lambda line: line.message.envelope if line.message else "",
    "recipient": lambda line: line.message.recipient if line.message else "",
    "properties": lambda line: _features(line.message.features) if line.message else "",
    "tags": lambda line: ";".join(line.message.tags) if line.message else "",
    "templateid": lambda line: (line.message and line.message.template) or "0",
    "from": lambda line: line.data("source_ip", "source"),
    "to": lambda line: line.data("ip", "host"),
    "attempt": lambda line: line.data("attempt"),
    "type": lambda line: line.data("stage", "type"),
    "code": lambda line: line.data("code"),
    "status": lambda line: line.data("enhanced"),
    "description": lambda line: line.data("reply", "reason", "diagnostic"),
    "state": _state,
    "class": lambda line: line.data("class"),
    "kind": lambda line: line.data("type"),
    "ip": lambda line: line.data("ip"),
    "agent": lambda line: line.data("user_agent", "agent"),
    "referer": lambda line: line.data("referer"),
    "url": lambda line: line.data("url"),
    "machine": lambda line: line.data("reason") or "yes" if line.event.facts.get("machine") else "",
}


@dataclass(frozen=True, slots=True)
class LogKind:
    """A kind of log file: the event it tells of, and its columns in their order."""

    prefix: str
    event: EventName
    columns: tuple[str, ...]

    def record(self, event: Event, message: MessageRecord | None) -> Record:
        """Return the event as a record."""
        line = _Line(event, message)
        return tuple(_COLUMNS[column](line) for column in self.columns)


_HEAD = ("id", "time", "envelope", "recipient")
_TAIL = ("tags", "templateid")
KINDS = {
    kind.prefix: kind
    for kind in (
        LogKind("attempts", EventName.ACCEPTED, (*_HEAD, "properties", *_TAIL)),
        LogKind("deliveries", EventName.DELIVERED, (*_HEAD, "from", "to", "attempt", *_TAIL)),
        LogKind(
            "failures",
            EventName.FAILED,
            (
                *_HEAD,
                "attempt",
                "from",
                "to",
                "type",
                "code",
                "status",
                "description",
                "state",
                *_TAIL,
            ),
        ),
        LogKind(
            "bounces",
            EventName.BOUNCED,
            (*_HEAD, "class", "code", "status", "description", *_TAIL),
        ),
        LogKind("responses", EventName.RESPONSE, (*_HEAD, "kind", "description", *_TAIL)),
        LogKind(
            "clicks",
            EventName.CLICKED,
            ("id", "time", "ip", "url", "tags", "recipient", "agent", "referer", "machine"),
        ),
        LogKind(
            "opens",
            EventName.OPENED,
            ("id", "time", "ip", "tags", "recipient", "agent", "referer", "machine"),
        ),
        LogKind("abuses", EventName.COMPLAINED, (*_HEAD, *_TAIL)),
        LogKind("unsubscribes", EventName.UNSUBSCRIBED, (*_HEAD, *_TAIL)),
    )
}


def names_of(day: date) -> list[str]:
    """Return the names of the files of one day."""
    return [f"{prefix}.{day}.log" for prefix in KINDS]


def read_name(name: str) -> tuple[LogKind, date] | None:
    """Return the kind and the day of the file `name`; None when it is no such name."""
    prefix, _, rest = name.partition(".")
    kind = KINDS.get(prefix)
    text = rest.removesuffix(".log")
    if kind is None or text == rest:
        return None
    try:
        return kind, date.fromisoformat(text)
    except ValueError:
        return None


def as_mapping(kind: LogKind, record: Record) -> dict[str, Any]:
    """Return the record by column."""
    return dict(zip(kind.columns, record, strict=True))
