"""HTML taken apart at its tags, changed in places, and put together again.

A tokenizer, not a parser: it finds where tags, comments and raw text (script, style, …) begin and
end by the rules of the HTML standard (section 13.2.5), in one pass and linear time, and whatever
is not changed comes out character for character as it went in. Nothing is reported from inside
comments, conditional comments of Outlook among them, or from raw text. A tag that the document
never closes ends the scan, as it does in a browser.

One regular expression does the taking apart (`split`), and lists of its pieces are all there is:
an object per tag would cost more than the rest of the work on it.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from html import unescape

from postroad_transformer.html.attributes import Attributes
from postroad_transformer.segments import Hole, Segment, Url

_WS = r"[ \t\n\f\r]"
# What most tags hold, name="value" after one space, goes first because it is twice as fast.
_ATTRIBUTES = (
    r"""(?>(?: [a-z-]++="[^"]*+"){0,64})"""
    rf"(?:[ \t\n\f\r/]++|[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+(?:{_WS}*+={_WS}*+"
    r"""(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^ \t\n\f\r>"'][^ \t\n\f\r>]*+)?+)?+)*+"""
)
_RAW = "s(?:cript|tyle)|t(?:itle|extarea)|xmp|iframe|no(?:embed|frames)"
# Group 1 is the opening (`<td`, `</td`, `<!`), 2 the name if the content is raw text, 3 the rest
# up to the `>` of a tag, or to the end of a comment or of raw text.
_TOKEN = re.compile(
    rf"(<(?:((?i:{_RAW}))(?=[ \t\n\f\r/>])|/?[a-zA-Z][^ \t\n\f\r/>]*+|[!?/]))"
    # An atomic group, not `)*+`: before Python 3.11.5 a possessive group whose last round fails in
    # a look-ahead stops at the wrong place (python/cpython#106052). It remembers each round while
    # it runs, hence the bound.
    rf"((?(2){_ATTRIBUTES}>[^<]*+(?>(?:<(?!/(?i:\2)[ \t\n\f\r/>])[^<]*+){{0,100000}})"
    rf"|(?:(?<!<[!?/]){_ATTRIBUTES}"
    r"|(?<=<!)--(?:-?>|.*?(?:--!?>|\Z))"
    r"|(?<=<[!?/])[^>]*+>?)))",
    re.DOTALL,
)
_COMMENT_END = re.compile(r"--!?>\Z|\A---?>\Z|\A-->\Z")
_LEADING_ATTRIBUTES = re.compile(_ATTRIBUTES)
VOID = frozenset(
    "area base br col embed hr img input link meta source track wbr".split()  # noqa: SIM905 - a list of words
)
BREAKING = frozenset(
    "br div p td th tr table li ul ol h1 h2 h3 h4 h5 h6 hr".split()  # noqa: SIM905 - the same
)
RAW_NAMES = frozenset(
    "<script <style <title <textarea <xmp <iframe <noembed <noframes".split()  # noqa: SIM905 - the same
)
NO_ELEMENT = frozenset({"<!", "<?", "</"})  # comments and the like

# The tags that `Page.find` can be asked for: the list of all is gone through once.
_NOTED = (
    RAW_NAMES
    | NO_ELEMENT
    | frozenset(
        "<a <area <img <picture </picture <noscript </noscript <html </html <body </body <link </style".split()  # noqa: SIM905, E501 - the same
    )
)
# One that the text does not hold stands for a hole in it. Control characters have no place in HTML.
HOLE_MARKS = "\x02\x03\x04\x05\x06\x07\x10\x11\x12"


