"""The layouts of HTML texts that were seen before, so that the next mail of a mailing is read once.

A layout is made when tags with the same names come for the second time, and then after ever more
texts that it did not fit: mails that are all different cost next to nothing more.
"""

from collections.abc import Sequence
from typing import NamedTuple

from postroad_common.caching import Cache
from postroad_transformer.css.engines import EngineName
from postroad_transformer.css.inlining import attributes_looked_at
from postroad_transformer.html.layout import FREE, Layout, make_layout
from postroad_transformer.html.page import HOLE_MARKS, HtmlPage
from postroad_transformer.tracking.places import KnownText, TrackingPlaces, find_places

MAX_TEXT = 65_536  # characters of a text that is remembered
MAX_GROWTH = 32_768  # characters; what styles add beyond is measured against each text
REMEMBERED = 1 << 24  # about as many octets in all
AT_ONCE = 8  # layouts with as many pieces
_MAX_MISSES = 64  # different tags, as many, whose misses are counted
_TEXT = frozenset({":empty"})


class Way(NamedTuple):
    """What decides on the styles of a text beside the text itself."""

    inlinecss: bool
    engine: EngineName
    light: bool


class _Remembered(NamedTuple):
    """A layout, its links and images, and what came of its styles; `size` is in octets, about."""

    layout: Layout
    places: TrackingPlaces
    css: str
    size: int


class _Family:
    """The layouts with as many pieces, the one used last first, of about `size` octets.

    `misses` counts the texts that had none of them, by a hash of their tags' names.
    """

    __slots__ = ("layouts", "misses", "size")

    def __init__(self, layouts: tuple[_Remembered, ...], misses: Cache[int, int]) -> None:
        self.layouts = layouts
        self.misses = misses
        self.size = 2_000 + sum(each.size for each in layouts)

    def use(self, used: _Remembered) -> None:
        """Put a layout first."""
        self.layouts = (used, *[each for each in self.layouts if each is not used])

    def is_due(self, page: HtmlPage) -> bool:
        """Count a text without layout; whether it is time to make one of it."""
        tags = hash(tuple(page.names))
        count = self.misses.get(tags, 0)
        self.misses.put(tags, count + 1)
        return count > 0 and count & (count - 1) == 0


class Layouts:
    """One per process. `way` is what decides on the styles beside the text."""

    def __init__(self) -> None:
        self._families: Cache[tuple[Way, int], _Family] = Cache(
            REMEMBERED, weigh=lambda family: family.size
        )

    def find(self, way: Way, text: str) -> tuple[KnownText, str] | None:
        """Return `text` as one of known layout, and what came of its styles; None if it is none."""
        if len(text) > MAX_TEXT or HOLE_MARKS[0] in text:
            return None
        pieces = text.split("<")
        family = self._families.get((way, len(pieces)))
        if family is None:
            return None
        for each in family.layouts:
            parts = each.layout.read(pieces)
            if parts is not None:
                if each is not family.layouts[0]:
                    family.use(each)
                known = KnownText(each.layout, each.places, pieces, parts, HOLE_MARKS[0], [])
                return known, each.css
        return None

    def is_due(self, way: Way, text: str, page: HtmlPage) -> bool:
        """Count `text`, which has no known layout; whether it is time to remember its own."""
        if len(text) > MAX_TEXT:
            return False
        key = way, text.count("<") + 1
        family = self._families.get(key)
        if family is None:
            family = _Family((), Cache(_MAX_MISSES))
            self._families.put(key, family)
        return family.is_due(page)

    def remember(self, way: Way, page: HtmlPage, original: Sequence[str], css: str) -> None:
        """Remember the layout of the text whose pieces were `original` before styles were put in.

        Nothing else of `page` may have changed.
        """
        size = sum(map(len, original))
        if sum(map(len, page.pieces)) - size > MAX_GROWTH:
            return
        if way.inlinecss and attributes_looked_at(page) & (FREE | _TEXT):
            return
        layout = make_layout(page, original)
        places = None if layout is None else find_places(page, layout)
        if layout is None or places is None:
            return
        one = _Remembered(layout, places, css, 4 * size + 200 * len(page.names))
        key = way, len(layout.begins)
        family = self._families.get(key)
        earlier, misses = (family.layouts, family.misses) if family else ((), Cache(_MAX_MISSES))
        self._families.put(key, _Family((one, *earlier[: AT_ONCE - 1]), misses))
