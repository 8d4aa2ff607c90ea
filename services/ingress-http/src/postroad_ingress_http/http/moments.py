"""Times in requests: a time in UTC; where a `Moment` is taken also a date or Unix seconds."""

import re
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from fastapi import Query
from pydantic import Field

from postroad_ingress_http.http.errors import ApiError, bad_field

Moment = Annotated[
    str | None, Query(max_length=40, description="A date, a time in UTC, or Unix seconds.")
]
MomentValue: TypeAlias = (
    Annotated[str, Field(max_length=40)] | Annotated[float, Field(allow_inf_nan=False)]
)
"""The same in a body, where Unix seconds may be a number."""
_FORMS = (
    "Give a date (`2026-11-21`), a time (`2026-11-21 14:30:00` in UTC, or as in RFC 3339), or Unix "
    "seconds."
)
_LATEST = 253_402_214_400.0  # a day before the calendar of Python and MongoDB ends
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_SECONDS = re.compile(r"\d{1,11}(\.\d{1,6})?", re.ASCII)


def read_moment(field: str, value: str | float | None) -> float | None:
    """Return Unix seconds; None for nothing. A date is its first moment in UTC.

    What lies before 1970 or at the end of the calendar becomes its nearest moment in between.

    Raises:
        ApiError: 400.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return _bounded(float(value))
    text = value
    if _SECONDS.fullmatch(text):
        return _bounded(float(text))
    if _DATE.fullmatch(text):
        try:
            return _bounded(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
        except ValueError:
            raise bad_field(field, "There is no such date.") from None
    # In a query, a plus that is not encoded is a space.
    return _read(
        text.replace(" 00:00", "+00:00") if "T" in text else text, bad_field(field, _FORMS)
    )


def read_time(field: str, text: str) -> float:
    """Return Unix seconds of `YYYY-MM-DD hh:mm:ss` (UTC) or an RFC 3339 time.

    Raises:
        ApiError: 400.
    """
    wrong = bad_field(field, "Give the time as `YYYY-MM-DD hh:mm:ss` in UTC, or as in RFC 3339.")
    return _read(text, wrong)


def _read(text: str, wrong: ApiError) -> float:
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
