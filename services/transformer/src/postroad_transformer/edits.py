"""Edits: what replaces a stretch of a text, and the holes that are filled for each recipient.

The text with its edits becomes segments: strings that are the same for every recipient, and holes
between them. Everything outside the edits is kept as it is.
"""

from collections.abc import Iterable
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from postroad_common.tokens import LinkKind


class Hole(NamedTuple):
    """A place for the part of a tracked URL that differs per recipient.

    It is filled with `MessageLinks.head`: of constant length, of letters, digits, `-` and `_`.
    """

    kind: LinkKind
    number: int
    target: bytes


Segment: TypeAlias = str | Hole


class Edit(NamedTuple):
    """Put `parts` in place of the characters from `start` to `end`; equal offsets insert."""

    start: int
    end: int
    parts: tuple[Segment, ...]


def splice(text: str, edits: Iterable[Edit]) -> list[Segment]:
    """`text` with `edits`, which neither overlap nor start at the same place, done.

    Returns strings and holes in turn: it begins and ends with a string.
    """
    segments: list[Segment] = []
    pieces: list[str] = []
    done = 0
    for edit in sorted(edits, key=itemgetter(0)):
        pieces.append(text[done : edit.start])
        for part in edit.parts:
            if isinstance(part, str):
                pieces.append(part)
            else:
                segments += ("".join(pieces), part)
                pieces = []
        done = edit.end
    pieces.append(text[done:])
    segments.append("".join(pieces))
    return segments
