"""The text of one part: its Content-Transfer-Encoding and charset, decoded once.

A part keeps its charset: the codec that reads it also writes it back octet for octet.
"""

import binascii
import codecs
import functools
import re
from typing import NamedTuple

_AS_IT_IS = frozenset({"", "7bit", "8bit", "binary"})
# Each is linear: nothing is given back, and a run of white space is looked at from its start only.
_BASE64 = re.compile(rb"[A-Za-z0-9+/ \t\r\n]*+={0,2}+[ \t\r\n]*+")
_PADDING = re.compile(rb"(?<![ \t])[ \t]++(?=\r\n|\Z)")
_NO_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")
_SHIFTED = re.compile(rb"\x1b[$()*+./-]")
# Charsets whose octets are ASCII characters wherever they are below 128.
_SINGLE = re.compile("ascii|utf-8|iso8859-|cp125|cp437|cp85|cp86|koi8|mac|latin")
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
    "windows-949": "cp949",
    "windows-874": "cp874",
    "x-euc-jp": "euc-jp",
    "x-gbk": "gb18030",
    "x-mac-roman": "mac-roman",
    "cp50220": "iso2022_jp_ext",
    "cp50221": "iso2022_jp_ext",
    "iso-2022-jp-ms": "iso2022_jp_ext",
    "csiso2022jp": "iso-2022-jp",
    "utf8": "utf-8",
    "ascii": "us-ascii",
}


class Undecodable(ValueError):  # noqa: N818 - says what the part is
    """The part's text cannot be read, or not written back; the message says why."""


class DecodedText(NamedTuple):
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


def decode(body: bytes, encoding: str, charset: str) -> DecodedText:
    """Return the text of a part.

    A text that is not valid in a charset of single octets, or in UTF-8, is tried as UTF-8 and then
    taken octet by octet (as ISO-8859-1): there all octets below 128 are ASCII, so positions and the
    way back stay right even where the characters are not known.

    Raises:
        Undecodable: an unknown transfer encoding, broken base64, a charset unlike ASCII, a text
            that is not valid in a charset of several octets, or escape sequences of another one.
    """
    if encoding in _AS_IT_IS:
        octets = body
    elif encoding == "quoted-printable":
        octets = _decode_quoted_printable(body)
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
    is_shifted = b"\x1b" in octets and _SHIFTED.search(octets)
    if is_shifted and not (codec or "").startswith("iso2022"):
        raise Undecodable("escape sequences of another charset")
    if codec is not None and not _SINGLE.match(codec):
        return _decode_strictly(octets, codec)
    if codec == "ascii" and octets.isascii():
        return DecodedText(octets.decode("ascii"), "ascii")
    if codec is None and not octets.isascii():
        raise Undecodable("the charset is not known")
    for name in (codec or "ascii", "utf-8"):
        try:
            return DecodedText(octets.decode(name), name)
        except UnicodeError:
            continue
    return DecodedText(octets.decode("latin-1"), "latin-1")


def _decode_strictly(octets: bytes, codec: str) -> DecodedText:
    """Return the text of a charset of several octets, if it comes back octet for octet."""
    names = ("iso2022_jp", "iso2022_jp_ext") if codec.startswith("iso2022_jp") else (codec,)
    for name in names:
        try:
            text = octets.decode(name)
            if text.encode(name) == octets:
                return DecodedText(text, name)
        except UnicodeError:
            continue
    raise Undecodable("the text is not valid in its charset")


def _decode_quoted_printable(body: bytes) -> bytes:
    """Decode quoted-printable (RFC 2045 section 6.7).

    White space at the end of a line is transport padding and goes, behind `=` too; a `=` that
    begins no escape stays.
    """
    if b" \r\n" in body or b"\t\r\n" in body or body[-1:] in {b" ", b"\t"}:
        body = _PADDING.sub(b"", body)
    return binascii.a2b_qp(_NO_ESCAPE.sub(b"=3D", body))
