"""A header with lines that are no fields, made one that is nothing but fields.

What would be body for the next reader, Bcc perhaps, stays header. How a sound header is read is in
`fields`.
"""

import re
from collections.abc import Sequence

from postroad_common.mail.control import MAX_INVALID_LINES
from postroad_transformer.reading.fields import FIELD, MAX_FIELDS

_MARKS = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)++")  # byte order marks
_MAILBOX = re.compile(rb">?From [^\r\n]*+\r\n")
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\Z)")
_BASE64 = re.compile(rb"content-transfer-encoding[ \t]*:\s*base64\b", re.IGNORECASE)
_HIDDEN = frozenset({b"bcc", b"resent-bcc"})
_LOOKS_HIDDEN = re.compile(rb"[^A-Za-z0-9]*+(?:resent-)?bcc(?![A-Za-z0-9-])", re.IGNORECASE)


def mend_header(raw: bytes) -> bytes:
    """Return the message with every line of its header a field; `raw` itself where that is so.

    Byte order marks before a field go, and so does a first line `From …` of a mailbox file; every
    other line before the blank line that is no field becomes the value of `X-Invalid-Line`, or
    what follows it would be body. Lines without any field after them are body, as for Postfix,
    Exim and sendmail: they may be the first lines of a text that lacks its blank line. Before a
    body in base64 they cannot be that, and would garble it. What may be of a Bcc goes wherever it
    is.
    """
    kept: list[bytes] = []
    wrong: list[bytes] = []  # lines that are no field, until one follows
    invalid = 0  # of them, those that continue no other
    hidden = False  # whether the last field was a Bcc
    begin = position = done = _begin(raw)
    while position < len(raw) and not raw.startswith(b"\r\n", position):
        marks = _MARKS.match(raw, position)
        start = marks.end() if marks else position
        match = FIELD.match(raw, start)
        if match:
            kept += _as_fields(wrong, hidden=hidden)
            wrong, invalid, hidden = [], 0, match[1].lower() in _HIDDEN
            kept.append(raw[start : match.end()])
            position = done = match.end()
            if len(kept) > MAX_FIELDS:
                return raw
            continue
        line = _line(raw, position)
        wrong.append(line)
        invalid += not line.startswith((b" ", b"\t")) or len(wrong) == 1
        position += len(line)
        if invalid > MAX_INVALID_LINES:
            break
    ended = invalid <= MAX_INVALID_LINES and raw.startswith(b"\r\n", position)
    if wrong and ended and any(map(_BASE64.match, kept)):
        kept += _as_fields(wrong, hidden=hidden)
        wrong, done = [], position
    whole = b"".join(kept)
    text = _text(raw[done:], kept[-1] if hidden else b"") if wrong else raw[done:]
    if whole == raw[begin:done] and begin == 0 and text == raw[done:]:
        return raw
    return whole + text


def _begin(raw: bytes) -> int:
    """Return where the header starts, behind byte order marks and the line of a mailbox file."""
    marks = _MARKS.match(raw)
    start = marks.end() if marks else 0
    mailbox = _MAILBOX.match(raw, start)
    return mailbox.end() if mailbox else start


def _line(raw: bytes, position: int) -> bytes:
    match = _LINE.match(raw, position)
    # A CR or LF of no pair is never here; one octet at least keeps the loop going nevertheless.
    return match[0] if match and match[0] else raw[position : position + 1]


def _as_fields(lines: Sequence[bytes], *, hidden: bool) -> list[bytes]:
    """Return the fields for `lines` that are none; `hidden`: they follow a Bcc."""
    if hidden:
        return []
    return [b"X-Invalid-Line: " + line.strip() + b"\r\n" for line in _shown(lines)]


def _shown(lines: Sequence[bytes]) -> list[bytes]:
    """Return `lines` without those that look like a Bcc, and without what continues these."""
    shown = []
    hidden = False
    for line in lines:
        if not (hidden and line.startswith((b" ", b"\t"))):
            hidden = _LOOKS_HIDDEN.match(line) is not None
        if not hidden:
            shown.append(line)
    return shown


def _text(text: bytes, bcc: bytes) -> bytes:
    """Return the text behind a header that no blank line ends, without what may be of a Bcc.

    `bcc`: the Bcc that is the last field, if it is one. Up to its blank line the text may be a
    header in ruins. A list of addresses goes on behind a comma.
    """
    end = text.find(b"\r\n\r\n")
    end = len(text) if end < 0 else end + 2
    lines = _LINE.findall(text[:end])
    first = 0
    while bcc.rstrip().endswith(b",") and first < len(lines):
        bcc = lines[first]
        first += 1
    return b"".join(_shown(lines[first:])) + text[end:]
