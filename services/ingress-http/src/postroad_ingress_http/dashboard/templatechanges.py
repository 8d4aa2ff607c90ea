"""What a version of a template changed of the one before, line by line."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

MOST_LINES = 2000  # of a text that is compared line by line
_CONTEXT = 3
_LABELS = {"sender": "From", "replyto": "Reply-To", "html": "HTML", "mime": "Message"}


@dataclass(frozen=True, slots=True)
class ChangedLine:
    """A line: `kind` is added, removed, same or gap (lines are left out)."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ChangedPart:
    """A field of a template that has changed."""

    label: str
    lines: tuple[ChangedLine, ...]


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[ChangedPart]:
    """Return the fields that differ, in the order of the newer version."""
    names = dict.fromkeys((*new, *old))
    return [
        ChangedPart(
            _LABELS.get(name, name.capitalize()),
            tuple(_lines(_text(old.get(name)), _text(new.get(name)))),
        )
        for name in names
        if old.get(name) != new.get(name)
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)


def _lines(old: str, new: str) -> Iterator[ChangedLine]:
    before, after = old.splitlines(), new.splitlines()
    if max(len(before), len(after)) > MOST_LINES:
        yield from _in_place(before, after)
        return
    for line in list(difflib.unified_diff(before, after, lineterm="", n=_CONTEXT))[2:]:
        if line.startswith("@@"):
            number = line.partition("+")[2].partition(",")[0].partition(" ")[0]
            yield ChangedLine("gap", f"line {number}")
        else:
            kind = {"+": "added", "-": "removed"}.get(line[:1], "same")
            yield ChangedLine(kind, line[1:])


def _in_place(before: list[str], after: list[str]) -> Iterator[ChangedLine]:
    """Compare long texts as fast as they are read: each line with that of the same number."""
    yield ChangedLine("gap", "This text is long: lines are compared by their number.")
    pairs = enumerate(zip_longest(before, after), 1)
    changed = [(number, pair) for number, pair in pairs if pair[0] != pair[1]]
    for number, (gone, come) in changed[:MOST_LINES]:
        yield ChangedLine("gap", f"line {number}")
        if gone is not None:
            yield ChangedLine("removed", gone)
        if come is not None:
            yield ChangedLine("added", come)
    if len(changed) > MOST_LINES:
        yield ChangedLine("gap", f"{len(changed) - MOST_LINES} more lines")
