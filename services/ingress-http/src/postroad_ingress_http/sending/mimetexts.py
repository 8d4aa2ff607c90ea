"""The texts of a whole MIME message: taken out to be filled, and put back encoded.

Header fields and the bodies of text parts that hold a tag are texts; all else stays octet for
octet. What is signed or encrypted, and what is attached, is never touched.

The bounded reader (`postroad_common.mail.mime`) does not serve here: it reads what is broken as far
as it can, and what is put back must stand exactly where it was.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser

from postroad_common.mail.decoding import decode_words
from postroad_ingress_http.sending.headers import address_header, text_header
from postroad_ingress_http.sending.mailboxes import parse_list
from postroad_ingress_http.sending.mimebuild import encode_text
from postroad_ingress_http.sending.mimecheck import to_crlf
from postroad_ingress_http.templating.engine import Escaping
from postroad_ingress_http.templating.renderer import TemplateSource

_SEALED = frozenset({"multipart/signed", "multipart/encrypted"})
_ADDRESSES = frozenset({"from", "to", "cc", "reply-to", "sender"})
_TAGS = ("{$", "{{", "{%", "{if ", "{foreach ", "{assign ")
_FIELD = re.compile(rb"(?<![^\n])([!-9;-~]++)[ \t]*+:((?:[^\r\n]|\r\n[ \t])*+)\r\n")
_MAX_PARTS = 100
_MAX_DEPTH = 10


def holds_tags(text: str) -> bool:
    """Tell whether there may be something to fill in `text`."""
    return any(tag in text for tag in _TAGS)


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a text goes: the value of the field `name`, or the rest of a part."""

    name: str | None
    open_end: bool = False  # the part's text does not end its last line

    def encode(self, text: str) -> bytes:
        """Return what stands in the message for `text`. Raises AddressError."""
        if self.name is None:
            encoding, body = encode_text(text)
            if self.open_end:
                body = body.removesuffix(b"\r\n")
            return b"%s\r\n\r\n%s" % (encoding.encode(), body)
        if self.name.lower() in _ADDRESSES:
            field = address_header(self.name, parse_list(text))
        else:
            field = text_header(self.name, text)
        return field[len(self.name) + 2 : -2]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a message: where its header begins, its body begins, and it ends."""

    start: int
    body: int
    end: int
    head: Message


class MimeTemplate:
    """A message with places: `sources` are its texts, `fill` makes a message of filled ones."""

    def __init__(self, message: bytes) -> None:
        self.sources: list[TemplateSource] = []
        self._message = message = to_crlf(message)
        self._pieces: list[bytes | _Slot] = []
        self._taken = 0
        for number, part in enumerate(_parts(message)):
            text = _text_of(message, part)
            if number == 0:
                self._take_head(part, has_text=text is not None)
            if text is not None:
                self._take_text(part, text)
        self._pieces.append(message[self._taken :])

    def fill(self, texts: Sequence[str]) -> bytes:
        """Return the message with `texts`, in the order of `sources`.

        Raises:
            AddressError: a filled address field holds something else.
        """
        left = iter(texts)
        return b"".join(
            piece if isinstance(piece, bytes) else piece.encode(next(left))
            for piece in self._pieces
        )

    def _take(self, start: int, end: int, slot: _Slot, source: TemplateSource) -> None:
        """Let `slot` stand for the octets from `start` to `end`."""
        self._pieces += self._message[self._taken : start], slot
        self._taken = end
        self.sources.append(source)

    def _take_head(self, part: _Part, *, has_text: bool) -> None:
        for found in _FIELD.finditer(self._message, part.start, part.body):
            name = found[1].decode()
            text = _decoded(found[2].decode("utf-8", "surrogateescape"))
            if has_text and name.lower() in {"content-type", "content-transfer-encoding"}:
                continue
            if holds_tags(text):
                escaping: Escaping = "address" if name.lower() in _ADDRESSES else "line"
                source = TemplateSource(f"mime.{name.lower()}", text, escaping)
                self._pieces.append(self._message[self._taken : found.start()])
                self._pieces.append(f"{name}: ".encode())
                self._taken = found.start()
                self._take(found.start(), found.end() - 2, _Slot(name), source)

    def _take_text(self, part: _Part, text: str) -> None:
        """Take the fields that say how the part is encoded, and its body."""
        for found in _FIELD.finditer(self._message, part.start, part.body):
            if found[1].lower() in {b"content-type", b"content-transfer-encoding"}:
                self._pieces.append(self._message[self._taken : found.start()])
                self._taken = found.end()
        end_of_head = max(part.body - 2, self._taken)
        part.head.set_param("charset", "utf-8")
        described = f"Content-Type: {part.head['content-type']}\r\nContent-Transfer-Encoding: "
        self._pieces += self._message[self._taken : end_of_head], described.encode()
        self._taken = end_of_head
        subtype = part.head.get_content_subtype()
        escaping: Escaping = "html" if subtype == "html" else "text"
        slot = _Slot(None, open_end=not text.endswith("\n"))
        self._take(end_of_head, part.end, slot, TemplateSource(f"mime.{subtype}", text, escaping))


def _parts(message: bytes) -> Iterator[_Part]:
    """Yield the parts that may be changed in their order, the message itself first."""
    waiting = [(0, len(message), 0)]
    for _ in range(_MAX_PARTS):
        if not waiting:
            return
        start, end, depth = waiting.pop(0)
        body = _end_of_head(message, start, end)
        head = BytesHeaderParser().parsebytes(message[start:body])
        yield _Part(start, body, end, head)
        if head.get_content_maintype() == "multipart" and depth < _MAX_DEPTH:
            boundary = head.get_boundary()
            if boundary and head.get_content_type() not in _SEALED:
                inner = _between(message, body, end, boundary)
                waiting[:0] = [(begin, stop, depth + 1) for begin, stop in inner]


def _end_of_head(message: bytes, start: int, end: int) -> int:
    if message.startswith(b"\r\n", start):
        return start + 2
    found = message.find(b"\r\n\r\n", start, end)
    return end if found < 0 else found + 4


def _between(message: bytes, start: int, end: int, boundary: str) -> list[tuple[int, int]]:
    """Return where the parts between the lines with the boundary are (RFC 2046 section 5.1.1)."""
    octets = re.escape(boundary.encode("utf-8", "surrogateescape"))
    line = re.compile(rb"\r\n--" + octets + rb"(--)?[ \t]*(?=\r\n|\Z)")
    found: list[tuple[int, int]] = []
    begin = -1
    for delimiter in line.finditer(message, start - 2, end):
        if begin >= 0:
            found.append((begin, delimiter.start()))
        begin = delimiter.end() + 2
        if delimiter[1]:
            return found
    if 0 <= begin <= end:
        found.append((begin, end))
    return found


def _text_of(message: bytes, part: _Part) -> str | None:
    """Return the text of a part if it holds a tag and can be read without a doubt."""
    head = part.head
    if head.get_content_type() not in {"text/plain", "text/html"} or head.get_filename():
        return None
    if (head.get_content_disposition() or "inline") != "inline":
        return None
    head.set_payload(message[part.body : part.end].decode("ascii", "surrogateescape"))
    octets = head.get_payload(decode=True)
    if not isinstance(octets, bytes):
        return None
    try:
        text = octets.decode(head.get_content_charset() or "utf-8")
    except (LookupError, ValueError):
        return None
    return text.replace("\r\n", "\n") if holds_tags(text) else None


def _decoded(value: str) -> str:
    text = decode_words(value) if "=?" in value else value
    return " ".join(text.replace("\r\n", "").split(" ")).strip()
