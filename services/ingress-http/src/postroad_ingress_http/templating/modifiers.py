"""The modifiers that templates may use beside Jinja's own filters: those of the original service.

Each takes and returns what JSON has. Results are bounded where they could grow without an end.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from markupsafe import Markup, escape

MAX_LENGTH = 1 << 20  # characters that one modifier may make


class UnfitValueError(Exception):
    """Raised, with a sentence for the template's author, for a value that cannot be used."""


def _text(value: object) -> str:
    return str(value)


def _values(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, Mapping) else iter(enumerate(value))


def _replace(value: object, old: str, new: str) -> str:
    text = _text(value)
    if len(text) + text.count(str(old)) * len(str(new)) > MAX_LENGTH:
        raise OverflowError("the result of `replace` is too large")
    return text.replace(str(old), str(new))


def _truncate(value: object, length: int = 80, end: str = "...", *_: object) -> str:
    text = _text(value)
    return text if len(text) <= length else text[: max(0, int(length) - len(end))] + str(end)


def _indent(value: object, width: int = 4, filler: str = " ") -> str:
    text = _text(value)
    margin = str(filler) * min(int(width), 1000)
    if len(text) + (text.count("\n") + 1) * len(margin) > MAX_LENGTH:
        raise OverflowError("the result of `indent` is too large")
    return "\n".join(margin + line for line in text.split("\n"))


def _nl2br(value: object) -> Markup:
    return Markup("<br />\n").join(escape(line) for line in _text(value).splitlines())


def _base64_decode(value: object) -> str:
    try:
        return base64.b64decode(_text(value), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        raise UnfitValueError("this is not base64") from None


def _digest(name: str) -> Callable[[object], str]:
    def digest(value: object) -> str:
        return hashlib.new(name, _text(value).encode(), usedforsecurity=False).hexdigest()

    return digest


def _range(value: int, end: int | None = None) -> list[int]:
    start, stop = (0, int(value)) if end is None else (int(value), int(end) + 1)
    if stop - start > 10_000:
        raise OverflowError("`range` counts to 10,000 at most")
    return list(range(start, stop))


def _substr(value: object, start: int, length: int | None = None) -> str:
    text = _text(value)[int(start) :]
    return text if length is None else text[: int(length)]


def _strstr(value: object, part: str) -> str:
    _, found, rest = _text(value).partition(str(part))
    return found + rest


MODIFIERS: Mapping[str, Callable[..., Any]] = {
    "base64_decode": _base64_decode,
    "base64_encode": lambda value: base64.b64encode(_text(value).encode()).decode(),
    "cat": lambda value, more="": _text(value) + str(more),
    "count_characters": lambda value: len("".join(_text(value).split())),
    "count_paragraphs": lambda value: len([part for part in _text(value).splitlines() if part]),
    "count_words": lambda value: len(_text(value).split()),
    "empty": lambda value: not value,
    "indent": _indent,
    "md5": _digest("md5"),
    "nl2br": _nl2br,
    "pairs": _pairs,
    "range": _range,
    "replace": _replace,
    "sha1": _digest("sha1"),
    "spacify": lambda value, filler=" ": str(filler)[:10].join(_text(value)),
    "strlen": lambda value: len(_text(value)),
    "strstr": _strstr,
    "substr": _substr,
    "tolower": lambda value: _text(value).lower(),
    "toupper": lambda value: _text(value).upper(),
    "truncate": _truncate,
    "ucfirst": lambda value: _text(value)[:1].upper() + _text(value)[1:],
    "urldecode": lambda value: unquote_plus(_text(value)),
    "urlencode": lambda value: quote_plus(_text(value)),
    "values": _values,
}
