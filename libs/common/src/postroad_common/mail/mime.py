"""A reader of hostile MIME: splits a mail into parts within fixed bounds.

Returned mail comes from anybody, in any state: cut off, wrongly nested, with invented character
sets, 25 MiB long; and so may what a customer hands in. The reader looks at the bytes in place (a
part is a pair of offsets), counts while it reads, decodes only what is asked for (`decoding`),
never raises on content, and does work in proportion to the size of the mail. What the parts mean is
decided by those who read.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from postroad_common.mail.decoding import decode_text, from_base64, scrub, strip_html

MAX_DEPTH = 8
MAX_PARTS = 64
MAX_HEADER_BYTES = 64 * 1024
"""Of a header up to this size all fields are read; of a longer one, what `_shorten` keeps."""
MAX_LONG_HEADER_BYTES = 2 * 1024 * 1024
"""How far the end of a header is looked for."""
MAX_HEADERS = 500
MAX_SCANNED_FIELDS = 20_000
MAX_SHORTENED_FIELD = 4096
MAX_REPEATED = 50
MAX_TEXT_BYTES = 64 * 1024
MAX_DELIMITERS = 1000

_BLANK_LINE = re.compile(rb"\r?\n[ \t]*\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_FIELD = re.compile(rb"^([!-9;-~]{1,100}+)[ \t]*+:(?:[^\n]|\n(?=[ \t]))*+", re.MULTILINE)
_PARAMETER = re.compile(
    r';\s*([a-z0-9-]{1,40})(?:\*0?\*?)?\s*=\s*(?:"([^"]{0,500})"|([^;\s"]{1,500}))', re.IGNORECASE
)
_MEDIA_TYPE = re.compile(r"\s*([a-z0-9!#$&^_.+-]{1,80})/([a-z0-9!#$&^_.+-]{1,80})", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Headers:
    """The header fields of one part, names lower-cased, values unfolded and stripped."""

    fields: tuple[tuple[str, str], ...]
    first: dict[str, str]
    """The first value of each name."""

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of ``name`` (lower-case), or ``default``."""
        return self.first.get(name, default)

    def has(self, name: str) -> bool:
        """Tell whether a field of that (lower-case) name is there."""
        return name in self.first

    def all(self, name: str) -> list[str]:
        """Return every value of ``name`` (lower-case), in order."""
        if name not in self.first:
            return []
        return [value for field, value in self.fields if field == name]


@dataclass(frozen=True)
class Part:
    """One MIME entity: its headers, where its body lies in ``raw``, and its children."""

    raw: bytes
    headers: Headers
    start: int
    end: int
    media_type: str
    parameters: dict[str, str]
    children: tuple["Part", ...] = ()

    @property
    def size(self) -> int:
        """Length of the undecoded body in bytes."""
        return self.end - self.start

    def walk(self) -> Iterator["Part"]:
        """Yield this part and all below it, in the order they stand in the mail."""
        yield self
        for child in self.children:
            yield from child.walk()

    def content(self, limit: int = MAX_TEXT_BYTES) -> bytes:
        """Return the body with its transfer encoding undone, from at most ``limit`` raw bytes."""
        data = self.raw[self.start : min(self.end, self.start + limit)]
        encoding = self.headers.get("content-transfer-encoding").strip().lower()
        if encoding == "quoted-printable":
            return binascii.a2b_qp(data)
        if encoding == "base64":
            return from_base64(data)
        return data

    @cached_property
    def text(self) -> str:
        """The readable text of this part: decoded, HTML tags dropped, LF line ends."""
        text = decode_text(self.content(), self.parameters.get("charset", ""))
        if self.media_type == "text/html":
            text = strip_html(text)
        return _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))


def read(raw: bytes, max_parts: int = MAX_PARTS) -> Part:
    """Split a mail into its parts, `max_parts` at most; never raises, whatever the bytes are."""
    start = 0
    if raw[:5] == b"From " or raw[:6] == b">From ":  # an mbox line that a mailer left in front
        start = raw.find(b"\n", 0, 2000) + 1
    return _read_part(raw, start, len(raw), depth=0, budget=[max_parts], fallback="text/plain")


