"""Numbers per day: the range and the part of the mail that are asked for, and sums."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from postroad_common.store.rollupparts import PARTS, TAG, WHOLE, MailPart
from postroad_common.store.rollups import NAMES, Counts, Rollup, Rollups
from postroad_ingress_http.http.errors import bad_field

DEFAULT_DAYS = 30
MOST_DAYS = 800
MOST_GROUPS = 100
KINDS = (TAG, *PARTS)


class Subject(NamedTuple):
    """Whose numbers are asked for: all mail, that of one tag, or one part of it."""

    tag: str = ""
    part: MailPart = WHOLE

    @property
    def kind(self) -> str:
        """Return one of `KINDS`, or nothing for all mail."""
        return TAG if self.tag else self.part.by

    @property
    def name(self) -> str:
        """Return the tag, or the name of the part."""
        return self.tag or self.part.name

    @classmethod
    def of(cls, kind: str, name: str, *, by_hour: bool = False) -> "Subject":
        """Return the subject with this kind and name; all mail where there is no name.

        On a day a tag has counters of its own, in an hour it is a part of all mail.
        """
        if not name:
            return cls()
        apart = kind == TAG and not by_hour
        return cls(tag=name) if apart else cls(part=MailPart(kind, name))


def read_subject(values: Mapping[str, str | None], *, by_hour: bool = False) -> Subject:
    """Return what is asked for, by the names in `KINDS`.

    Raises:
        ApiError: 400, more than one is asked for.
    """
    given = [(kind, name) for kind in KINDS if (name := values.get(kind))]
    if len(given) > 1:
        raise bad_field(given[1][0], f"Give this or {given[0][0]}, not both.")
    return Subject.of(*given[0], by_hour=by_hour) if given else Subject()


def total(rollups: Iterable[Rollup]) -> dict[str, int]:
    """Return the sums by name."""
    return add(rollup.counts for rollup in rollups)


def add(counts: Iterable[Counts]) -> dict[str, int]:
    """Return the sums by name."""
    sums: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            sums[name] = sums.get(name, 0) + number
    return sums


def sums_of_parts(
    days: Iterable[Mapping[str, Counts]], names: Sequence[str] = NAMES
) -> dict[str, dict[str, int]]:
    """Return the sums of some numbers of each part, those with most mail first."""
    wanted = set(names)
    sums: dict[str, dict[str, int]] = {}
    for parts in days:
        for part, counts in parts.items():
            of_part = sums.setdefault(part, {})
            for name, number in counts.items():
                if number and name in wanted:
                    of_part[name] = of_part.get(name, 0) + number
    return dict(sorted(sums.items(), key=lambda item: (-_mail(item[1]), item[0])))


def _mail(counts: Counts) -> int:
    """Return the messages that were accepted or, where that is not counted, have ended."""
    return counts.get("accepted") or counts.get("delivered", 0) + counts.get("failed", 0)


async def groups_of_days(
    rollups: Rollups, account: str, kind: str, start: str, end: str
) -> dict[str, Counts]:
    """Return the sums by tag, or by part of a kind, those with most mail first."""
    if kind == TAG:
        found = await rollups.by_tag.largest(account, start, end, NAMES, MOST_GROUPS)
        return {
            name: {what: number for what, number in counts.items() if number}
            for name, counts in found.items()
        }
    return largest((await rollups.parts(account, start, end, kind)).values())


def largest(parts: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Return the sums of the parts with most mail, at most `MOST_GROUPS`."""
    return dict(islice(sums_of_parts(parts).items(), MOST_GROUPS))


def complaint_rate(sums: Mapping[str, int]) -> float:
    """Return the share of delivered messages that were complained about, the simulated left out."""
    delivered = sums.get("delivered", 0) - sums.get("simulated_delivered", 0)
    complained = sums.get("complained", 0) - sums.get("simulated_complained", 0)
    return complained / delivered if delivered > 0 else 0.0


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
