"""What a batch of events adds to the roll-ups: per account, day (UTC) and tag.

Counted by event name. Openings and clicks of machines are counted apart (`opened_machine`), and
the first opening and first click by a person of each message once more (`opened_unique`). Mail
that Postroad wrote itself is not counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from postroad_common.schemas.events import (
    TIMELINE_ONLY,
    Clicked,
    Event,
    Failed,
    Opened,
    is_own_mail,
)
from postroad_common.store.rollups import RollupKey
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
    open_marks = set(firsts)
    result: dict[RollupKey, Counter[str]] = {}
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
        day = datetime.fromtimestamp(event.time, UTC).date().isoformat()
        for tag in ("", *dict.fromkeys(known.tags)):
            result.setdefault(RollupKey(known.account, day, tag), Counter()).update(names)
    return result
