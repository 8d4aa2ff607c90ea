"""Links and images of a text whose layout is known: the same decisions as `links` and `opens` make.

What the tags say by themselves was found out when the layout was made; here it is held against
where the links of this text lead and what readers see of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from operator import itemgetter
from typing import NamedTuple

from postroad_common.tokens import LinkKind
from postroad_transformer.html.layout import Layout
from postroad_transformer.html.page import BREAKING, RAW_NAMES, HtmlPage
from postroad_transformer.html.urls import targets_of
from postroad_transformer.segments import Hole, Segment
from postroad_transformer.tracking.links import (
    LINK_ENDS,
    MAX_FRAGMENT,
    MAX_LINKS,
    LinkRules,
    LinkTraits,
    traits_of,
)
from postroad_transformer.tracking.opens import (
    MEASURED,
    UNSURE,
    enter_or_leave,
    is_fetched,
    pixel,
    pixel_place,
)


class _Seen(NamedTuple):
    """Text that is seen within a link: of `piece` behind `skipped` characters, or of a free tag."""

    piece: int = -1
    skipped: int = 0
    tag: int = -1


_SPACE = _Seen()


class _Link(NamedTuple):
    """A link: the free tag `tag` of `piece`, whose part `value` is where it leads.

    `seen` is what readers see, behind the tag's own text, to the end of piece `last`; None if that
    does not count.
    """

    tag: int
    value: int
    piece: int
    traits: LinkTraits
    seen: tuple[_Seen, ...] | None
    first: int
    last: int


class _Image(NamedTuple):
    """An image: the free tag `tag` of `piece`, whose part `value` is where it is.

    `is_sure` tells whether it is certain to be fetched.
    """

    tag: int
    value: int
    piece: int
    traits: LinkTraits
    is_sure: bool


@dataclass(frozen=True, slots=True)
class TrackingPlaces:
    """The links and the images of a layout, and the piece at whose end the pixel would go."""

    links: tuple[_Link, ...]
    images: tuple[_Image, ...]
    pixel: int


@dataclass(frozen=True, slots=True)
class KnownText:
    """A text of known layout: its pieces, and the parts of its free tags.

    URLs that are put into the parts have `mark` for their holes, which are noted by piece.
    """

    layout: Layout
    places: TrackingPlaces
    pieces: list[str]
    parts: list[list[str]]
    mark: str
    holes: list[tuple[int, Hole]]

    def has_room(self, text_size: int, number: int, image: int) -> bool:
        """Whether numbers are left for all links and images, and none is looked at in part only."""
        links = self.places.links
        if number + len(links) > MAX_LINKS or image + len(self.places.images) > MAX_LINKS:
            return False
        return text_size <= MAX_FRAGMENT or all(
            sum(map(len, self.pieces[link.first : link.last + 1])) + link.last - link.first
            < MAX_FRAGMENT
            for link in links
        )

    def visible(self, link: _Link) -> str:
        """Return what readers see of a link."""
        if link.seen is None:
            return ""
        text = self._text(link.tag)
        if link.seen:
            text += "".join([self._seen(seen) for seen in link.seen])
        return unescape(text) if "&" in text else text

    def _text(self, tag: int) -> str:
        return self.parts[tag][-1][len(self.layout.tags[tag].end) :]

    def _seen(self, seen: _Seen) -> str:
        if seen.piece >= 0:
            return self.pieces[seen.piece][seen.skipped :]
        return self._text(seen.tag) if seen.tag >= 0 else " "

    def segments(self, pixel_rules: LinkRules | None) -> list[Segment]:
        """Return the text as changed, with the pixel if there are rules for it (see `HtmlPage`)."""
        pieces, holes = self.pieces, self.holes
        self.layout.fill(pieces, self.parts)
        if pixel_rules is not None:
            before, hole, after = pixel(pixel_rules)
            pieces[self.places.pixel] += before + self.mark + after
            holes.append((self.places.pixel, hole))
        text = "<".join(pieces)
        if not holes:
            return [text]
        segments: list[Segment] = [""] * (2 * len(holes) + 1)
        segments[0::2] = text.split(self.mark)
        # One of a piece is before another that was put behind it.
        segments[1::2] = [hole for _, hole in sorted(holes, key=itemgetter(0))]
        return segments

    def values(self, places: Sequence[_Link] | Sequence[_Image]) -> list[str]:
        """Return where they lead, as written."""
        parts = self.parts
        return [parts[place.tag][place.value] for place in places]

    def track(
        self,
        kind: LinkKind,
        due: Sequence[tuple[_Link | _Image, int, str]],
        rules: LinkRules,
    ) -> None:
        """Let links or images, with their numbers and targets, lead by way of the tracking host."""
        if not due:
            return
        places, numbers, targets = zip(*due, strict=True)
        before, holes, ends = rules.tracked_all(kind, numbers, targets)
        before += self.mark
        parts = self.parts
        for place, end in zip(places, ends, strict=True):
            parts[place.tag][place.value] = before + end
        self.holes.extend(zip([place.piece for place in places], holes, strict=True))


def find_places(page: HtmlPage, layout: Layout) -> TrackingPlaces | None:
    """Return the links and images of `page`, which has this layout.

    None if the value of one is not among those that may differ.
    """
    links: list[_Link] = []
    images: list[_Image] = []
    tag_of = {tag.number: index for index, tag in enumerate(layout.tags)}
    around: set[str] = set()
    for number, name in page.noted:
        wanted = {"<a": "href", "<area": "href", "<img": "src"}.get(name, "")
        if name in UNSURE:
            enter_or_leave(around, name)
        found = page.attributes(number) if wanted else None
        if found is None or wanted not in found:
            continue
        tag = tag_of.get(number, -1)
        if tag < 0 or wanted not in layout.tags[tag].places:
            return None
        value, piece = layout.tags[tag].places[wanted], layout.tags[tag].piece
        if name == "<img":
            is_sure = not around and is_fetched(found)
            images.append(_Image(tag, value, piece, traits_of(found), is_sure))
        else:
            end = _end_of_link(page, number)
            seen = None if name == "<area" else _seen_between(page, layout, tag_of, number, end)
            first, last = layout.piece_of[number], layout.piece_of[end - 1]
            links.append(_Link(tag, value, piece, traits_of(found), seen, first, last))
    where = pixel_place(page)
    pieces = len(layout.begins)
    pixel = pieces - 1 if where == len(page.names) else layout.piece_of[where] - 1
    return TrackingPlaces(tuple(links), tuple(images), pixel)


def _end_of_link(page: HtmlPage, number: int) -> int:
    names = page.names
    end = number + 1
    while end < len(names) and names[end] not in LINK_ENDS:
        end += 1
    return end


def _seen_between(
    page: HtmlPage, layout: Layout, tag_of: dict[int, int], number: int, end: int
) -> tuple[_Seen, ...]:
    seen: list[_Seen] = []
    for other in range(number + 1, end):
        name = page.names[other]
        if name.lstrip("</") in BREAKING:
            seen.append(_SPACE)
        if name in RAW_NAMES:
            continue
        if other in tag_of:
            seen.append(_Seen(tag=tag_of[other]))
        else:
            piece = layout.piece_of[other]
            seen.append(_Seen(piece, len(layout.begins[piece])))
    return tuple(seen)


def track_known_links(known: KnownText, rules: LinkRules, first: int) -> tuple[Counter[str], int]:
    """Change the links; return how many ended how, and the next free number (as `track_links`)."""
    links = known.places.links
    targets = targets_of(known.values(links))
    leading = [
        (link, number, target)
        for number, (link, target) in enumerate(zip(links, targets, strict=True), first)
        if target is not None
    ]
    refusals = rules.refusals(
        [link.traits for link, _, _ in leading],
        [target for _, _, target in leading],
        [known.visible(link) for link, _, _ in leading],
    )
    due = [one for one, refusal in zip(leading, refusals, strict=True) if refusal is None]
    known.track(LinkKind.CLICK, due, rules)
    return Counter([refusal or "tracked" for refusal in refusals]), first + len(links)


def track_known_images(known: KnownText, rules: LinkRules, first: int) -> tuple[Counter[str], int]:
    """Change the images; return how many ended how, and the next free number (`track_images`)."""
    images = known.places.images
    targets = targets_of(known.values(images))
    leading = [
        (image, number, target)
        for number, (image, target) in enumerate(zip(images, targets, strict=True), first)
        if target is not None
    ]
    refusals = rules.image_refusals(
        [image.traits for image, _, _ in leading], [target for _, _, target in leading]
    )
    due = [one for one, refusal in zip(leading, refusals, strict=True) if refusal is None]
    known.track(LinkKind.IMAGE, due, rules)
    counts = Counter([refusal or "tracked" for refusal in refusals])
    if due:
        counts[MEASURED] = sum([image.is_sure for image, _, _ in due])
    return counts, first + len(images)