class HtmlPage:
    """An HTML text, taken apart at its tags.

    `names` has, for each tag and comment in order, its opening in lower case: `<td`, `</td`, `<!`.
    The attributes of a tag are read once, when first asked for.
    """

    __slots__ = ("_attributes", "_holes", "_mark", "ends_open", "names", "noted", "pieces")

    def __init__(self, text: str) -> None:
        pieces: list[str] = _TOKEN.split(text)
        del pieces[2::4]
        self.pieces = pieces
        """Text, opening, inside, text, …, text; behind a tag the text begins with its `>`."""
        self.ends_open = False
        """Whether the text ends within a tag, a comment or raw text that is never closed."""
        if len(pieces) > 1 and not pieces[-1]:
            if pieces[-3] not in NO_ELEMENT:
                self._check_last()
            elif pieces[-3] == "<!" and pieces[-2].startswith("--"):
                self.ends_open = not _COMMENT_END.search(pieces[-2])
            else:
                self.ends_open = not pieces[-2].endswith(">")
        self.names = list(map(str.lower, pieces[1::3]))
        self._attributes: dict[int, Attributes] = {}
        self.noted = [(at, name) for at, name in enumerate(self.names) if name in _NOTED]
        """The tags that `find` may be asked for, with their numbers."""
        self._part_raw_text()
        self.ends_open = self.ends_open or (bool(self.names) and self.names[-1] in RAW_NAMES)
        self._mark = next((mark for mark in HOLE_MARKS if mark not in text), "")
        self._holes: list[tuple[int, int, Hole]] = []  # by piece, and place within it

    def _check_last(self) -> None:
        """Drop a tag that the document never closes, and what it swallowed."""
        *_, before, opening, inside, _ = self.pieces
        if opening.lower() in RAW_NAMES:
            found = _LEADING_ATTRIBUTES.match(inside)
            if found and found.end() < len(inside):
                return
        self.pieces[-4:] = [before + opening + inside]
        self.ends_open = True

    def _part_raw_text(self) -> None:
        for number in self.find(RAW_NAMES):
            at = 3 * number + 2
            inside = self.pieces[at]
            found = _LEADING_ATTRIBUTES.match(inside)
            end = found.end() if found else 0
            self.pieces[at : at + 2] = inside[:end], inside[end:] + self.pieces[at + 1]

    def find(self, names: AbstractSet[str]) -> list[int]:
        """Return the numbers of the tags with one of these names, each one of `_NOTED`."""
        return [number for number, name in self.noted if name in names]

    def attributes(self, number: int) -> Attributes:
        """Return the attributes of a start tag."""
        found = self._attributes.get(number)
        if found is None:
            found = self._attributes[number] = Attributes(self.pieces[3 * number + 2])
        return found

    def content(self, number: int) -> str:
        """Return the text after a tag, up to the next; all of an element of raw text."""
        return self.pieces[3 * number + 3][1:]

    def visible(self, number: int, ends: AbstractSet[str], limit: int) -> str:
        """Return what a reader sees from after the tag to the next of `ends`, references resolved.

        Tags leave a space where they break the line. Nothing if it takes more than `limit`
        characters of HTML.
        """
        pieces, names = self.pieces, self.names
        seen = [self.content(number)]
        size = len(seen[0])
        for other in range(number + 1, len(names)):
            name = names[other]
            if name in ends:
                break
            text = pieces[3 * other + 3]
            size += len(text) + len(name) + len(pieces[3 * other + 2])
            if size > limit:
                return ""
            if name.lstrip("</") in BREAKING:
                seen.append(" ")
            if name not in RAW_NAMES:
                seen.append(text if name in NO_ELEMENT else text[1:])
        if size > limit:
            return ""
        text = "".join(seen)
        return unescape(text) if "&" in text else text

    @property
    def has_room(self) -> bool:
        """Whether the text can take holes: it has a control character left for them."""
        return bool(self._mark)

    def insert(self, attributes: Mapping[int, str]) -> None:
        """Put attributes, which begin with a space, behind the names of tags, by their numbers."""
        pieces = self.pieces
        for number, attribute in attributes.items():
            pieces[3 * number + 1] += attribute

    def put(self, number: int, name: str, value: str) -> None:
        """Change the value of an attribute, which is there."""
        found = self.attributes(number)
        found.put(name, value)
        self.pieces[3 * number + 2] = str(found)

    def put_content(self, number: int, text: str) -> None:
        """Change the text of an element of raw text."""
        self.pieces[3 * number + 3] = ">" + text

    def put_url(self, number: int, name: str, url: Url) -> None:
        """Change the value of an attribute, which is there, to a URL with a hole."""
        before, hole, after = url
        found = self.attributes(number)
        place = found.put(name, before + self._mark + after)
        self.pieces[3 * number + 2] = str(found)
        self._holes.append((3 * number + 2, place, hole))

    def put_before(self, number: int, before: str, hole: Hole, after: str) -> None:
        """Add text with a hole before a tag; with the number behind the last, at the end."""
        self.pieces[3 * number] += before + self._mark + after
        self._holes.append((3 * number, 0, hole))

    def segments(self) -> list[Segment]:
        """Return the text as changed: strings and holes in turn, first and last a string."""
        text = "".join(self.pieces)
        if not self._holes:
            return [text]
        segments: list[Segment] = [""] * (2 * len(self._holes) + 1)
        segments[0::2] = text.split(self._mark)
        segments[1::2] = [hole for _, _, hole in sorted(self._holes)]
        return segments
