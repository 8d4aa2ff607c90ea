"""Header blocks as octets: where each field stands, and small readers of structured values.

Nothing is decoded or re-folded. A block ends at the blank line, or before the first line that is
no header field, where many mail programs, and Postfix, let the body start; `mending` looks for
more of the header behind it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+)(?:\r\n|\Z)")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_PARAMETER = re.compile(
    rb""";\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]++))""", re.DOTALL
)
_TYPE = re.compile(rb"\s*+([^\s;/]++)\s*+/\s*+([^\s;]++)")
MAX_FIELDS = 10_000
_REMEMBERED = 100  # octets of a value


class Field(NamedTuple):
    """One field of a header: `name` in lower case, and offsets into the message.

    `start` to `end` is the whole field with its CRLF, `value` where the text behind the colon is.
    """

    name: bytes
    start: int
    value: int
    end: int


class Block(NamedTuple):
    """A header block; the body starts at `body`. Without `separated` no blank line ends it."""

    fields: tuple[Field, ...]
    body: int
    separated: bool


def read_block(raw: bytes, start: int, end: int) -> Block:
    """Return the header block of the entity that stands in `raw` from `start` to `end`.

    Raises:
        ValueError: it has more fields than any mail needs.
    """
    fields: list[Field] = []
    position = start
    while position < end:
        match = FIELD.match(raw, position, end)
        if not match:
            break
        fields.append(Field(match[1].lower(), position, match.start(2), match.end()))
        position = match.end()
        if len(fields) > MAX_FIELDS:
            raise ValueError("too many header fields")
    separated = raw.startswith(b"\r\n", position, end)
    return Block(tuple(fields), position + 2 if separated else position, separated)


def value_of(raw: bytes, field: Field) -> bytes:
    """Return the value of `field`, unfolded, without white space around it."""
    value = raw[field.value : field.end].strip()
    return _FOLD.sub(b"", value) if b"\n" in value else value


def first(raw: bytes, block: Block, name: bytes) -> bytes | None:
    """Return the value of the first field called `name` (lower case)."""
    for field in block.fields:
        if field.name == name:
            return value_of(raw, field)
    return None


class ContentType(NamedTuple):
    """A media type in lower case, and its parameters by lower-case name."""

    main: str
    sub: str
    parameters: Mapping[str, bytes]


def content_type(value: bytes) -> ContentType | None:
    """Return the Content-Type that `value` states (RFC 2045 section 5.1), None if none."""
    read = _content_type if len(value) <= _REMEMBERED else _content_type.__wrapped__
    return read(value)


@lru_cache(512)
def _content_type(value: bytes) -> ContentType | None:
    match = _TYPE.match(value)
    if not match:
        return None
    main, sub = match[1].decode("latin-1").lower(), match[2].decode("latin-1").lower()
    return ContentType(main, sub, parameters(value))


def parameters(value: bytes) -> dict[str, bytes]:
    """Return the parameters after the first `;` of `value`, unquoted; RFC 2231 is left as it is."""
    found: dict[str, bytes] = {}
    for match in _PARAMETER.finditer(value):
        text = match[3] if match[2] is None else re.sub(rb"\\(.)", rb"\1", match[2])
        found.setdefault(match[1].decode("latin-1").lower(), text)
    return found
