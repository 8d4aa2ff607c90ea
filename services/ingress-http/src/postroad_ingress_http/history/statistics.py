"""Numbers per day: the range that is asked for, and the sums over it."""

from datetime import UTC, date, datetime, timedelta

from postroad_common.store.rollups import Rollup
from postroad_ingress_http.http.errors import bad_field

DEFAULT_DAYS = 30
MOST_DAYS = 800


def total(rollups: list[Rollup]) -> dict[str, int]:
    """Return the sums by name."""
    sums: dict[str, int] = {}
    for rollup in rollups:
        for name, number in rollup.counts.items():
            sums[name] = sums.get(name, 0) + number
    return sums


def read_days(start: str | None, end: str | None, now: float) -> tuple[date, date]:
    """Return the first and the last day; by default the last 30 until today.

    Raises:
        ApiError: 400.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    last = _date("end", end) or today
    first = _date("start", start) or _before(last, DEFAULT_DAYS - 1)
    if first > last:
        raise bad_field("start", "It is after the end.")
    if (last - first).days >= MOST_DAYS:
        raise bad_field("start", f"At most {MOST_DAYS} days.")
    return first, last


def _before(day: date, days: int) -> date:
    """Return the day `days` before, or the first of the calendar."""
    return day - min(timedelta(days=days), day - date.min)


def _date(field: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise bad_field(field, "There is no such date.") from None
