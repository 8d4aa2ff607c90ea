"""The text of a changed part in octets again, with its holes.

A part keeps its transfer encoding where that can carry the new text; otherwise, and in place of
base64, it becomes quoted-printable. Holes stay visible in the encoded octets: in quoted-printable
they have a line of their own between two soft line breaks.
"""

import binascii
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from postroad_common.tokens import LinkSigner
from postroad_transformer.reading.decoding import Undecodable
from postroad_transformer.segments import Chunk, Hole, Segment

_MAX_LINE = 998  # octets without CRLF, RFC 5322 section 2.1.1
_AS_IT_IS = frozenset({"", "7bit", "8bit", "binary"})
_NEWLINE = re.compile(rb"\r\n|\r|\n")
_HOLE_MARKS = "\x02\x03\x04\x05\x06\x07\x10\x11\x12"  # as in `html.page`: stands for a hole
_HOLE_FILLER = b"x" * LinkSigner.HEAD_LENGTH


class Encoded(NamedTuple):
    """A part's new body; `encoding` is None where the Content-Transfer-Encoding stays."""

    chunks: list[Chunk]
    encoding: str | None


def encode(segments: Sequence[Segment], codec: str, encoding: str) -> Encoded:
    """Return the octets of `segments` (strings, holes in turn) in transfer encoding `encoding`.

    Raises:
        Undecodable: the text uses every control character, so that none can stand for a hole.
    """
    texts: Any = segments[0::2]
    holes: Any = segments[1::2]
    text = "".join(texts)
    mark = next((mark for mark in _HOLE_MARKS if mark not in text), "")
    if not mark:
        raise Undecodable("full of control characters")
    whole = _with_crlf(mark.join(texts).encode(codec, "xmlcharrefreplace"))
    octets = mark.encode("ascii")
    if encoding in _AS_IT_IS and _fits(whole.replace(octets, _HOLE_FILLER)):
        return Encoded(_interleave(whole.split(octets), holes), None)
    # As an escape the mark takes three characters of its line, so there is room for a soft line
    # break in its place; the hole gets a line of its own.
    pieces = _encode_quoted_printable(whole).split(b"=%02X" % ord(mark))
    chunks = [pieces[0], *[b"=\r\n" + piece for piece in pieces[1:]]]
    chunks[:-1] = [chunk + b"=\r\n" for chunk in chunks[:-1]]
    return Encoded(
        _interleave(chunks, holes), None if encoding == "quoted-printable" else "quoted-printable"
    )


def _interleave(octets: Sequence[bytes], holes: Sequence[Hole]) -> list[Chunk]:
    chunks: list[Chunk] = [b""] * (len(octets) + len(holes))
    chunks[0::2] = octets
    chunks[1::2] = holes
    return chunks


def _with_crlf(octets: bytes) -> bytes:
    """`octets` with CRLF for every line end, as text in mail has it (RFC 2046 section 4.1.1)."""
    count = octets.count(b"\n")
    if count == octets.count(b"\r") == octets.count(b"\r\n"):
        return octets
    return _NEWLINE.sub(b"\r\n", octets)


def _fits(octets: bytes) -> bool:
    """Whether every line is short enough to travel as it is."""
    return b"\0" not in octets and max(map(len, octets.split(b"\r\n"))) <= _MAX_LINE


def _encode_quoted_printable(octets: bytes) -> bytes:
    encoded = binascii.b2a_qp(octets, istext=True)
    if b"\r" not in encoded:  # without a line end to go by it breaks lines with a bare LF
        return encoded.replace(b"\n", b"\r\n")
    return encoded
