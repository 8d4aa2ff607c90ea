"""Tells sound events from others, so that a bad one is set aside and its batch goes on.

Types are checked where events are read (`schemas.events`); here is what no type says.
"""

from postroad_common.errors import Unstorable
from postroad_common.schemas.events import Event

UNSOUND = (Unstorable, ValueError, TypeError, KeyError, OverflowError)
"""What ingest raises because of an event, not because something is away."""

_LATEST = 32_503_680_000.0  # Unix seconds: the year 3000
_MOST_TEXT = 200


def defect_of(event: Event) -> str:
    """Why the event cannot be filed; empty for a sound one."""
    if not 0 <= event.time < _LATEST:
        return "its time is out of range"
    if not 0 < len(event.id) <= _MOST_TEXT or not 0 < len(event.message) <= _MOST_TEXT:
        return "its id or its message is empty or too long"
    if len(event.account) > _MOST_TEXT:
        return "its account is too long"
    return ""