def read_headers(block: bytes) -> Headers:
    """Read a header block (without its blank line); lines that are no header are skipped."""
    # Decoded as a whole: this runs for every part of every mail.
    if len(block) > MAX_HEADER_BYTES or block.count(b"\n") > MAX_HEADERS:
        block = _shorten(block[:MAX_LONG_HEADER_BYTES])
    block = block.replace(b"\x00", b"")
    if b"\n " in block or b"\n\t" in block:
        block = _FOLD.sub(b" ", block)
    text = block.decode("utf-8", "surrogateescape")
    damaged = not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text)
    fields: list[tuple[str, str]] = []
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        name = name.strip()
        if not colon or not name or len(name) > 100 or " " in name:
            continue
        if damaged:
            value = decode_text(value.encode("utf-8", "surrogateescape"), "")
            name = scrub(name)
        fields.append((name.lower(), value.strip()))
        if len(fields) >= MAX_HEADERS:
            break
    return Headers(tuple(fields), dict(reversed(fields)))


def _shorten(block: bytes) -> bytes:
    """Return the first fields of each name, cut where they are long.

    Thousands of recipients or trace fields may stand before the field that says what the mail is.
    """
    kept: list[bytes] = []
    times: dict[bytes, int] = {}
    for field in islice(_FIELD.finditer(block), MAX_SCANNED_FIELDS):
        name = field[1].lower()
        times[name] = number = times.get(name, 0) + 1
        if number <= MAX_REPEATED:
            end = min(field.end(), field.start() + MAX_SHORTENED_FIELD)
            kept.append(block[field.start() : end])
            if len(kept) >= MAX_HEADERS:
                break
    return b"\n".join(kept)


def parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    """Read a Content-Type value (RFC 2045 section 5.1) as far as it can be read."""
    match = _MEDIA_TYPE.match(value)
    if match is None:
        return "", {}
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value[match.end() : match.end() + 4000]):
        parameters.setdefault(name.lower(), quoted or plain)
    return f"{match[1]}/{match[2]}".lower(), parameters


def _read_part(
    raw: bytes, start: int, end: int, *, depth: int, budget: list[int], fallback: str
) -> Part:
    budget[0] -= 1
    body = _body_start(raw, start, end)
    headers = read_headers(raw[start:body])
    media_type, parameters = parse_media_type(headers.get("content-type"))
    media_type = media_type or fallback
    children: tuple[Part, ...] = ()
    boundary = parameters.get("boundary", "")
    if media_type.startswith("multipart/") and boundary and depth < MAX_DEPTH:
        fallback = "message/rfc822" if media_type == "multipart/digest" else "text/plain"
        found: list[Part] = []
        for first, last in _split(raw, body, end, boundary.encode("utf-8", "replace")):
            if budget[0] <= 0:
                break
            found.append(
                _read_part(raw, first, last, depth=depth + 1, budget=budget, fallback=fallback)
            )
        children = tuple(found)
    return Part(raw, headers, body, end, media_type, parameters, children)


def _body_start(raw: bytes, start: int, end: int) -> int:
    """Find where the body begins: after the first blank line, or at once if there is no header."""
    if raw[start : start + 1] == b"\n":
        return start + 1
    if raw[start : start + 2] == b"\r\n":
        return start + 2
    match = _BLANK_LINE.search(raw, start, min(end, start + MAX_LONG_HEADER_BYTES))
    return match.end() if match else min(end, start + MAX_HEADER_BYTES)


def _split(raw: bytes, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each piece between the delimiter lines of a multipart."""
    delimiter = b"--" + boundary
    position = start
    first: int | None = None
    for _ in range(MAX_DELIMITERS):
        hit = raw.find(delimiter, position, end)
        if hit < 0:
            break
        position = hit + len(delimiter)
        if hit > start and raw[hit - 1] != 10:
            position = _next_line_start(raw, position, end, delimiter)
            continue
        tail = raw[position : position + 2]
        if tail[:1] not in (b"", b"\r", b"\n", b" ", b"\t", b"-") or (
            tail[:1] == b"-" and tail != b"--"
        ):
            continue
        if first is not None:
            yield first, _before_newline(raw, first, hit)
        if tail == b"--":
            return
        newline = raw.find(b"\n", position, end)
        if newline < 0:
            return
        first = position = newline + 1
    if first is not None and first < end:  # the closing delimiter is missing
        yield first, end


def _next_line_start(raw: bytes, position: int, end: int, delimiter: bytes) -> int:
    """Skip to the next delimiter that follows a line end, in one search."""
    hit = raw.find(b"\n" + delimiter, position - 1, end)
    return end if hit < 0 else hit + 1


def _before_newline(raw: bytes, first: int, hit: int) -> int:
    """Leave out the line end before a delimiter: it belongs to the delimiter (RFC 2046, 5.1.1)."""
    if hit > first and raw[hit - 1] == 10:
        hit -= 1
        if hit > first and raw[hit - 1] == 13:
            hit -= 1
    return max(hit, first)
