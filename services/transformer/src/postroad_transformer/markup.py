"""HTML as a sequence of tags with their positions: what the rewriting modules look at.

A tokenizer, not a parser: it finds where tags, comments and raw text (script, style, …) begin and
end by the rules of the HTML standard (section 13.2.5), in one pass and linear time, and leaves
every character where it is. Nothing is reported from inside comments, conditional comments of
Outlook among them, or from raw text. A tag that the document never closes ends the scan, as it
does in a browser.
"""

import re
from html import unescape
from html.entities import html5 as _ENTITIES  # noqa: N812 - a constant under a module's name
from typing import NamedTuple

_WS = r"[ \t\n\f\r]"
_ATTRIBUTES = (
    rf"(?:[ \t\n\f\r/]++|[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+(?:{_WS}*+={_WS}*+"
    r"""(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^ \t\n\f\r>"'][^ \t\n\f\r>]*+)?+)?+)*+"""
)
_RAW = "script|style|title|textarea|xmp|iframe|noembed|noframes"
_TOKEN = re.compile(
    rf"<(?:(?P<raw>(?i:{_RAW}))(?=[ \t\n\f\r/>])(?P<rawattrs>{_ATTRIBUTES})>"
    # An atomic group, not `)*+`: before Python 3.11.5 a possessive group whose last round fails in
    # a look-ahead stops at the wrong place (python/cpython#106052). It remembers each round while
    # it runs, hence the bound.
    r"(?P<content>[^<]*+(?>(?:<(?!/(?i:(?P=raw))[ \t\n\f\r/>])[^<]*+){0,100000}))"
    rf"|(?P<name>[a-zA-Z][^ \t\n\f\r/>]*+)(?P<attrs>{_ATTRIBUTES})(?P<closed>>?)"
    rf"|/(?P<end>[a-zA-Z][^ \t\n\f\r/>]*+){_ATTRIBUTES}(?P<ended>>?)"
    r"|!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|[!?/][^>]*+>?)",
    re.DOTALL,
)
_RAW_NAME, _RAWATTRS, _CONTENT, _NAME, _ATTRS, _CLOSED, _END, _ENDED = range(1, 9)  # its groups
_ATTRIBUTE = re.compile(
    rf"([^ \t\n\f\r/>][^ \t\n\f\r/>=]*+)(?:{_WS}*+={_WS}*+"
    r"""(?:"([^"]*+)"|'([^']*+)'|([^ \t\n\f\r>"'][^ \t\n\f\r>]*+))?+)?+"""
)
_REFERENCE = re.compile(r"&(?:#(?:[xX]([0-9a-fA-F]++)|([0-9]++));?|([a-zA-Z][a-zA-Z0-9]*+)(;?))")
_GAPS = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})
# Numeric references to C1 controls mean Windows-1252 (HTML standard, 13.2.5.80).
_C1 = {code: bytes((code,)).decode("cp1252") for code in range(0x80, 0xA0) if code not in _GAPS}
_MAX_CODE = 0x10FFFF
VOID = frozenset(
    "area base br col embed hr img input link meta source track wbr".split()  # noqa: SIM905 - a list of words
)
_BREAKING = frozenset(
    "br div p td th tr table li ul ol h1 h2 h3 h4 h5 h6 hr".split()  # noqa: SIM905 - the same
)
_QUOTES = (None, None, '"', "'", "")  # by group of _ATTRIBUTE


OPENS, CLOSES = True, False


class Tag(NamedTuple):
    """One tag. `attributes` and `end` are offsets: of the text behind the name, and behind `>`.

    `opens` is False for an end tag. For an element of raw text `end` lies behind its content,
    just before its end tag, and `content` where that content starts; elsewhere `content` is -1.
    """

    name: str
    opens: bool
    start: int
    attributes: int
    attributes_end: int
    end: int
    content: int = -1


class Value(NamedTuple):
    """Where an attribute's value stands; `quote` is empty for an unquoted one.

    `start` and `end` enclose the text between the quotes; `outer` is where the attribute starts.
    """

    start: int
    end: int
    quote: str
    outer: int
    outer_end: int


def scan(text: str) -> list[Tag]:
    """The tags of `text` in order."""
    tags: list[Tag] = []
    append, make = tags.append, tuple.__new__  # this loop costs a third of a rewriting
    for match in _TOKEN.finditer(text):
        group = match.lastindex
        if group == _CLOSED:
            start, end = match.span()
            attributes_start, attributes_end = match.span(_ATTRS)
            if attributes_end == end:  # never closed
                break
            name = match[_NAME].lower()
            append(make(Tag, (name, OPENS, start, attributes_start, attributes_end, end, -1)))
        elif group == _ENDED:
            start, end = match.span()
            if not match[_ENDED]:
                break
            append(make(Tag, (match[_END].lower(), CLOSES, start, end, end, end, -1)))
        elif group == _CONTENT:
            start, end = match.span(_RAWATTRS)
            content, stop = match.span(_CONTENT)
            name = match[_RAW_NAME].lower()
            append(make(Tag, (name, OPENS, match.start(), start, end, stop, content)))
    return tags


def attributes(text: str, tag: Tag) -> dict[str, Value]:
    """The attributes of `tag` by lower-case name; of two with one name the first counts."""
    found: dict[str, Value] = {}
    make = tuple.__new__
    for match in _ATTRIBUTE.finditer(text, tag.attributes, tag.attributes_end):
        name = match[1].lower()
        if name in found:
            continue
        outer, outer_end = match.span()
        group = match.lastindex
        if group == 1 or group is None:
            found[name] = Value(outer_end, outer_end, "", outer, outer_end)
        else:
            start, end = match.span(group)
            found[name] = make(Value, (start, end, _QUOTES[group], outer, outer_end))
    return found


class Page:
    """An HTML text with its tags; the attributes of a tag are read once, when first asked for."""

    __slots__ = ("_found", "tags", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.tags = scan(text)
        self._found: dict[int, dict[str, Value]] = {}

    def attributes(self, index: int) -> dict[str, Value]:
        """The attributes of the tag with that index."""
        found = self._found.get(index)
        if found is None:
            found = self._found[index] = attributes(self.text, self.tags[index])
        return found

    def value(self, value: Value) -> str:
        """The text of an attribute, its references resolved."""
        return attribute_text(self.text[value.start : value.end])


def _numeric(code: int) -> str:
    if code in _C1:
        return _C1[code]
    if code == 0 or code > _MAX_CODE or 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return chr(code)


def attribute_text(raw: str) -> str:
    """What the attribute value `raw` stands for: its character references resolved.

    Unlike `html.unescape` it follows the rule for attributes (13.2.5.73): `&copy=1` is no
    copyright sign, or half of all query strings would break.
    """
    if "&" not in raw:
        return raw

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


def visible_text(fragment: str) -> str:
    """What a reader sees of the HTML `fragment`: no tags or comments, references resolved."""
    if "<" in fragment:
        fragment = _TOKEN.sub(_gap, fragment)
    return unescape(fragment) if "&" in fragment else fragment


def _gap(match: re.Match[str]) -> str:
    """What a tag leaves in the visible text: a space where it breaks the line."""
    name = (match["name"] or match["end"] or "").lower()
    return " " if name in _BREAKING else ""
