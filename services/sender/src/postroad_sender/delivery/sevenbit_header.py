"""Header fields in 7 bits: encoded words (RFC 2047) and extended parameters (RFC 2231).

An address that is not ASCII cannot be written so; its field becomes `Downgraded-…` (RFC 6857).
"""

import binascii
import re
from urllib.parse import quote

MOST_WORD = 45  # octets of text in one encoded word
MOST_FIELD = 16_384  # octets of a field that is looked at closely

_FIELD = re.compile(rb"\r\n(?![ \t])")
_ADDRESSES = frozenset(
    b"from to cc bcc sender reply-to return-path delivered-to disposition-notification-to".split()
)
_PARAMETER = re.compile(
    rb';[ \t\r\n]*([!#-\'*+.0-9A-Z^-~-]+)=("(?:[^"\\]|\\.)*"|[^;"]*)', re.DOTALL
)
_SPACE = re.compile(r"(\s+)")
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.){0,998}"|<[^<>]*>|\((?:[^()\\]|\\.)*\)|[,;:]|[^"<(,;:]+|.', re.DOTALL
)


class Fields:
    """The header of an entity: its fields in order, each a name and all that comes after it."""

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self._fields = fields

    @classmethod
    def parse(cls, head: bytes) -> "Fields":
        """Return the fields of a header block without its blank line."""
        fields = []
        for field in _FIELD.split(head) if head else []:
            name, colon, rest = field.partition(b":")
            fields.append((name, colon + rest))
        return cls(fields)

    def __contains__(self, name: bytes) -> bool:
        return any(known.strip().lower() == name for known, _ in self._fields)

    def set(self, name: bytes, value: bytes) -> None:
        """Put a field in, in the place of the first of that name."""
        wanted = name.lower()
        field = (name, b": " + value)
        for number, (known, _) in enumerate(self._fields):
            if known.strip().lower() == wanted:
                self._fields[number] = field
                return
        self._fields.append(field)

    def content_type(self) -> tuple[bytes, dict[bytes, bytes]]:
        """Return the type in lower case, and its parameters; `text/plain` without any."""
        value = self._value(b"content-type")
        kind = value.partition(b";")[0].strip().lower() or b"text/plain"
        parameters: dict[bytes, bytes] = {}
        for found in _PARAMETER.finditer(value):
            parameters.setdefault(found[1].lower(), _unquoted(found[2]))
        return kind, parameters

    def encoding(self) -> bytes:
        """Return the Content-Transfer-Encoding in lower case."""
        return self._value(b"content-transfer-encoding").strip().lower()

    def set_encoding(self, encoding: bytes) -> None:
        """Set the Content-Transfer-Encoding; 7bit is said only where another was."""
        if encoding != b"7bit" or b"content-transfer-encoding" in self:
            self.set(b"Content-Transfer-Encoding", encoding)

    def rename_type(self, old: bytes, new: bytes) -> None:
        """Change the type from `old` to `new`, if it is `old`."""
        kind, _, rest = self._value(b"content-type").partition(b";")
        if kind.strip().lower() == old:
            self.set(b"Content-Type", new + (b";" + rest if rest else b""))

    def name_charset(self, text: bytes) -> None:
        """Say which charset `text` has, if that is not said."""
        _, parameters = self.content_type()
        if b"charset" in parameters:
            return
        value = self._value(b"content-type").strip() or b"text/plain"
        self.set(b"Content-Type", value + b"; charset=" + _charset_of(text))

    def to_ascii(self) -> bytes:
        """Return the header block in ASCII, without its blank line."""
        return b"\r\n".join(ascii_field(name, rest) for name, rest in self._fields)

    def _value(self, name: bytes) -> bytes:
        for known, rest in self._fields:
            if known.strip().lower() == name:
                return rest[1:]
        return b""


def ascii_field(name: bytes, rest: bytes) -> bytes:
    """Return the field in ASCII; `rest` is what comes after its name, with the colon."""
    if rest.isascii() and name.isascii():
        return name + rest
    if not name.isascii() or not rest.startswith(b":") or len(rest) > MOST_FIELD:
        return _text(name + rest).encode("ascii", "replace")
    kind, text = name.strip().lower(), _text(rest[1:])
    if kind.startswith(b"content-"):
        return name + b":" + _parameters(rest[1:])
    if kind in _ADDRESSES or kind.startswith(b"resent-"):
        made = _addresses(text)
        if made is None:
            return b"Downgraded-" + name.strip() + b": " + _encoded(" ".join(text.split()))
        return name + b":" + made
    return name + b":" + _encoded_words(rest[1:])


def _parameters(value: bytes) -> bytes:
    """Return the value of a Content- field with its parameters extended (RFC 2231)."""

    def extended(found: re.Match[bytes]) -> bytes:
        if found[0].isascii():
            return found[0]
        text = quote(_text(_unquoted(found[2])).strip(), safe="")
        return b"; " + found[1].rstrip(b"*") + b"*=utf-8''" + text.encode()

    made = _PARAMETER.sub(extended, value)
    return made if made.isascii() else _encoded_words(made)


def _encoded_words(value: bytes) -> bytes:
    """Return free text in which words that are not ASCII, and follow each other, are encoded."""
    made: list[str] = []
    run: list[str] = []  # words to encode, and the space between them
    space = ""
    for part in _SPACE.split(_text(value)):
        if not part or part.isspace():
            space += part
        elif part.isascii():
            made += [_encoded_text("".join(run)) if run else "", space, part]
            run, space = [], ""
        else:
            made.append("" if run else space)
            run += [space, part] if run else [part]
            space = ""
    return "".join([*made, _encoded_text("".join(run)) if run else "", space]).encode()


def _addresses(text: str) -> bytes | None:
    """Return a list of addresses with their names encoded; None if an address is not ASCII."""
    made: list[str] = []
    for token in _TOKEN.findall(text):
        if token.isascii():
            made.append(token)
        elif token.startswith("<") or (token[0] not in '"(' and "@" in token):
            return None
        elif token.startswith('"'):
            made.append(_encoded_text(re.sub(r"\\(.)", r"\1", token[1:-1])))
        elif token.startswith("("):
            made.append(f"({_encoded_text(token[1:-1])})")
        else:
            words = token.strip()
            made.append(token.replace(words, _encoded_text(words), 1))
    return "".join(made).encode("ascii", "replace")


def _encoded_text(text: str) -> str:
    return _encoded(" ".join(text.split())).decode()


def _encoded(text: str) -> bytes:
    """Return `text` as encoded words, folded."""
    words: list[bytes] = []
    chunk = b""
    for character in text:
        octets = character.encode()
        if len(chunk) + len(octets) > MOST_WORD:
            words.append(chunk)
            chunk = b""
        chunk += octets
    words.append(chunk)
    return b"\r\n ".join(b"=?utf-8?b?" + binascii.b2a_base64(one)[:-1] + b"?=" for one in words)


def _unquoted(value: bytes) -> bytes:
    value = value.strip()
    if value.startswith(b'"') and value.endswith(b'"') and len(value) > 1:
        return re.sub(rb"\\(.)", rb"\1", value[1:-1])
    return value


def _text(octets: bytes) -> str:
    """Decode what is most likely UTF-8, or else what most would take it for."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _charset_of(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"  # RFC 1428
    return b"utf-8"
