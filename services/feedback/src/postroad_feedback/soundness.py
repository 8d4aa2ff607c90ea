"""Tells sound events from others, so that a bad one is set aside and its batch goes on.

What a service tells of a message becomes its record, which everybody reads: it must have the
right types.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from postroad_common.errors import Unstorable
from postroad_common.schemas.events import Event
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import BodyReference

UNSOUND = (Unstorable, ValueError, TypeError, KeyError, OverflowError)
"""What filing raises because of an event, not because something is away."""

_LATEST = 32_503_680_000.0  # Unix seconds: the year 3000
_MOST_TEXT = 200


class _Told(BaseModel):
    """The facts of a message, as an event may tell them."""

    submission: str = ""
    credential: str = ""
    source: str = ""
    received: float = 0.0
    envelope: str = ""
    recipient: str = ""
    notify: tuple[str, ...] = ()
    orcpt: str | None = None
    ret: str | None = None
    envid: str | None = None
    features: Features | None = None
    forward_bounces: bool = False
    tags: tuple[str, ...] | None = None
    subject: str = ""
    size: int = 0
    expires: float = 0.0
    body: BodyReference | None = None


def complaint_about(event: Event) -> str:
    """Why the event cannot be filed; empty for a sound one."""
    if not 0 <= event.time < _LATEST:
        return "its time is out of range"
    if not 0 < len(event.id) <= _MOST_TEXT or not 0 < len(event.message) <= _MOST_TEXT:
        return "its id or its message is empty or too long"
    if len(event.account) > _MOST_TEXT:
        return "its account is too long"
    if "submission" in event.data:
        return _complaint_about_facts(event.data)
    return ""


def _complaint_about_facts(data: Mapping[str, Any]) -> str:
    try:
        _Told.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"its data: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return ""
