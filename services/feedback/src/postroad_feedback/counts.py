"""What a batch of events adds to the roll-ups: per account, day (UTC) and tag, and per hour.

Days and hours of all mail are counted by login, sender domain, provider and tag as well (`parts`):
a day has the sums of its hours, so that nobody needs to read these for them.

Counted by event name; what each number means is in `postroad_common.store.rollups`. Mail that
Postroad wrote itself is not counted, and of tests nothing but that they were made.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from postroad_common.schemas.events import (
    TIMELINE_ONLY,
    Bounced,
    Clicked,
    Complained,
    Deferred,
    Delivered,
    Event,
    Failed,
    Opened,
    Tested,
    is_own_mail,
)
from postroad_common.store.rollupparts import TAGGED, WHOLE
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_feedback.message_cache import MessageInfo
from postroad_feedback.parts import Names, PartLimit, names_of

_HOUR = 3600  # seconds; hours and days begin at whole multiples, in UTC


def is_reaction(event: Event) -> bool:
    """Whether a person opened or clicked."""
    return isinstance(event, Opened | Clicked) and not event.data.machine


def mark_of(event: Event) -> str:
    """Return the mark that only the first such reaction to a message can set."""
    return f"{event.message}.{event.event}"


class Additions(NamedTuple):
    """What to add to the counters of the days, which tags have of their own, and of the hours."""

    days: dict[RollupKey, Counter[str]]
    hours: dict[RollupKey, Counter[str]]


def additions(
    events: Sequence[Event],
    facts: Mapping[str, MessageInfo],
    firsts: Iterable[str],
    limit: PartLimit | None = None,
) -> Additions:
    """Return the numbers to add; events whose message is not in `facts` do not count.

    `firsts` are the marks (`mark_of`) set by this batch. `limit` bounds the parts of a day.
    """
    limit = limit or PartLimit()
    # Few groups stand for many events: what has to do with dates is done once for each.
    groups: dict[tuple[str, tuple[str, ...], int, Names], dict[str, int]] = {}
    for event, known, names in _counted(events, facts, firsts):
        key = known.account, known.tags, int(event.time // _HOUR), names_of(event, known)
        group = groups.setdefault(key, {})
        for name in names:
            group[name] = group.get(name, 0) + 1
    result = Additions({}, {})
    for (account, tags, number, parts), counts in groups.items():
        moment = number * _HOUR
        day = datetime.fromtimestamp(moment, UTC).date().isoformat()
        for tag in ("", *limit.tags_of_day(account, moment, tags)):
            result.days.setdefault(RollupKey(account, day, tag), Counter()).update(counts)
        hour = hour_of(moment)
        divided = (*limit.parts(account, moment, parts), *limit.tag_parts(account, moment, tags))
        for part in (WHOLE, *divided):
            result.hours.setdefault(RollupKey(account, hour, "", part), Counter()).update(counts)
        for part in (TAGGED, *divided):
            result.days.setdefault(RollupKey(account, day, "", part), Counter()).update(counts)
    return result


def _counted(
    events: Sequence[Event], facts: Mapping[str, MessageInfo], firsts: Iterable[str]
) -> Iterator[tuple[Event, MessageInfo, list[str]]]:
    """Yield the events that count, each with the names of the numbers it adds to."""
    open_marks = set(firsts)
    if open_marks:  # in one order, whoever counts: a repetition must come to the same result
        events = sorted(events, key=lambda event: (event.time, event.id))
    for event in events:
        known = facts.get(event.message)
        if known is None or event.event in TIMELINE_ONLY or is_own_mail(event):
            continue
        if known.test and not isinstance(event, Tested):
            continue
        names = [str(event.event)]
        if isinstance(event, Opened | Clicked):
            if event.data.machine:
                names = [f"{event.event}_machine"]
            elif mark_of(event) in open_marks:
                open_marks.discard(mark_of(event))
                names.append(f"{event.event}_unique")
        elif isinstance(event, Failed) and event.data.expired:
            names.append("expired")
        elif isinstance(event, Deferred) and not event.data.attempt:
            names.append("deferred_unique")
        elif isinstance(event, Bounced):
            names.append("bounced_hard" if event.data.hard else "bounced_soft")
        if isinstance(event, Delivered | Complained) and event.data.simulated:
            names.append(f"simulated_{event.event}")
        yield event, known, names
