"""Selectors read (Selectors 4): whether they are valid, their specificity, who may match them.

One invalid selector voids its whole rule (CSS 2.1, section 4.1.7), so every selector is parsed to
the end. Those that depend on a state or name a pseudo-element are valid but not inlined: they work
in the kept style element only.
"""

import re
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

_ESCAPE = r"\\(?:[0-9a-fA-F]{1,6}[ \t\n]?|[^\n0-9a-fA-F])"
_NAME_CHAR = rf"(?:[\w-]|[^\x00-\x7f]|{_ESCAPE})"
_NAME_START = rf"(?:--|-?(?:[A-Za-z_]|[^\x00-\x7f]|{_ESCAPE}))"
_NAME = rf"{_NAME_START}{_NAME_CHAR}*+"
_GAP = r"(?:[ \t\n]|/\*.*?\*/)*+"
_STRING = r""""(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+'"""
_GAPS = re.compile(r"(?:[ \t\n]|/\*.*?\*/)++", re.DOTALL)
_SPACE = re.compile(r"[ \t\n]")
_SIMPLE = re.compile(
    rf"(?P<type>(?:\*\|)?(?:{_NAME}|\*))"
    rf"|\#(?P<id>{_NAME})"
    rf"|\.(?P<class>{_NAME})"
    rf"|\[{_GAP}(?P<attribute>{_NAME}){_GAP}"
    rf"(?:[~|^$*]?={_GAP}(?:{_NAME}|{_STRING}){_GAP}(?:[iIsS]{_GAP})?)?\]"
    rf"|::(?P<element>{_NAME})(?P<part>\()?"
    rf"|:(?P<class_function>{_NAME})\("
    rf"|:(?P<pseudo>{_NAME})",
    re.DOTALL | re.ASCII,
)
_COMBINATOR = re.compile(rf"{_GAP}(?P<sign>[>+~]?){_GAP}", re.DOTALL)
_NTH = re.compile(
    rf"{_GAP}(?:even|odd|[+-]?\d*n(?:{_GAP}[+-]{_GAP}\d+)?|[+-]?\d+)(?P<of>[ \t\n]+of(?=[ \t\n]))?",
    re.IGNORECASE | re.DOTALL,
)
_LANGUAGE = rf"{_GAP}(?:\*?{_NAME}|{_STRING})"
_LANGUAGES = re.compile(rf"{_LANGUAGE}(?:{_GAP},{_LANGUAGE})*+", re.DOTALL | re.ASCII)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)  # CSS Syntax 3 4.3.2: open ends too

_STRUCTURE = frozenset(
    "root empty first-child last-child only-child first-of-type last-of-type only-of-type "  # noqa: SIM905 - a list of words
    "link any-link".split()
)
_STATES = frozenset(
    "active autofill blank buffering checked default defined disabled enabled focus "  # noqa: SIM905 - the same
    "focus-visible focus-within fullscreen future host hover in-range indeterminate invalid "
    "local-link modal muted open optional out-of-range past paused picture-in-picture "
    "placeholder-shown playing popover-open read-only read-write required scope seeking stalled "
    "target target-within user-invalid user-valid valid visited volume-locked".split()
)
_ELEMENTS = frozenset(
    "after backdrop before cue details-content file-selector-button first-letter first-line "  # noqa: SIM905 - the same
    "grammar-error marker placeholder selection spelling-error target-text".split()
)
_OLD_ELEMENTS = frozenset({"after", "before", "first-letter", "first-line"})
_ELEMENT_FUNCTIONS = frozenset({"cue", "highlight", "part", "slotted"})
_NTH_FUNCTIONS = frozenset({"nth-child", "nth-last-child", "nth-of-type", "nth-last-of-type"})
_LIST_FUNCTIONS = frozenset({"not", "is", "where", "has"})
_ALWAYS = ":not(x-x)"  # what every element is
_MAX_DEPTH = 8  # of functions within functions; nobody writes that many
_MAX_LENGTH = 1_000  # characters of a selector that is inlined: the engines recurse along it

Specificity = tuple[int, int, int]


class Selector(NamedTuple):
    """One valid selector, without comments.

    `inlined` tells whether an element matches it or not once and for all; `looks_at` are the
    attributes whose values it needs, with `:empty` for the content of elements. `stateless` matches
    whatever this one matches in any state; it is empty for pseudo-elements, and None for what the
    engines cannot tell.
    """

    text: str
    specificity: Specificity
    inlined: bool
    looks_at: frozenset[str]
    stateless: str | None = None


class _InvalidSelectorError(ValueError):
    """The selector list is not valid."""


def parse_selectors(text: str) -> tuple[Selector, ...]:
    """Return the selectors of the list `text`; none at all if one of them is invalid."""
    return _parse(text) if len(text) <= _MAX_LENGTH else _parse.__wrapped__(text)


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Selector, ...]:
    try:
        return tuple(_Reader(text).read_list(0))
    except _InvalidSelectorError:
        return ()


class _Found:
    """What is known of the selector that is being read."""

    def __init__(self) -> None:
        self.ids = self.classes = self.types = 0
        self.inlined = True
        self.is_static = True  # but for states
        self.has_element = False
        self.states: list[tuple[int, int]] = []  # from where to where they are in the text
        self.looks_at: set[str] = set()

    @property
    def specificity(self) -> Specificity:
        return self.ids, self.classes, self.types

    def add(self, inner: list[Selector]) -> None:
        """Count the most specific of the arguments of a function."""
        ids, classes, types = max(selector.specificity for selector in inner)
        self.ids += ids
        self.classes += classes
        self.types += types
        are_inlined = all(selector.inlined for selector in inner)
        self.inlined = self.inlined and are_inlined
        self.is_static = self.is_static and are_inlined
        self.looks_at.update(*(selector.looks_at for selector in inner))


