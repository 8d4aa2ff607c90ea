"""The walk over a message's MIME structure: which parts are HTML texts that may be changed.

It works on offsets into the octets of the message, so that whatever is not changed is never
copied, decoded or written again. Not entered: anything signed or encrypted (`multipart/signed`,
`multipart/encrypted`, S/MIME), reports, and nested messages. Not taken: attachments that happen
to be HTML. A structure that makes no sense or is out of bounds yields nothing but the reason.
"""

from dataclasses import dataclass
from typing import NamedTuple

from postroad_transformer.reading.fields import (
    Block,
    ContentType,
    Field,
    content_type,
    parameters,
    read_block,
    value_of,
)

MAX_DEPTH = 20
MAX_PARTS = 1_000
_MAX_LINE = 1_000
_MAX_BOUNDARY = 250  # octets; RFC 2046 allows 70, senders use more
_MAX_SEEN = 20_000  # places that look like a delimiter
_CLOSED = frozenset({"signed", "encrypted", "report", "digest", "form-data", "byteranges"})
_PGP = b"-----BEGIN PGP "
_DEFAULT = ContentType("text", "plain", {})
_KEPT = (
    b"content-type",
    b"content-transfer-encoding",
    b"content-disposition",
    b"content-id",
)


class Malformed(ValueError):  # noqa: N818 - says what the message is
    """The MIME structure makes no sense or is out of bounds; the text is for the timeline."""


@dataclass(frozen=True, slots=True)
class HtmlPart:
    """An HTML text: its body stands from `body` to `end`, its header from `header` to `body`.

    `encoding` is the Content-Transfer-Encoding in lower case, `encoding_field` its field if there
    is one; `top` says that the header is the message's own.
    """

    header: int
    fields_end: int
    body: int
    end: int
    charset: str
    encoding: str
    encoding_field: Field | None
    top: bool


class ImagePart(NamedTuple):
    """An image that HTML may show by its Content-ID, `cid`, here without angle brackets.

    Its body stands from `body` to `end`; the part with its delimiter from `start` to `stop`.
    """

    cid: str
    encoding: str
    body: int
    end: int
    start: int
    stop: int


class _Span(NamedTuple):
    """A body part from `start` to `end`; its delimiter is at `before`, the next at `after`."""

    start: int
    end: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Structure:
    """The HTML parts in order, why others were passed over (each reason once), and more.

    `images` are those that may be taken out; `has_text` tells of a plain text for readers.
    """

    parts: tuple[HtmlPart, ...]
    reasons: tuple[str, ...]
    images: tuple[ImagePart, ...] = ()
    has_text: bool = False


