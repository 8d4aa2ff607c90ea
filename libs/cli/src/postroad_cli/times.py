"""Spans and moments of time as people read them."""

import datetime as dt

_MINUTE = 60
_HOUR = 3600
_MILLISECONDS = 1000


def duration(seconds: float) -> str:
    """Return a short span in the unit that reads best: milliseconds or seconds."""
    if seconds < 1:
        return f"{seconds * _MILLISECONDS:.0f} ms"
    return f"{seconds:.1f} s"


def age(seconds: int) -> str:
    """Return a long span: seconds, minutes or hours."""
    if seconds >= _HOUR:
        return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE} min"
    if seconds >= _MINUTE:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE} s"
    return f"{seconds} s"


def moment(seconds: float) -> str:
    """Return a Unix time in the user's own zone."""
    return dt.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
