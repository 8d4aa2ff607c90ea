"""Content-Transfer-Encoding and charset of one text part: decoded once, encoded once.

A part keeps its charset, and its transfer encoding where that can carry the new text; otherwise,
and in place of base64, it becomes quoted-printable. Holes stay visible in the encoded octets: in
quoted-printable they have a line of their own between two soft line breaks.
"""

import binascii
import codecs
import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from postroad_common.tokens import LinkSigner
from postroad_transformer.segments import Hole, Segment

Chunk: TypeAlias = bytes | Hole

_MAX_LINE = 998  # octets without CRLF, RFC 5322 section 2.1.1
_AS_IT_IS = frozenset({"", "7bit", "8bit", "binary"})
_BASE64 = re.compile(rb"[A-Za-z0-9+/ \t\r\n]*={0,2}[ \t\r\n]*")
# Each is linear: a run of white space is looked at from its start only.
_PADDING = re.compile(rb"(?<![ \t])[ \t]++(?=\r\n|\Z)")
_NO_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")
_SHIFTED = re.compile(rb"\x1b[$()*+./-]")
# Charsets whose octets are ASCII characters wherever they are below 128.
_SINGLE = re.compile("ascii|utf-8|iso8859-|cp125|cp437|cp85|cp86|koi8|mac|latin")
_NEWLINE = re.compile(rb"\r\n|\r|\n")
_NAME = re.compile(r"[a-z0-9][a-z0-9._:-]{0,39}")
_ASCII = bytes((9, 10, 13, *range(32, 127)))
# Names for which the larger set is what senders mean (WHATWG Encoding, section 4.2).
_LARGER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "iso-8859-8-i": "iso-8859-8",
    "cp50220": "iso2022_jp_ext",
    "cp50221": "iso2022_jp_ext",
    "iso-2022-jp-ms": "iso2022_jp_ext",
    "csiso2022jp": "iso-2022-jp",
    "utf8": "utf-8",
    "ascii": "us-ascii",
}
_HOLE_MARKS = "\x02\x03\x04\x05\x06\x07\x10\x11\x12"  # as in `markup`: stands for a hole
_HOLE_FILLER = b"x" * LinkSigner.HEAD_LENGTH


class Undecodable(ValueError):  # noqa: N818 - says what the part is
    """The part's text cannot be read, or not written back; the message says why."""


class Text(NamedTuple):
    """A decoded text and the codec that writes it back octet for octet."""

    text: str
    codec: str


@functools.lru_cache(maxsize=256)
def _codec(charset: str) -> str | None:
    """Return the name of Python's codec for `charset`, None if unknown or no superset of ASCII."""
    charset = _LARGER.get(charset, charset)
    if not _NAME.fullmatch(charset):
        return None
    try:
        name = codecs.lookup(charset).name
        probe = _ASCII.decode(charset)
        same = probe.encode(charset) == _ASCII and probe == _ASCII.decode("ascii")
    except (LookupError, ValueError) as error:
        if not isinstance(error, UnicodeError):
            return None
        same = False
    if not same:
        raise Undecodable(f"the charset {charset} does not contain ASCII")
    return name


def decode(body: bytes, encoding: str, charset: str) -> Text:
    """Return the text of a part.

    A text that is not valid in a charset of single octets, or in UTF-8, is tried as UTF-8 and then
    taken octet by octet (as ISO-8859-1): there all octets below 128 are ASCII, so positions and the
    way back stay right even where the characters are not known.

    Raises:
        Undecodable: an unknown transfer encoding, broken base64, a charset unlike ASCII, a text
            that is not valid in a charset of several octets, or escape sequences of one unknown.
    """
    if encoding in _AS_IT_IS:
        octets = body
    elif encoding == "quoted-printable":
        octets = _unquoted(body)
    elif encoding == "base64":
        if not _BASE64.fullmatch(body):
            raise Undecodable("the base64 is broken")
        try:
            octets = binascii.a2b_base64(body)
        except binascii.Error as error:
            raise Undecodable("the base64 is broken") from error
    else:
        raise Undecodable("the transfer encoding is not known")
    codec = _codec(charset or "us-ascii")
    if codec in {None, "ascii"} and _SHIFTED.search(octets):
        raise Undecodable("escape sequences of another charset")
    if codec is not None and not _SINGLE.match(codec):
        return _strictly(octets, codec)
    if codec == "ascii" and octets.isascii():
        return Text(octets.decode("ascii"), "ascii")
    if codec is None and not octets.isascii():
        raise Undecodable("the charset is not known")
    for name in (codec or "ascii", "utf-8"):
        try:
            return Text(octets.decode(name), name)
        except UnicodeError:
            continue
    return Text(octets.decode("latin-1"), "latin-1")


def _strictly(octets: bytes, codec: str) -> Text:
    """Return the text of a charset of several octets, if it comes back octet for octet."""
    names = ("iso2022_jp", "iso2022_jp_ext") if codec.startswith("iso2022_jp") else (codec,)
    for name in names:
        try:
            text = octets.decode(name)
            if text.encode(name) == octets:
                return Text(text, name)
        except UnicodeError:
            continue
    raise Undecodable("the text is not valid in its charset")


def _unquoted(body: bytes) -> bytes:
    """Decode quoted-printable (RFC 2045 section 6.7).

    White space at the end of a line is transport padding and goes, behind `=` too; a `=` that
    begins no escape stays.
    """
    if b" \r\n" in body or b"\t\r\n" in body or body[-1:] in {b" ", b"\t"}:
        body = _PADDING.sub(b"", body)
    return binascii.a2b_qp(_NO_ESCAPE.sub(b"=3D", body))


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
    whole = _canonical(mark.join(texts).encode(codec, "xmlcharrefreplace"))
    octets = mark.encode("ascii")
    if encoding in _AS_IT_IS and _fits(whole.replace(octets, _HOLE_FILLER)):
        return Encoded(_in_turn(whole.split(octets), holes), None)
    # As an escape the mark takes three characters of its line, so there is room for a soft line
    # break in its place; the hole gets a line of its own.
    pieces = _quoted_printable(whole).split(b"=%02X" % ord(mark))
    chunks = [pieces[0], *[b"=\r\n" + piece for piece in pieces[1:]]]
    chunks[:-1] = [chunk + b"=\r\n" for chunk in chunks[:-1]]
    return Encoded(
        _in_turn(chunks, holes), None if encoding == "quoted-printable" else "quoted-printable"
    )


def _in_turn(octets: Sequence[bytes], holes: Sequence[Hole]) -> list[Chunk]:
    chunks: list[Chunk] = [b""] * (len(octets) + len(holes))
    chunks[0::2] = octets
    chunks[1::2] = holes
    return chunks


def _canonical(octets: bytes) -> bytes:
    """`octets` with CRLF for every line end, as text in mail has it (RFC 2046 section 4.1.1)."""
    count = octets.count(b"\n")
    if count == octets.count(b"\r") == octets.count(b"\r\n"):
        return octets
    return _NEWLINE.sub(b"\r\n", octets)


def _fits(octets: bytes) -> bool:
    """Whether every line is short enough to travel as it is."""
    return b"\0" not in octets and max(map(len, octets.split(b"\r\n"))) <= _MAX_LINE


def _quoted_printable(octets: bytes) -> bytes:
    encoded = binascii.b2a_qp(octets, istext=True)
    if b"\r" not in encoded:  # without a line end to go by it breaks lines with a bare LF
        return encoded.replace(b"\n", b"\r\n")
    return encoded
