"""The steps of a timeline: each event with its label, its reply, and the rest that it tells."""

from collections.abc import Iterable
from dataclasses import dataclass

from postroad_common.classification.explaining import Explanation
from postroad_common.schemas.events import Event, EventName
from postroad_ingress_http.dashboard import eventwords

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
_SPEAKERS = {"C:": "client", "S:": "server"}


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """An event as the timeline shows it; `meaning` is that of a refusal, in plain words."""

    label: str
    kind: str
    time: float
    summary: str
    details: tuple[eventwords.Detail, ...]
    conversation: tuple["ConversationLine", ...] = ()
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class ConversationLine:
    """A line of an SMTP conversation. `speaker`: client, server or remark."""

    speaker: str
    text: str


def step(event: Event, explanation: Explanation | None = None) -> TimelineStep:
    """How the timeline shows `event`, and what it means where it was explained."""
    label, kind = _STEPS.get(event.event, (str(event.event), "info"))
    if event.event is EventName.FAILED and event.facts.get("expired"):
        label = "Given up: time is over"
    said = reason(event)
    return TimelineStep(
        label=label,
        kind=kind,
        time=event.time,
        summary=said or _repaired(event),
        details=tuple(row for row in eventwords.describe(event.facts) if row[1] != said),
        conversation=_conversation(event.facts.get("conversation")),
        meaning=explanation.meaning if explanation else "",
    )


def awaited(timeline: Iterable[Event]) -> float | None:
    """Return when the message is tried next (Unix seconds), by the newest event that says so."""
    moments = (event.facts.get("next") or event.facts.get("send_at") for event in timeline)
    known = [float(moment) for moment in moments if isinstance(moment, int | float)]
    return known[-1] if known else None


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
            return f"as {value[:500]} reports" if key == "host" else value[:500]
    return ""
