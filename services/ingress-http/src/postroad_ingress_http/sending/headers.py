"""Header fields written as octets.

Folding (RFC 5322), encoded words (RFC 2047) and parameters (RFC 2231); what goes into a message
is decided in `mimebuild`.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from postroad_ingress_http.sending.mailboxes import NamedMailbox

LINE = 76  # characters at which lines are folded
_WORD_OCTETS = 36  # octets of text in one encoded word, so that it fits beside the field name
_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_PRINTABLE = re.compile(r"[ -~]*")
_HARD_LIMIT = 900  # longer ASCII text might hold a word that fits no line (998 octets)


def text_header(name: str, text: str) -> bytes:
    """Return the field `name` with unstructured `text`, folded, with its CRLF."""
    if _PRINTABLE.fullmatch(text) and "=?" not in text and len(text) <= _HARD_LIMIT:
        return _fold(name, text.split(" "))
    return _fold(name, _encoded_words(text))


def raw_header(name: str, words: Iterable[str]) -> bytes:
    """Write the field `name` with `words` that are safe as they are, folded between them."""
    return _fold(name, list(words))


def address_header(name: str, mailboxes: Iterable[NamedMailbox]) -> bytes:
    """Return the field `name` with a list of mailboxes."""
    words: list[str] = []
    for entry in mailboxes:
        if words:
            words[-1] += ","
        words.extend(_mailbox_words(entry))
    return _fold(name, words)


def parameter(name: str, value: str) -> str:
    """`; name="value"`, in the extended form of RFC 2231 when ASCII cannot say it."""
    if _PRINTABLE.fullmatch(value):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'; {name}="{escaped}"'
    return f"; {name}*=UTF-8''{quote(value, safe='')}"


def _mailbox_words(entry: NamedMailbox) -> list[str]:
    if not entry.name:
        return [entry.mailbox.text]
    angle = f"<{entry.mailbox.text}>"
    if _PHRASE.fullmatch(entry.name) and "=?" not in entry.name:
        return [*entry.name.split(), angle]
    if _PRINTABLE.fullmatch(entry.name) and "=?" not in entry.name:
        escaped = entry.name.replace("\\", "\\\\").replace('"', '\\"')
        return [f'"{escaped}"', angle]
    return [*_encoded_words(entry.name), angle]


def _encoded_words(text: str) -> list[str]:
    words = []
    for piece in _pieces(text):
        encoded = base64.b64encode(piece).decode("ascii")
        words.append(f"=?utf-8?b?{encoded}?=")
    return words


def _pieces(text: str) -> Iterator[bytes]:
    """`text` in UTF-8, cut between characters."""
    piece = bytearray()
    for char in text:
        octets = char.encode()
        if len(piece) + len(octets) > _WORD_OCTETS:
            yield bytes(piece)
            piece.clear()
        piece += octets
    if piece:
        yield bytes(piece)


def _fold(name: str, words: list[str]) -> bytes:
    lines = [f"{name}:"]
    for word in words:
        if word and len(lines[-1]) + 1 + len(word) > LINE and not lines[-1].endswith(":"):
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines).encode() + b"\r\n"
