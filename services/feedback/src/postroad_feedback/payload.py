"""The body of a webhook call: `{"type": …, "timestamp": …, "data": {…}}`.

Signing is in `calls`; what is sent where is decided in `subscriptions`.
"""

import json
from datetime import UTC, datetime
from typing import Any

from postroad_common.schemas.events import Event
from postroad_feedback.message_cache import MessageInfo

_INTERNAL = frozenset(
    {"credential", "expires", "features", "forward_bounces", "source", "client", "conversation"}
)


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def body_of(event: Event, facts: MessageInfo) -> str:
    """Return the exact JSON to post for `event`: what is known of the message, and of the event."""
    data: dict[str, Any] = {
        key: value for key, value in event.facts.items() if key not in _INTERNAL
    }
    data |= {
        "id": event.message,
        "event_id": event.id,
        "recipient": facts.recipient,
        "envelope": facts.envelope,
        "tags": list(facts.tags),
        "metadata": dict(facts.metadata),
        "time": event.time,
    }
    if facts.traceparent:
        data["traceparent"] = facts.traceparent
    if facts.test:
        data["test"] = True
    if facts.template:
        data["template"] = facts.template
    return _dump(str(event.event), event.time, data)


def _dump(kind: str, time: float, data: dict[str, Any]) -> str:
    return json.dumps(
        {"type": kind, "timestamp": timestamp(time), "data": data},
        separators=(",", ":"),
        ensure_ascii=False,
    )