class _Walk:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.parts: list[HtmlPart] = []
        self.reasons: dict[str, None] = {}
        self.images: list[ImagePart] = []
        self.has_text = False
        self.count = 0

    def entity(self, block: Block, span: _Span, depth: int) -> None:
        start, end = span.start, span.end
        self.count += 1
        if self.count > MAX_PARTS:
            raise Malformed("more parts than any mail needs")
        known: dict[bytes, Field] = {}
        for field in block.fields:
            if field.name in _KEPT:
                known.setdefault(field.name, field)
        kind = self._type(known)
        if kind.main == "multipart":
            if depth and self._is_attached(known):
                self.reasons["an attached multipart"] = None
            else:
                self._multipart(kind, block, end, depth)
        elif kind.main == "text" and kind.sub == "html":
            self._html(kind, known, block, (start, end), depth)
        elif kind.main == "text" and kind.sub == "plain":
            self.has_text = self.has_text or not self._is_attached(known)
        elif kind.main == "image" and depth:
            self._image(known, block, span)
        elif kind.main == "application" and kind.sub in {"pkcs7-mime", "x-pkcs7-mime"}:
            self.reasons["signed or encrypted (S/MIME)"] = None
        elif depth == 0 and kind.main == "message":
            self.reasons["a nested message"] = None

    def _type(self, known: dict[bytes, Field]) -> ContentType:
        field = known.get(b"content-type")
        if field is None:
            return _DEFAULT
        return content_type(value_of(self.raw, field)) or _DEFAULT

    def _multipart(self, kind: ContentType, block: Block, end: int, depth: int) -> None:
        if kind.sub in _CLOSED:
            self.reasons[f"multipart/{kind.sub}"] = None
            return
        if depth >= MAX_DEPTH:
            raise Malformed("multiparts nested too deeply")
        boundary = kind.parameters.get("boundary", b"").rstrip()
        if not boundary or len(boundary) > _MAX_BOUNDARY:
            raise Malformed("a multipart without a usable boundary")
        spans = self._split(boundary, block.body, end)
        if not spans:
            raise Malformed("a multipart whose boundary never comes")
        for span in spans:
            self.entity(read_block(self.raw, span.start, span.end), span, depth + 1)

    def _split(self, boundary: bytes, start: int, end: int) -> list[_Span]:
        """Return the spans of the body parts between `start` and `end` (RFC 2046 section 5.1.1)."""
        raw = self.raw
        delimiter = b"--" + boundary
        spans: list[_Span] = []
        opened = before = -1
        # The first delimiter may stand at the very start, which is behind a CRLF of its own.
        position = raw.find(delimiter, start, end)
        seen = 0
        while position >= 0:
            seen += 1
            if seen > _MAX_SEEN:
                raise Malformed("a boundary that is everywhere")
            after = position + len(delimiter)
            if position != start and raw[position - 2 : position] != b"\r\n":
                position = raw.find(delimiter, after, end)
                continue
            line_end = raw.find(b"\r\n", after, min(end, after + _MAX_LINE))
            rest = raw[after : line_end if line_end >= 0 else min(end, after + _MAX_LINE)]
            if rest.strip(b" \t") in {b"", b"--"}:
                if opened >= 0:
                    spans.append(_Span(opened, max(opened, position - 2), before, position))
                    if len(spans) > MAX_PARTS:
                        raise Malformed("more parts than any mail needs")
                if rest.startswith(b"--"):
                    return spans
                opened, before = line_end + 2 if line_end >= 0 else end, position
            position = raw.find(delimiter, after, end)
        if opened >= 0:  # never closed: the last part runs to the end, as every reader takes it
            spans.append(_Span(opened, end, before, end))
        return spans

    def _is_attached(self, known: dict[bytes, Field]) -> bool:
        field = known.get(b"content-disposition")
        return field is not None and value_of(self.raw, field)[:10].lower() == b"attachment"

    def _image(self, known: dict[bytes, Field], block: Block, span: _Span) -> None:
        field = known.get(b"content-id")
        if field is None or self._is_attached(known):
            return
        cid = value_of(self.raw, field).strip(b"<> \t").decode("latin-1")
        encoding = known.get(b"content-transfer-encoding")
        name = value_of(self.raw, encoding).decode("latin-1").lower() if encoding else ""
        if cid:
            self.images.append(ImagePart(cid, name, block.body, span.end, span.before, span.after))

    def _html(
        self,
        kind: ContentType,
        known: dict[bytes, Field],
        block: Block,
        span: tuple[int, int],
        depth: int,
    ) -> None:
        start, end = span
        disposition = known.get(b"content-disposition")
        if any(name == "name" or name.startswith("name*") for name in kind.parameters):
            self.reasons["an attached HTML file"] = None
            return
        if disposition is not None:
            value = value_of(self.raw, disposition)
            named = any(name.startswith("filename") for name in parameters(value))
            if named or value[:10].lower() == b"attachment":
                self.reasons["an attached HTML file"] = None
                return
        if self.raw.find(_PGP, block.body, end) >= 0:
            self.reasons["signed or encrypted (PGP)"] = None
            return
        field = known.get(b"content-transfer-encoding")
        encoding = value_of(self.raw, field).decode("latin-1").lower() if field else ""
        charset = kind.parameters.get("charset", b"").decode("latin-1").lower()
        fields_end = block.fields[-1].end if block.fields else start
        self.parts.append(
            HtmlPart(start, fields_end, block.body, end, charset, encoding, field, top=depth == 0)
        )


def html_parts(raw: bytes, block: Block) -> Structure:
    """Return the HTML texts of the message `raw`, whose header is `block`; lines end in CRLF.

    Raises:
        Malformed: nothing of the message should be changed.
    """
    walk = _Walk(raw)
    try:
        walk.entity(block, _Span(0, len(raw), 0, len(raw)), 0)
    except Malformed:
        raise
    except ValueError as error:
        raise Malformed(str(error)) from error
    return Structure(tuple(walk.parts), tuple(walk.reasons), tuple(walk.images), walk.has_text)
