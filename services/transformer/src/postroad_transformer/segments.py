"""Segments: a text as strings that are the same for every recipient, and holes between them."""

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
Chunk: TypeAlias = bytes | Hole
Url: TypeAlias = tuple[str, Hole, str]
"""A tracked URL: its base, the hole, and the end that is the same for every recipient."""
