"""Octets to text: character sets, transfer encodings, encoded words and HTML, all of them hostile.

Nothing here raises on content, and nothing takes more than time in proportion to its input. How a
mail is split into the parts whose octets these are: `mime`.
"""

import binascii
import codecs
import html
import re
from email.errors import HeaderParseError
from email.header import decode_header
from functools import lru_cache

_TAG = re.compile(r"<[^<>]{0,2000}>")
_LINE_TAG = re.compile(r"<(?:br|/p|/div|/tr|/li|/h[1-6])\b[^<>]{0,200}>", re.IGNORECASE)
_HIDDEN = re.compile(r"<(/?)(style|script|head)\b", re.IGNORECASE)

# Text encodings that a mail cannot mean and that are slow or surprising to decode.
_REFUSED_CHARSETS = frozenset(
    {
        "idna",
        "punycode",
        "unicode_escape",
        "raw_unicode_escape",
        "undefined",
        "utf-7",
        "mbcs",
        "oem",
    }
)


def decode_text(data: bytes, charset: str) -> str:
    """Decode with ``charset`` if it is a sane text encoding, else UTF-8, else Latin-1.

    Escape sequences of ISO-2022-JP mean just that where nothing else is said (RFC 1468).
    """
    name = _known_charset(charset.strip().lower()[:40])
    if name in {None, "ascii"} and b"\x1b$" in data:
        name = "iso2022_jp_ext"
    if name is not None:
        try:
            return data.decode(name, "replace")
        except (UnicodeError, ValueError, LookupError):
            pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode_words(value: str) -> str:
    """Undo RFC 2047 encoded words; the value itself where they are broken."""
    if "=?" not in value:
        return value
    try:
        chunks = decode_header(value[:2000])
    except (HeaderParseError, ValueError, LookupError):
        return value
    return "".join(
        chunk if isinstance(chunk, str) else decode_text(chunk, charset or "")
        for chunk, charset in chunks
    )


def from_base64(data: bytes) -> bytes:
    """Undo base64 as far as it goes; characters that do not belong are skipped."""
    compact = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    try:
        return binascii.a2b_base64(compact[: len(compact) // 4 * 4] + _padding(compact))
    except binascii.Error:
        return b""


def _padding(compact: bytes) -> bytes:
    tail = compact[len(compact) // 4 * 4 :]
    return tail + b"=" * (4 - len(tail)) if len(tail) > 1 else b""


@lru_cache(maxsize=256)
def _known_charset(name: str) -> str | None:
    if not name or "\x00" in name:
        return None
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError, UnicodeError):
        return None
    if not getattr(codec, "_is_text_encoding", True) or codec.name in _REFUSED_CHARSETS:
        return None
    return codec.name


def strip_html(text: str) -> str:
    """Return the readable text of an HTML page, block elements as lines."""
    text = _LINE_TAG.sub("\n", _without_hidden(text))
    return html.unescape(_TAG.sub(" ", text))


def _without_hidden(text: str) -> str:
    """Drop style sheets, scripts and the head, in one pass over the tags."""
    kept: list[str] = []
    position = 0
    hidden = ""
    for tag in _HIDDEN.finditer(text):
        closing, name = bool(tag[1]), tag[2].lower()
        if not hidden and not closing:
            kept.append(text[position : tag.start()])
            hidden = name
        elif hidden == name and closing:
            hidden = ""
            position = tag.start()
    if not hidden:
        kept.append(text[position:])
    return " ".join(kept)
