"""The attributes of one tag, and what their values stand for."""

import re
from collections.abc import Set as AbstractSet
from functools import lru_cache
from html.entities import html5 as _ENTITIES  # noqa: N812 - a constant under a module's name

_WS = r"[ \t\n\f\r]"
# Group 1 is the name, 2 the equals sign with its white space, 3 the value with its quotes.
_ATTRIBUTE = re.compile(
    rf"([^ \t\n\f\r/>][^ \t\n\f\r/>=]*+)(?:({_WS}*+={_WS}*+)"
    r"""("[^"]*+"|'[^']*+'|[^ \t\n\f\r>"'][^ \t\n\f\r>]*+)?+)?+"""
)
_REFERENCE = re.compile(r"&(?:#(?:[xX]([0-9a-fA-F]++)|([0-9]++));?|([a-zA-Z][a-zA-Z0-9]*+)(;?))")
_GAPS = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})
# Numeric references to C1 controls mean Windows-1252 (HTML standard, 13.2.5.80).
_C1 = {code: bytes((code,)).decode("cp1252") for code in range(0x80, 0xA0) if code not in _GAPS}
_MAX_CODE = 0x10FFFF
_MAX_REMEMBERED = 300  # characters of a tag
_QUOTES = frozenset({'"', "'"})


class Attributes:
    """The attributes of one tag, whose text they are taken apart from and put together to.

    `names` are in lower case, in order; of two with one name the first counts.
    """

    __slots__ = ("_pieces", "names")

    def __init__(self, inside: str) -> None:
        apart = _take_apart if len(inside) <= _MAX_REMEMBERED else _take_apart.__wrapped__
        pieces, self.names = apart(inside)
        self._pieces = list(pieces)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def raw(self, name: str) -> str | None:
        """Return the attribute's value as written, without quotes; None if there is none."""
        if name not in self.names:
            return None
        value = self._pieces[self.names.index(name) * 4 + 3] or ""
        return value[1:-1] if value[:1] in _QUOTES else value

    def text(self, name: str) -> str | None:
        """Return the value with its references resolved; None if there is no such attribute."""
        raw = self.raw(name)
        return None if raw is None else attribute_text(raw)

    def quote(self, name: str) -> str:
        """Return the quote around the value of an attribute that is there; empty without one."""
        value = self._pieces[self.names.index(name) * 4 + 3] or ""
        return value[:1] if value[:1] in _QUOTES else ""

    def put(self, name: str, value: str) -> int:
        """Put `value` in place of what the attribute, which is there, has between its quotes.

        Returns the place of the attribute among the others.
        """
        index = self.names.index(name)
        pieces, at = self._pieces, index * 4 + 3
        old = pieces[at] or ""
        quote = old[:1] if old[:1] in _QUOTES else ""
        pieces[at - 1] = pieces[at - 1] or "="
        pieces[at] = quote + value + quote
        return index

    def __str__(self) -> str:
        return "".join(filter(None, self._pieces))


@lru_cache(2048)
def _take_apart(inside: str) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """Return the pieces and the names of the attributes of one tag.

    Per attribute there are four pieces: what stands before it, name, equals sign, value; at the end
    what stands behind the last. Remembered, because tags repeat, within a mail and between mails.
    """
    pieces = _ATTRIBUTE.split(inside)
    return tuple(pieces), tuple(map(str.lower, pieces[1::4]))


def quoted_places(inside: str) -> dict[str, int] | None:
    """Return which part of `inside`, cut at its quotes, the value of each attribute is.

    Values without quotes are left out. None if a name comes twice, or a quote is anywhere else than
    around a value.
    """
    pieces, names = _take_apart.__wrapped__(inside)
    if len(set(names)) != len(names):
        return None
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        if (pieces[index * 4 + 3] or "").startswith('"'):
            places[name] = 2 * len(places) + 1
    return places if inside.count('"') == 2 * len(places) else None


def without(inside: str, values: AbstractSet[str], names: AbstractSet[str]) -> str:
    """Return the attributes `inside` without the values of some, and without others altogether."""
    take_away = _without if len(inside) <= _MAX_REMEMBERED else _without.__wrapped__
    return take_away(inside, frozenset(values), frozenset(names))


@lru_cache(2048)
def _without(inside: str, values: frozenset[str], names: frozenset[str]) -> str:
    found, present = _take_apart.__wrapped__(inside)
    pieces = list(found)
    for index, name in enumerate(present):
        if name in values or name in names:
            pieces[index * 4 + 2 : index * 4 + 4] = None, " "
            if name in names:
                pieces[index * 4 + 1] = None
    return "".join(filter(None, pieces))


def _numeric(code: int) -> str:
    if code in _C1:
        return _C1[code]
    if code == 0 or code > _MAX_CODE or 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return chr(code)


def attribute_text(raw: str) -> str:
    """Return what the attribute value `raw` stands for: its character references resolved.

    Unlike `html.unescape` it follows the rule for attributes (13.2.5.73): `&copy=1` is no
    copyright sign, or half of all query strings would break.
    """
    ampersands = raw.count("&")
    if not ampersands:
        return raw
    if ampersands == raw.count("&amp;"):
        return raw.replace("&amp;", "&")

    def resolve(match: re.Match[str]) -> str:
        if match[1]:
            return _numeric(int(match[1], 16) if len(match[1]) < 9 else _MAX_CODE + 1)
        if match[2]:
            return _numeric(int(match[2]) if len(match[2]) < 9 else _MAX_CODE + 1)
        name = match[3]
        if match[4]:
            return _ENTITIES.get(name + ";", match[0])
        if raw[match.end() : match.end() + 1] == "=":
            return match[0]
        return _ENTITIES.get(name, match[0])

    return _REFERENCE.sub(resolve, raw)
