"""Times on pages: in the visitor's zone, which their browser tells by a cookie, else in UTC."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.moments import read_moment

ZONE_COOKIE = "postroad_zone"
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")
_LONGEST = 60
_LAST_YEAR = 9000  # later ones have no moment in every zone
_LONG_SECONDS = 10 * 86_400  # of times as long, the hours are of no interest
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def zone_of(cookies: Mapping[str, str]) -> tzinfo:
    """Return the zone that the visitor's browser has told; UTC where it has not."""
    name = cookies.get(ZONE_COOKIE, "").replace("%2F", "/")
    return _zone(name) if len(name) <= _LONGEST and _ZONE.fullmatch(name) else UTC


@lru_cache(maxsize=100)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def when(seconds: float, zone: tzinfo) -> str:
    """Return the time for people, with the name of its zone."""
    return f"{datetime.fromtimestamp(seconds, zone):%d %b %Y %H:%M:%S %Z}".strip()


def in_utc(seconds: float) -> str:
    """Return the time in UTC, as it stands beside the local one."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def from_now(seconds: float, now: float) -> str:
    """Return how far away a time is: `in 4 min`, `2 h 5 min ago`, `now`."""
    distance = round(abs(seconds - now))
    if distance < 1:
        return "now"
    text = duration(distance)
    return f"in {text}" if seconds > now else f"{text} ago"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: `2 h 5 min`."""
    left = max(1, round(seconds))
    if left >= _LONG_SECONDS:
        return f"{round(left / 86_400)} d"
    parts: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2 or (parts and unit == "min"):
            break
    return " ".join(part for part in parts if part)


def for_field(seconds: float, zone: tzinfo) -> str:
    """Return the time as a field of the type `datetime-local` has it."""
    return f"{datetime.fromtimestamp(seconds, zone):%Y-%m-%dT%H:%M}"


def read_local(field: str, text: str, zone: tzinfo) -> float | None:
    """Return the moment (Unix seconds) that a field names in the visitor's zone; None: empty.

    Times with a zone of their own, and Unix seconds, are taken as REST takes them.

    Raises:
        ApiError: 400, it names none.
    """
    try:
        moment = datetime.fromisoformat(text) if "-" in text else None
    except ValueError:
        raise bad_field(field, "Give a date and a time, such as 2026-11-21 14:00.") from None
    if moment is None or moment.tzinfo is not None or moment.year > _LAST_YEAR:
        return read_moment(field, text)
    return moment.replace(tzinfo=zone).timestamp() if moment.year > 1970 else 0.0
