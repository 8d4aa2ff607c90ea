"""Octets to text: character sets, transfer encodings, encoded words and HTML, all of them hostile.

Nothing here raises on content, and nothing takes more than time in proportion to its input. How a
mail is split into the parts whose octets these are: `mime`.
"""

import binascii
import codecs
import html
import re
from functools import lru_cache

_TAG = re.compile(r"<[^<>]{0,2000}>")
_LINE_TAG = re.compile(r"<(?:br|/p|/div|/tr|/li|/h[1-6])\b[^<>]{0,200}>", re.IGNORECASE)
_HIDDEN = re.compile(r"<(/?)(style|script|head)\b", re.IGNORECASE)

# RFC 2047 section 2, with RFC 2231's language, and spaces where some programs leave them.
_WORD = re.compile(
    r"=\?([!-)+->@-~]{1,40})(?:\*[!->@-~]{0,40})?\?([bq])\?([^?\x00-\x1f]{0,2000}+)\?=",
    re.IGNORECASE,
)
_MAX_WORDS = 2000  # characters of a header value that are decoded
_SURROGATE = re.compile("[\ud800-\udfff]")

# What mail is written in, by the names of Python's codecs: no others are ever decoded with, as some
# of them are slow, are no charsets, or make text that nothing can encode (UTF-7).
_CHARSETS = frozenset((
    "ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be",
    "utf-32-le", "iso8859-1", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6",
    "iso8859-7", "iso8859-8", "iso8859-9", "iso8859-10", "iso8859-11", "iso8859-13", "iso8859-14",
    "iso8859-15", "iso8859-16", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255",
    "cp1256", "cp1257", "cp1258", "cp437", "cp720", "cp737", "cp775", "cp850", "cp852", "cp855",
    "cp857", "cp858", "cp860", "cp861", "cp862", "cp863", "cp864", "cp865", "cp866", "cp869",
    "cp874", "cp1125", "koi8-r", "koi8-t", "koi8-u", "kz1048", "ptcp154", "hp-roman8", "tis-620",
    "mac-roman", "mac-latin2", "mac-cyrillic", "mac-greek", "mac-turkish", "mac-iceland",
    "mac-croatian", "mac-romanian", "big5", "big5hkscs", "cp950", "gb2312", "gbk", "gb18030",
    "hz", "cp936", "shift_jis", "shift_jis_2004", "shift_jisx0213", "cp932", "euc_jp",
    "euc_jis_2004", "euc_jisx0213", "iso2022_jp", "iso2022_jp_1", "iso2022_jp_2",
    "iso2022_jp_2004", "iso2022_jp_3", "iso2022_jp_ext", "euc_kr", "cp949", "johab", "iso2022_kr",
))  # fmt: skip


def scrub(text: str) -> str:
    """Return the text with lone surrogates, which nothing can encode, replaced.

    All decoded text comes through here: it goes to the database, to JSON and to logs.
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def decode_text(data: bytes, charset: str) -> str:
    """Decode with ``charset`` if it is a sane text encoding, else UTF-8, else Latin-1.

    Escape sequences of ISO-2022-JP mean just that where nothing else is said (RFC 1468).
    """
    name = _known_charset(charset.strip().lower()[:40])
    if name in {None, "ascii"} and b"\x1b$" in data:
        name = "iso2022_jp_ext"
    if name is not None:
        try:
            return scrub(data.decode(name, "replace"))
        except (UnicodeError, ValueError, LookupError):
            pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode_words(value: str) -> str:
    """Undo RFC 2047 encoded words; what is none stays as it is."""
    if "=?" not in value:
        return scrub(value)
    found: list[str] = []
    position = 0
    charset, octets = "", b""
    for word in _WORD.finditer(value[:_MAX_WORDS]):
        between = value[position : word.start()]
        position = word.end()
        name = word[1].lower()
        if octets and (name != charset or between.strip()):
            found.append(decode_text(octets, charset))
            octets = b""
        if between.strip() or (not found and not octets):
            found.append(between)
        charset = name
        octets += _word_octets(word[2], word[3])
    if octets:
        found.append(decode_text(octets, charset))
    found.append(value[position:_MAX_WORDS])
    return scrub("".join(found))


def _word_octets(encoding: str, text: str) -> bytes:
    data = text.encode("ascii", "replace")
    if encoding in "bB":
        return from_base64(data)
    return binascii.a2b_qp(data.replace(b"_", b" "), header=True)


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
    return codec.name if codec.name in _CHARSETS else None


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
