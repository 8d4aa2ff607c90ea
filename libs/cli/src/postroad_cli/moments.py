"""Moments as people write them: `2h`, `yesterday 9:30`, `tomorrow`; all else is left to the API."""

import datetime as dt
import re
from typing import Any, Literal

import click
from typing_extensions import override

_SPAN = re.compile(r"(?:in\s+|\+)?(\d{1,6})\s*(s|m|min|h|d|w)[a-z]*(\s+ago)?", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_DAY = re.compile(rf"({'|'.join(_DAYS)})(?:\s+(\d{{1,2}}):(\d\d))?", re.IGNORECASE)

Direction = Literal["ago", "ahead"]


def read_moment(text: str, now: dt.datetime, direction: Direction) -> str:
    """Return the time as the API takes it: RFC 3339 in UTC, or `text` if it is not for people.

    A span is one before `now`, or after it where the direction is "ahead" or the text says so. Days
    are those of the zone of `now`, and begin at midnight.
    """
    text = text.strip()
    if text.lower() == "now":
        return _written(now)
    if span := _SPAN.fullmatch(text):
        unit = "min" if span[2].lower() == "min" else span[2][0].lower()
        seconds = int(span[1]) * _SECONDS[unit]
        forward = direction == "ahead" or text[:1] == "+" or text.lower().startswith("in ")
        delta = dt.timedelta(seconds=seconds if forward and not span[3] else -seconds)
        return _written(now + delta)
    if day := _DAY.fullmatch(text):
        hour, minute = int(day[2] or 0), int(day[3] or 0)
        if hour < 24 and minute < 60:
            date = now.date() + dt.timedelta(days=_DAYS[day[1].lower()])
            local = dt.datetime.combine(date, dt.time(hour, minute), tzinfo=now.tzinfo)
            return _written(local)
    return text


def _written(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Moment(click.ParamType[str]):
    """A parameter that is a moment; spans go the `direction`."""

    name = "time"

    def __init__(self, direction: Direction = "ago", *, utc: bool = False) -> None:
        """`utc`: days are those of UTC, not of this machine's zone."""
        self._direction = direction
        self._zone = dt.UTC if utc else None

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return read_moment(
            str(value), dt.datetime.now(dt.UTC).astimezone(self._zone), self._direction
        )
