"""Times in query strings: a date, a time in UTC, or Unix seconds."""

import re
from datetime import UTC, datetime

from postroad_ingress_http.errors import bad_field
from postroad_ingress_http.routing import read_time

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_SECONDS = re.compile(r"\d{1,11}(\.\d{1,6})?")


def read_moment(field: str, text: str | None) -> float | None:
    """Unix seconds; None for nothing. A date is its first moment in UTC.

    Raises:
        ApiError: 400.
    """
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    if _DATE.fullmatch(text):
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise bad_field(field, "There is no such date.") from None
    return read_time(field, text.replace(" 00:00", "+00:00") if "T" in text else text)
