"""Header blocks as octets: where each field stands, and small readers of structured values.

Nothing is decoded or re-folded. A block ends at the blank line, or before the first line that is
no header field, where many mail programs, and Postfix, let the body start.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from postroad_common.mail.control import MAX_INVALID_LINES

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+)(?:\r\n|\Z)")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_PARAMETER = re.compile(
    rb""";\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]++))""", re.DOTALL
)
_TYPE = re.compile(rb"\s*+([^\s;/]++)\s*+/\s*+([^\s;]++)")
_MARK = b"\xef\xbb\xbf"
_MAILBOX = re.compile(rb">?From [^\r\n]*+\r\n")
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
        match = _FIELD.match(raw, position, end)
        if not match:
            break
        fields.append(Field(match[1].lower(), position, match.start(2), match.end()))
        position = match.end()
        if len(fields) > MAX_FIELDS:
            raise ValueError("too many header fields")
    separated = raw.startswith(b"\r\n", position, end)
    return Block(tuple(fields), position + 2 if separated else position, separated)


def mend_header(raw: bytes) -> bytes:
    """Return the message with every line of its header a field; `raw` itself where that is so.

    A byte order mark goes, and so does a first line `From …` of a mailbox file; every other line
    before the blank line that is no field becomes the value of `X-Invalid-Line`, or what follows
    it, Bcc perhaps, would be body. Lines without any field after them are body (RFC 5322 has no
    name for that, Postfix takes them so).
    """
    start = len(_MARK) if raw.startswith(_MARK) else 0
    mailbox = _MAILBOX.match(raw, start)
    position = begin = mailbox.end() if mailbox else start
    kept: list[bytes] = []
    wrong: list[bytes] = []  # lines that are no field, until one follows
    done = begin
    while position < len(raw) and not raw.startswith(b"\r\n", position):
        match = _FIELD.match(raw, position)
        if match:
            if wrong:
                kept += [b"X-Invalid-Line: " + line.strip() + b"\r\n" for line in wrong]
                wrong, done = [], position
            kept.append(raw[position : match.end()])
            position = done = match.end()
        else:
            line_end = raw.find(b"\r\n", position)
            line_end = len(raw) if line_end < 0 else line_end + 2
            wrong.append(raw[position:line_end])
            position = line_end
            if len(wrong) > MAX_INVALID_LINES:
                break
        if len(kept) > MAX_FIELDS:
            return raw
    whole = b"".join(kept)
    if whole == raw[:done]:
        return raw
    return whole + raw[done:]


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
