"""Reads kept mail for people and tests: subject, headers, text, HTML, parts. Never fails.

A message may be anything; what cannot be read is shown as it came.
"""

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message

_HEADER_LIMIT = 256 * 1024  # bytes looked at for the subject
_SUBJECT = re.compile(rb"^subject:[ \t]*(.*(?:\r?\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_BARE_CR_OR_LF = re.compile(rb"\r(?!\n)|(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class ParsedPart:
    """A leaf of the MIME tree; `number` counts the leaves from 0. `data` is decoded."""

    number: int
    content_type: str
    charset: str
    filename: str | None
    content_id: str | None
    attached: bool
    data: bytes

    @property
    def text(self) -> str:
        """`data` in its character set, or the nearest that can be made of it."""
        try:
            return self.data.decode(self.charset, "replace")
        except (LookupError, ValueError):
            return self.data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """A message taken apart. `headers` are unfolded, in order, encoded words decoded."""

    headers: list[tuple[str, str]]
    parts: list[ParsedPart]

    def body(self, content_type: str) -> str | None:
        """Return the first part of that type that is no attachment."""
        for part in self.parts:
            if part.content_type == content_type and not part.attached:
                return part.text
        return None


def subject(raw: bytes) -> str:
    """Return the decoded subject, '' if there is none."""
    head = raw[:_HEADER_LIMIT]
    end = _BLANK_LINE.search(head)
    match = _SUBJECT.search(head, 0, end.start() if end else len(head))
    return decoded(match[1].decode("utf-8", "replace")) if match else ""


def decoded(value: str) -> str:
    """Return a header value in one line, encoded words (RFC 2047) decoded."""
    value = _FOLD.sub("", value).strip()
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value)))
    except (MessageError, ValueError, LookupError):
        return value


def has_bare_line_ends(raw: bytes) -> bool:
    """Whether a CR or LF stands alone, which no client may send (RFC 5321 section 2.3.8)."""
    return _BARE_CR_OR_LF.search(raw) is not None


def read(raw: bytes) -> ParsedMail:
    """Take a message apart."""
    try:
        message = email.message_from_bytes(raw)
        parts = [_part(number, leaf) for number, leaf in enumerate(_leaves(message))]
        headers = [
            (
                name,
                decoded(str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")),
            )
            for name, value in message.raw_items()
        ]
    except (RecursionError, MessageError, ValueError, LookupError, AttributeError, TypeError):
        # The parser of the standard library gives up on some hostile input in one of these ways.
        return ParsedMail(
            [], [ParsedPart(0, "text/plain", "utf-8", None, None, attached=False, data=raw)]
        )
    return ParsedMail(headers, parts)


def _leaves(message: "Message[str, str]") -> Iterator["Message[str, str]"]:
    return (part for part in message.walk() if not part.is_multipart())


def _part(number: int, leaf: "Message[str, str]") -> ParsedPart:
    data = leaf.get_payload(decode=True)
    filename = leaf.get_filename()
    return ParsedPart(
        number=number,
        content_type=leaf.get_content_type(),
        charset=leaf.get_content_charset("utf-8"),
        filename=decoded(filename) if filename else None,
        content_id=(leaf["content-id"] or "").strip().strip("<>") or None,
        attached=leaf.get_content_disposition() == "attachment",
        data=data if isinstance(data, bytes) else b"",
    )
