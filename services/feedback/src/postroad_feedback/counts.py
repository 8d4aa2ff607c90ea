"""What a batch of events adds to the roll-ups: per account, day (UTC) and tag, and per hour.

Counted by event name; what each number means is in `postroad_common.store.rollups`. Mail that
Postroad wrote itself is not counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from postroad_common.schemas.events import (
    TIMELINE_ONLY,
    Bounced,
    Clicked,
    Deferred,
    Event,
    Failed,
    Opened,
    is_own_mail,
)
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_feedback.message_cache import MessageInfo


def is_reaction(event: Event) -> bool:
    """Whether a person opened or clicked."""
    return isinstance(event, Opened | Clicked) and not event.data.machine


def mark_of(event: Event) -> str:
    """Return the mark that only the first such reaction to a message can set."""
    return f"{event.message}.{event.event}"


def additions(
    events: Iterable[Event], facts: Mapping[str, MessageInfo], firsts: Iterable[str]
) -> dict[RollupKey, Counter[str]]:
    """Return the numbers to add; events whose message is not in `facts` do not count.

    `firsts` are the marks (`mark_of`) set by this batch.
    """
    result: dict[RollupKey, Counter[str]] = {}
    for event, known, names in _counted(events, facts, firsts):
        day = datetime.fromtimestamp(event.time, UTC).date().isoformat()
        for tag in ("", *dict.fromkeys(known.tags)):
            result.setdefault(RollupKey(known.account, day, tag), Counter()).update(names)
    return result


def hourly_additions(
    events: Iterable[Event], facts: Mapping[str, MessageInfo], firsts: Iterable[str]
) -> dict[RollupKey, Counter[str]]:
    """As `additions`, by hour (`2026-11-21T14`) and over all tags."""
    result: dict[RollupKey, Counter[str]] = {}
    for event, known, names in _counted(events, facts, firsts):
        hour = hour_of(event.time)
        result.setdefault(RollupKey(known.account, hour, ""), Counter()).update(names)
    return result


def _counted(
    events: Iterable[Event], facts: Mapping[str, MessageInfo], firsts: Iterable[str]
) -> Iterator[tuple[Event, MessageInfo, list[str]]]:
    """Yield the events that count, each with the names of the numbers it adds to."""
    open_marks = set(firsts)
    # In one order, whoever counts: a repetition must come to the same result.
    for event in sorted(events, key=lambda event: (event.time, event.id)):
        known = facts.get(event.message)
        if known is None or event.event in TIMELINE_ONLY or is_own_mail(event):
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
        yield event, known, names
