"""How values read on a page: times, sizes, names of features, and the steps of a timeline."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from postroad_common.schemas.events import Event, EventName
from postroad_common.schemas.features import Features

FEATURE_TEXTS = (
    (
        "inlinecss",
        "Inline CSS",
        "Style rules are copied into the elements, for mail programs that drop them.",
    ),
    (
        "clicktracking",
        "Track clicks",
        "Links lead through the tracker, which records the click.",
    ),
    (
        "openstracking",
        "Track opens",
        "Images are loaded through the tracker, which records the opening.",
    ),
    (
        "preventscam",
        "Prevent scam warnings",
        "Links whose text is itself an address stay as they are.",
    ),
    (
        "bouncetracking",
        "Collect bounces",
        "The envelope address becomes one of ours, so that returned mail is understood here.",
    ),
)
_SHORT = {name: label for name, label, _ in FEATURE_TEXTS}

_STEPS: dict[EventName, tuple[str, str]] = {
    EventName.ACCEPTED: ("Accepted", "info"),
    EventName.SCHEDULED: ("Scheduled", "info"),
    EventName.TRANSFORMED: ("Transformed", "info"),
    EventName.ATTEMPT: ("Delivery attempted", "info"),
    EventName.DEFERRED: ("Deferred", "warn"),
    EventName.DELIVERED: ("Delivered", "good"),
    EventName.FAILED: ("Failed", "bad"),
    EventName.BOUNCED: ("Bounced", "bad"),
    EventName.RESPONSE: ("Answered automatically", "info"),
    EventName.OPENED: ("Opened", "good"),
    EventName.CLICKED: ("Clicked", "good"),
    EventName.COMPLAINED: ("Complained about", "bad"),
    EventName.SUPPRESSED: ("Not sent: suppressed", "bad"),
    EventName.CANCELLED: ("Cancelled: not sent", "warn"),
    EventName.TESTED: ("Not sent: this is a test", "warn"),
    EventName.UNSUBSCRIBED: ("Unsubscribed", "warn"),
    EventName.NOTIFIED: ("Sender notified", "info"),
}
_SUMMARIES = ("reply", "reason", "diagnostic", "target", "url", "host")
_LONGEST_DETAIL = 2000
_SPEAKERS = {"C:": "client", "S:": "server"}


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """An event as the timeline shows it."""

    label: str
    kind: str
    time: float
    summary: str
    details: tuple[tuple[str, str], ...]
    conversation: tuple["ConversationLine", ...] = ()


@dataclass(frozen=True, slots=True)
class ConversationLine:
    """A line of an SMTP conversation. `speaker`: client, server or remark."""

    speaker: str
    text: str


def step(event: Event) -> TimelineStep:
    """How the timeline shows `event`."""
    label, kind = _STEPS.get(event.event, (str(event.event), "info"))
    if event.event is EventName.FAILED and event.facts.get("expired"):
        label = "Given up: time is over"
    return TimelineStep(
        label=label,
        kind=kind,
        time=event.time,
        summary=reason(event) or _repaired(event),
        details=tuple(_details(event.facts)),
        conversation=_conversation(event.facts.get("conversation")),
    )


def _repaired(event: Event) -> str:
    """Return what the ingress had to mend in an accepted message."""
    count = event.facts.get("line_ends_repaired")
    if not isinstance(count, int) or not count:
        return ""
    ends = "1 line end" if count == 1 else f"{count} line ends"
    return f"{ends} repaired: the client sent LF without CR"


def _conversation(said: object) -> tuple[ConversationLine, ...]:
    if not isinstance(said, str):
        return ()
    lines = [line.partition(" ") for line in said.split("\n")]
    return tuple(ConversationLine(_SPEAKERS.get(mark, "remark"), text) for mark, _, text in lines)


def reason(event: Event) -> str:
    """Return what the event says in one line: the reply, or the reason."""
    for key in _SUMMARIES:
        value = event.facts.get(key)
        if isinstance(value, str) and value:
            return value[:500]
    return ""


def _details(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        if key == "conversation":
            continue
        if isinstance(value, Mapping):
            rows.extend(_details(value, f"{prefix}{key} "))
        elif isinstance(value, list | tuple):
            if value:
                rows.append((prefix + key, ", ".join(map(str, value))[:_LONGEST_DETAIL]))
        elif value not in {None, ""}:
            rows.append((prefix + key, str(value)[:_LONGEST_DETAIL]))
    return rows


def iso(seconds: float) -> str:
    """Return the time as RFC 3339 has it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def octets(size: int) -> str:
    """Return the size for people."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def feature_labels(features: Features) -> list[str]:
    """Return the names of the features that are on."""
    return [label for name, label in _SHORT.items() if getattr(features, name)]


def with_filter(query: Mapping[str, str], **more: str) -> str:
    """Return the query string of the same search, with more in it."""
    return urlencode({name: value for name, value in (dict(query) | more).items() if value})


def with_cursor(query: Mapping[str, str], cursor: str) -> str:
    """Return the query string of the next page."""
    return urlencode({**{key: value for key, value in query.items() if value}, "cursor": cursor})


_PROGRAMS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
             ("Safari/", "Safari"), ("curl/", "curl"))  # fmt: skip
_SYSTEMS = (("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"),
            ("Mac OS X", "macOS"), ("Linux", "Linux"))  # fmt: skip


def program(agent: str) -> str:
    """Return what a browser is called, by what it says of itself: `Firefox on Linux`."""
    name, system = (
        next((called for sign, called in known if sign in agent), "")
        for known in (_PROGRAMS, _SYSTEMS)
    )
    if not name:
        return agent[:60] or "unknown"
    return f"{name} on {system}" if system else name
