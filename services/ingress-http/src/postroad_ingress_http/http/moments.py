"""Times in requests: a time in UTC; in query strings also a date or Unix seconds."""

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from postroad_ingress_http.http.errors import bad_field

Moment = Annotated[
    str | None, Query(max_length=40, description="A date, a time in UTC, or Unix seconds.")
]
_LATEST = 253_402_214_400.0  # a day before the calendar of Python and MongoDB ends
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_SECONDS = re.compile(r"\d{1,11}(\.\d{1,6})?", re.ASCII)


def read_moment(field: str, text: str | None) -> float | None:
    """Return Unix seconds; None for nothing. A date is its first moment in UTC.

    What lies before 1970 or at the end of the calendar becomes its nearest moment in between.

    Raises:
        ApiError: 400.
    """
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return _bounded(float(text))
    if _DATE.fullmatch(text):
        try:
            return _bounded(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
        except ValueError:
            raise bad_field(field, "There is no such date.") from None
    return read_time(field, text.replace(" 00:00", "+00:00") if "T" in text else text)


def read_time(field: str, text: str) -> float:
    """Return Unix seconds of `YYYY-MM-DD hh:mm:ss` (UTC) or an RFC 3339 time.

    Raises:
        ApiError: 400.
    """
    wrong = bad_field(field, "Give the time as `YYYY-MM-DD hh:mm:ss` in UTC, or as in RFC 3339.")
    if not _TIME.fullmatch(text):
        raise wrong
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return _bounded(moment.timestamp())
    except (ValueError, OverflowError):
        raise wrong from None


def _bounded(seconds: float) -> float:
    return max(0.0, min(seconds, _LATEST))
