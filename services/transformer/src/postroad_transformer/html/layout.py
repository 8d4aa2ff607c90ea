"""What HTML texts made from one template share: their tags, but for the values that differ.

A text is cut at each `<`. It has the layout of an earlier one if every piece begins with the same
tag up to its `>`, whatever text follows, and the tags of links and images are the same but for the
values of `href`, `src`, `alt` and `title`, in double quotes. By the rules of the tokenizer (`page`)
it then has the same tags at the same places, so what was decided by the tags alone holds for it as
well: which styles an element gets, which links there are and what is in them.

Where a `<` is no tag's, or a quote no value's, there is no layout, and the text is read by `page`
each time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from postroad_transformer.html.attributes import quoted_places
from postroad_transformer.html.page import NO_ELEMENT, RAW_NAMES, HtmlPage

LEADING = frozenset({"<a", "<area", "<img"})
FREE = frozenset({"href", "src", "alt", "title"})
"""The attributes whose values may differ, of tags called one of `LEADING`."""


class FreeTag(NamedTuple):
    """A tag with values that may differ, cut at its quotes.

    `number` is the tag's among all of the page, `piece` that of the text behind its `<`. What the
    parts `fixed_at` are is `fixed`, `free` are the places of the values, and `places` those of all
    attributes with a value in quotes; the last part begins with `end`. `around` is what the tag
    has around its free values when it is done.
    """

    number: int
    piece: int
    cuts: int
    fixed_at: Callable[[Sequence[str]], Any]
    fixed: Any
    free: tuple[int, ...]
    places: Mapping[str, int]
    end: str
    around: tuple[str, ...]

    def filled(self, parts: Sequence[str]) -> str:
        """Return the tag as it is to be, with the values of `parts` and the text behind it."""
        text = parts[-1][len(self.end) :]
        if len(self.free) == 1:
            before, after = self.around
            return f"{before}{parts[self.free[0]]}{after}{text}"
        if len(self.free) == 2:
            before, between, after = self.around
            first, second = self.free
            return f"{before}{parts[first]}{between}{parts[second]}{after}{text}"
        made = [self.around[0]]
        for place, after in zip(self.free, self.around[1:], strict=True):
            made += parts[place], after
        made.append(text)
        return "".join(made)


@dataclass(frozen=True, slots=True)
class Layout:
    """The tags of a text, and what is to become of those that do not lead anywhere.

    `begins` is how each piece begins, `same` are those that are the same in whole, and `changed`
    those whose beginning, so many characters, becomes another.
    """

    begins: tuple[str, ...]
    same: tuple[tuple[int, str], ...]
    changed: tuple[tuple[int, int, str], ...]
    tags: tuple[FreeTag, ...]
    piece_of: tuple[int, ...]
    """The piece in which each tag of the page ends."""

    def read(self, pieces: Sequence[str]) -> list[list[str]] | None:
        """Return the parts of the free tags if the text in `pieces` has this layout, else None."""
        if not all(map(str.startswith, pieces, self.begins)):
            return None
        for at, text in self.same:
            if pieces[at] != text:
                return None
        found: list[list[str]] = []
        for tag in self.tags:
            parts = pieces[tag.piece].split('"', tag.cuts)
            if (
                len(parts) <= tag.cuts
                or tag.fixed_at(parts) != tag.fixed
                or not parts[-1].startswith(tag.end)
            ):
                return None
            found.append(parts)
        return found

    def fill(self, pieces: list[str], found: Sequence[Sequence[str]]) -> None:
        """Change the text in `pieces` to what is to become of it, with the parts of free tags."""
        for at, skipped, text in self.changed:
            pieces[at] = text + pieces[at][skipped:]
        for tag, parts in zip(self.tags, found, strict=True):
            pieces[tag.piece] = tag.filled(parts)


class _Maker:
    """Makes a layout of a page's pieces before and after its tags were changed."""

    def __init__(self, page: HtmlPage, original: Sequence[str]) -> None:
        self._page = page
        self._original = original
        self._begins = [""]
        self._same: list[tuple[int, str]] = []
        self._changed: list[tuple[int, int, str]] = []
        self._tags: list[FreeTag] = []
        self._piece_of: list[int] = []

    def make(self) -> Layout | None:
        if "<" in self._original[0]:
            return None
        for number, name in enumerate(self._page.names):
            if name in NO_ELEMENT or (name in RAW_NAMES and name != "<title"):
                self._take_whole(number, name)
            elif not self._take_tag(number, name):
                return None
            self._piece_of.append(len(self._begins) - 1)
        return Layout(
            tuple(self._begins),
            tuple(self._same),
            tuple(self._changed),
            tuple(self._tags),
            tuple(self._piece_of),
        )

    def _take_whole(self, number: int, name: str) -> None:
        """Take a comment, or an element of raw text with all that is in it."""
        is_raw = name in RAW_NAMES
        count = 3 if is_raw else 2
        pieces, changed = (
            "".join(text[3 * number + 1 : 3 * number + 1 + count])[1:].split("<")
            for text in (self._original, self._page.pieces)
        )
        at = len(self._begins)
        self._begins += pieces
        last = None if is_raw else -1  # text follows a comment
        self._same += enumerate(pieces[:last], at)
        for place, (piece, new) in enumerate(zip(pieces, changed, strict=True), at):
            if new != piece:
                self._changed.append((place, len(piece), new))

    def _take_tag(self, number: int, name: str) -> bool:
        opening, inside, text = self._original[3 * number + 1 : 3 * number + 4]
        if "<" in inside or "<" in text or not text.startswith(">"):
            return False
        at = len(self._begins)
        whole = f"{opening[1:]}{inside}>"
        new_opening, new_inside, _ = self._page.pieces[3 * number + 1 : 3 * number + 4]
        changed = f"{new_opening[1:]}{new_inside}>"
        if name in LEADING:
            before, after = quoted_places(inside), quoted_places(changed[len(name) - 1 : -1])
            if before is None or after is None:
                return False
            free = [key for key in before if key in FREE]
            if free:
                self._take_free(number, whole, before, [after[key] for key in free], changed)
                return True
        self._begins.append(whole)
        if changed != whole:
            self._changed.append((at, len(whole), changed))
        return True

    def _take_free(
        self,
        number: int,
        whole: str,
        places: Mapping[str, int],
        new_places: Sequence[int],
        changed: str,
    ) -> None:
        """Take a tag with free values, which end up at `new_places` of the `changed` one."""
        parts = whole.split('"')
        free = tuple(place for name, place in places.items() if name in FREE)
        fixed_at = itemgetter(*[at for at in range(len(parts) - 1) if at not in free])
        new_parts = changed.split('"')
        around: list[str] = []
        start = 0
        for place in (*new_places, len(new_parts)):
            around.append(
                '"' * (start > 0)
                + '"'.join(new_parts[start:place])
                + '"' * (place < len(new_parts))
            )
            start = place + 1
        tag = FreeTag(
            number,
            len(self._begins),
            len(parts) - 1,
            fixed_at,
            fixed_at(parts),
            free,
            places,
            parts[-1],
            tuple(around),
        )
        self._tags.append(tag)
        self._begins.append(parts[0] + '"')


def make_layout(page: HtmlPage, original: Sequence[str]) -> Layout | None:
    """Return the layout of the text whose pieces were `original` before `page` was changed.

    Changed are attributes of tags only. None if the text has no layout.
    """
    if page.ends_open:
        return None
    layout = _Maker(page, original).make()
    pieces = "".join(original).split("<")
    if layout is None or len(layout.begins) != len(pieces) or layout.read(pieces) is None:
        return None
    return layout
