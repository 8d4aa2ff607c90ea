"""Which tags of an HTML text a reader meets: those outside elements that their own style hides.

A simplified construction of the tree of elements (HTML standard, 13.2.6): end tags that authors
leave out are taken as said, so that a hidden paragraph does not hide the rest of the page.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from postroad_transformer.html.page import NO_ELEMENT, VOID, HtmlPage

_ROWS = frozenset({"tr", "tbody", "thead", "tfoot"})
_BLOCKS = frozenset(
    "address article aside blockquote center dl fieldset footer form h1 h2 h3 h4 h5 h6 header hr "  # noqa: SIM905 - a list of words
    "main nav ol p pre section table ul div".split()
)
_ENDED_BY = {
    "p": _BLOCKS,
    "li": frozenset({"li"}),
    "dt": frozenset({"dt", "dd"}),
    "dd": frozenset({"dt", "dd"}),
    "td": _ROWS | {"td", "th"},
    "th": _ROWS | {"td", "th"},
    "tr": _ROWS,
    "option": frozenset({"option", "optgroup"}),
}
"""The start tags before which the end tag of an element may be left out."""
_STARTERS = frozenset().union(*_ENDED_BY.values())
_OF_TABLES = _ROWS | {"td", "th", "table", "caption"}
_SHIELDS = frozenset({"table", "td", "th", "ul", "ol", "dl", "button", "object"})
_SPECIAL = _BLOCKS | _OF_TABLES | {"li", "dt", "dd", "body", "html", "button"}
_REACH = 64  # elements that are looked through for the one that a tag ends

_ZERO = re.compile(r"[+-]?0*\.?0*(?:[a-z]{2,4}|%)?(?:/.*)?")
_ABSOLUTE = re.compile(
    r"[\d.]+(?:px|pt|pc|in|cm|mm|rem|vw|vh)|(?:xx?-)?(?:small|large)|medium|calc\(.*|min\(.*|max\(.*"
    r"|clamp\(.*"
)


class SeenTag(NamedTuple):
    """A tag, by number. `shown`: the tag itself counts; `speaks`: so does the text behind it."""

    number: int
    shown: bool
    speaks: bool


class _Element(NamedTuple):
    name: str
    hidden: bool
    tiny: bool  # its text has no size; that of an element in it may have one


class _Tree:
    """The elements that are open."""

    def __init__(self) -> None:
        self._open = [_Element("", hidden=False, tiny=False)]

    @property
    def top(self) -> _Element:
        return self._open[-1]

    def start(self, element: _Element) -> None:
        self._open.append(element)

    def end_before(self, name: str) -> None:
        """End what may go without an end tag before a start tag of this name."""
        if name not in _STARTERS:
            return
        ended = 0
        for depth, element in enumerate(reversed(self._open[-_REACH:]), 1):
            if name in _ENDED_BY.get(element.name, ()):
                ended = depth
                if element.name not in {"td", "th"}:
                    break
            elif element.name in _SHIELDS:
                break
        if ended:
            del self._open[-ended:]

    def end(self, name: str) -> None:
        """End the innermost element of this name, if an end tag here reaches it."""
        for depth, element in enumerate(reversed(self._open[-_REACH:]), 1):
            if element.name == name:
                del self._open[-depth:]
                return
            if element.name in _OF_TABLES and name not in _OF_TABLES:
                return
            if element.name in _SPECIAL and name not in _SPECIAL:
                return


def seen_tags(page: HtmlPage) -> Iterator[SeenTag]:
    """Yield the tags and comments of `page` outside hidden elements, in order."""
    tree = _Tree()
    for number, opening in enumerate(page.names):
        name = opening.lstrip("</")
        shown = True
        if opening not in NO_ELEMENT and opening[1] == "/":
            tree.end(name)
        elif opening not in NO_ELEMENT:
            tree.end_before(name)
            element = _read(page, number, name, tree.top)
            if name not in VOID:
                tree.start(element)
            shown = not element.hidden
        if not tree.top.hidden:
            yield SeenTag(number, shown, not tree.top.tiny)


def _read(page: HtmlPage, number: int, name: str, parent: _Element) -> _Element:
    if parent.hidden or name == "template":
        return _Element(name, hidden=True, tiny=parent.tiny)
    inside = page.pieces[3 * number + 2].lower()
    if "style" not in inside and "hidden" not in inside and name != "font":
        return _Element(name, hidden=False, tiny=parent.tiny)
    found = page.attributes(number)
    style = found.text("style") or ""
    read = _read_style if len(style) < 500 else _read_style.__wrapped__
    hidden, tiny = read(style)
    if tiny is None:
        tiny = parent.tiny and not (name == "font" and "size" in found)
    return _Element(name, hidden or "hidden" in found, tiny)


@lru_cache(2048)
def _read_style(style: str) -> tuple[bool, bool | None]:
    """Return whether the style hides its element, and whether text in it has no size (or None)."""
    declared: dict[str, str] = {}
    for declaration in style.lower().split(";"):
        name, _, value = declaration.partition(":")
        declared[name.strip()] = value.partition("!")[0].strip()
    value_of = declared.get
    hidden = (
        value_of("display") == "none"
        or value_of("visibility") == "hidden"
        or value_of("mso-hide") == "all"
        or _is_zero(value_of("opacity"))
        or (
            value_of("overflow") == "hidden"
            and any(map(_is_zero, map(value_of, ("max-height", "height", "max-width", "width"))))
        )
    )
    size = value_of("font-size") or value_of("font")
    if _is_zero(size):
        return hidden, True
    return hidden, False if size and _ABSOLUTE.search(size) else None


def _is_zero(value: str | None) -> bool:
    return value is not None and "0" in value and _ZERO.fullmatch(value) is not None
