"""What a look at the HTML of a mail finds: links, images, words, and where it is broken.

A tokenizer in linear time, whatever the text is: as far as mail needs it, not a browser's parser.
Each match takes what it can and never gives it back, and what cannot go on ends there.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape

_TOKEN = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(/?)([a-zA-Z][a-zA-Z0-9:-]*+)"
    r"""((?>[^<>"']++|"[^"]*+"|'[^']*+')*+)(>?)""",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""([^\s=/"'>]++)\s*+(?:=\s*+("[^"]*+"|'[^']*+'|[^\s"'>]++))?+""")
_RAW = frozenset({"script", "style", "title", "textarea", "xmp", "iframe"})
_CLOSED = frozenset(
    "a abbr b big blockquote center code div em font h1 h2 h3 h4 h5 h6 i ol pre s small span "  # noqa: SIM905 - a list of words
    "strong style sub sup table title u ul".split()
)
"""Elements whose end tag nobody may leave away."""
_HIDDEN = frozenset({"head", "style", "script", "title"})
_WORD = re.compile(r"\w+")
_MAX_STACK = 1_000


@dataclass(frozen=True, slots=True)
class Link:
    """A link: where it leads, and the text that is read."""

    target: str
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """An image; `alt` is None where it has none."""

    source: str
    alt: str | None
    tiny: bool


@dataclass(slots=True)
class Markup:
    """What was found. `problems` are sentences with lines, `elements` counts start tags by name."""

    links: list[Link] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    elements: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    words: int = 0


def look(html: str) -> Markup:
    """Return what is in `html`."""
    reader = _Reader(html)
    reader.read()
    return reader.found


class _Reader:
    def __init__(self, html: str) -> None:
        self.found = Markup()
        self._html = html
        self._line = 1
        self._counted_to = 0
        self._open: list[tuple[str, int]] = []
        self._link: tuple[str, int, list[str]] | None = None
        self._hidden = 0

    def read(self) -> None:
        at = 0
        for match, text in self._tokens():
            self._text(text)
            if match[2] is None:
                continue
            at = self._line_of(match.start())
            if not match[4]:
                self._problem(f"line {at}: the tag <{match[1]}{match[2]} is never closed")
            name = match[2].lower()
            if match[1]:
                self._end(name, at)
            else:
                self._start(name, match[3], at)
        self._end_link()
        for name, line in self._open[:3]:
            self._problem(f"line {line}: <{name}> has no end tag")

    def _tokens(self) -> Iterator[tuple[re.Match[str], str]]:
        """Yield each tag and comment, with the text before it."""
        position = 0
        while match := _TOKEN.search(self._html, position):
            yield match, self._html[position : match.start()]
            position = match.end()
            name = (match[2] or "").lower()
            if name in _RAW and not match[1]:
                end = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(self._html, position)
                if end is None:
                    return
                position = end.start()
        self._text(self._html[position:])

    def _text(self, text: str) -> None:
        if not text or self._hidden:
            return
        self.found.words += sum(1 for _ in _WORD.finditer(unescape(text)))
        if self._link is not None:
            self._link[2].append(text)

    def _start(self, name: str, inside: str, line: int) -> None:
        elements = self.found.elements
        elements[name] = elements.get(name, 0) + 1
        self._hidden += name in _HIDDEN
        if name in _CLOSED and len(self._open) < _MAX_STACK:
            self._open.append((name, line))
        if name == "a":
            self._end_link()
            target = _attributes(inside).get("href")
            if target is not None:
                self._link = (target.strip(), line, [])
        elif name == "img":
            given = _attributes(inside)
            tiny = {given.get("width"), given.get("height")} <= {"0", "1", "0px", "1px"}
            self.found.pictures.append(Picture(given.get("src", ""), given.get("alt"), tiny))

    def _end(self, name: str, line: int) -> None:
        self._hidden = max(0, self._hidden - (name in _HIDDEN))
        if name == "a":
            self._end_link()
        if name not in _CLOSED:
            return
        place = next(
            (at for at in range(len(self._open) - 1, -1, -1) if self._open[at][0] == name), None
        )
        if place is None:
            self._problem(f"line {line}: </{name}> has no start tag")
            return
        for left, began in self._open[place + 1 :]:
            self._problem(f"line {began}: <{left}> has no end tag before </{name}> in line {line}")
        del self._open[place:]

    def _end_link(self) -> None:
        if self._link is not None:
            target, _, texts = self._link
            text = " ".join(unescape("".join(texts)).split())
            self.found.links.append(Link(target, text))
            self._link = None

    def _problem(self, sentence: str) -> None:
        if len(self.found.problems) < 10:
            self.found.problems.append(sentence)

    def _line_of(self, position: int) -> int:
        self._line += self._html.count("\n", self._counted_to, position)
        self._counted_to = position
        return self._line


def _attributes(inside: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(inside):
        value = match[2] or ""
        if value[:1] in {'"', "'"}:
            value = value[1:-1]
        found.setdefault(match[1].lower(), unescape(value))
    return found