def _plain(text: str) -> str:
    """Return the text of a selector without comments and line ends."""
    if "/*" in text:
        text = _COMMENT.sub("", text)
    return text.replace("\n", " ")


class _Reader:
    """Reads a selector list from the left, once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def read_list(self, depth: int, *, relative: bool = False) -> list[Selector]:
        """Read selectors up to the end, or to the parenthesis that closes the list."""
        found = [self._read_one(depth, relative=relative)]
        while self.text.startswith(",", self.at):
            self.at += 1
            found.append(self._read_one(depth, relative=relative))
        end = self.text[self.at : self.at + 1]
        if end != (")" if depth else ""):
            raise _InvalidSelectorError
        return found

    def _read_one(self, depth: int, *, relative: bool) -> Selector:
        gap = _COMBINATOR.match(self.text, self.at)
        assert gap is not None  # noqa: S101 - it matches nothing at all, too
        if gap["sign"] and not relative:
            raise _InvalidSelectorError
        start = gap.start("sign")
        self.at = gap.end()
        found = _Found()
        while True:
            is_last = self._read_compound(found, depth)
            end = self.at
            gap = _COMBINATOR.match(self.text, self.at)
            assert gap is not None  # noqa: S101 - as above
            self.at = gap.end()
            if not gap["sign"] and self.text[self.at : self.at + 1] in {"", ",", ")"}:
                break
            if is_last or not (gap["sign"] or _SPACE.search(gap[0])):
                raise _InvalidSelectorError
        text = _plain(self.text[start:end])
        looks_at = frozenset(found.looks_at)
        inlined = found.inlined and len(text) <= _MAX_LENGTH
        stateless = "" if found.has_element else None
        if found.is_static and end - start <= _MAX_LENGTH:
            edges = [start, *chain.from_iterable(found.states), end]
            parts = [self.text[at:to] for at, to in zip(edges[0::2], edges[1::2], strict=True)]
            stateless = _plain(_ALWAYS.join(parts))
        return Selector(text, found.specificity, inlined, looks_at, stateless)

    def _read_compound(self, found: _Found, depth: int) -> bool:
        """Read simple selectors in a row; True if a pseudo-element is among them."""
        start = self.at
        has_element = False
        while match := _SIMPLE.match(self.text, self.at):
            kind = match.lastgroup
            if kind == "type" and self.at != start:
                raise _InvalidSelectorError
            if has_element and kind not in {"pseudo", "class_function"}:
                raise _InvalidSelectorError
            self.at = match.end()
            if kind == "type":
                found.types += match[0].removeprefix("*|") != "*"
            elif kind == "id":
                found.ids += 1
            elif kind in {"class", "attribute"}:
                found.classes += 1
                if kind == "attribute":
                    found.looks_at.add(match["attribute"].lower())
            elif kind == "pseudo" and match["pseudo"].lower() not in _OLD_ELEMENTS:
                self._read_state(match, found)
            elif kind == "class_function":
                self._read_function(match["class_function"].lower(), found, depth)
            else:
                has_element = True
                self._read_element(match, found, depth)
            while self.text.startswith("/*", self.at):
                gap = _COMMENT.match(self.text, self.at)
                if gap is None or _SPACE.match(self.text, gap.end()):
                    break
                self.at = gap.end()
        if self.at == start:
            raise _InvalidSelectorError
        return has_element

    def _read_state(self, match: re.Match[str], found: _Found) -> None:
        name = match["pseudo"].lower()
        if name in _STRUCTURE:
            if name == "empty":
                found.looks_at.add(":empty")
        elif name in _STATES:
            found.inlined = False
            found.states.append(match.span())
        else:
            raise _InvalidSelectorError
        found.classes += 1

    def _read_element(self, match: re.Match[str], found: _Found, depth: int) -> None:
        name = (match["element"] or match["pseudo"]).lower()
        found.inlined = found.is_static = False
        found.has_element = True
        found.types += 1
        if match["part"]:
            if name not in _ELEMENT_FUNCTIONS or depth >= _MAX_DEPTH:
                raise _InvalidSelectorError
            self.read_list(depth + 1)
            self.at += 1
        elif name not in _ELEMENTS and not name.startswith("-webkit-"):
            raise _InvalidSelectorError

    def _read_function(self, name: str, found: _Found, depth: int) -> None:
        if depth >= _MAX_DEPTH:
            raise _InvalidSelectorError
        if name in _LIST_FUNCTIONS:
            inner = self.read_list(depth + 1, relative=name == "has")
            if name == "where":
                inner = [selector._replace(specificity=(0, 0, 0)) for selector in inner]
            found.add(inner)
            found.inlined = found.inlined and name == "not"
            found.is_static = found.is_static and name == "not"
        elif name in _NTH_FUNCTIONS:
            match = _NTH.match(self.text, self.at)
            if not match or (match["of"] and not name.endswith("child")):
                raise _InvalidSelectorError
            self.at = match.end()
            found.classes += 1
            if match["of"]:
                found.add(self.read_list(depth + 1))
                found.inlined = found.is_static = False
        elif name in {"lang", "dir"}:
            match = _LANGUAGES.match(self.text, self.at)
            if not match:
                raise _InvalidSelectorError
            self.at = match.end()
            found.classes += 1
            found.inlined = found.is_static = False
        else:
            raise _InvalidSelectorError
        gap = _GAPS.match(self.text, self.at)
        self.at = gap.end() if gap else self.at
        if not self.text.startswith(")", self.at):
            raise _InvalidSelectorError
        self.at += 1
