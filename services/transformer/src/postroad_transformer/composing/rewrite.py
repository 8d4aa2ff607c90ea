"""One HTML text, rewritten: CSS, links, images and pixel in a single scan."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from postroad_common.schemas.features import Features
from postroad_transformer import budget
from postroad_transformer.composing.layouts import Layouts, Way
from postroad_transformer.css.engines import CssRefused, EngineName
from postroad_transformer.css.inlining import inline_styles
from postroad_transformer.html.page import HtmlPage
from postroad_transformer.reading.decoding import Undecodable
from postroad_transformer.segments import Segment
from postroad_transformer.tracking.hosting import Hosting, find_embedded, host_images
from postroad_transformer.tracking.links import LinkRules, track_links
from postroad_transformer.tracking.opens import MEASURED, add_pixel, track_images
from postroad_transformer.tracking.places import KnownText, track_known_images, track_known_links

INLINED = "inlined"
NOTHING_TO_INLINE = "nothing to inline"
_SETTLED = frozenset({"", INLINED, NOTHING_TO_INLINE})
MAX_HTML = 2 * 1024 * 1024  # characters; larger texts are left as they are


_layouts = Layouts()


class State(NamedTuple):
    """Where the numbering of a message stands before a part, and whether openings are measured."""

    next_link: int = 0
    next_image: int = 0
    measured: bool = False


class RewriteOutcome(NamedTuple):
    """What became of one text. `segments` is None where nothing changed; `state` is for the next.

    `css` is empty where CSS was not asked for; the counts are by how each link or image ended.
    `hosted` are the Content-IDs of images now elsewhere, `embedded` those still referred to.
    """

    segments: list[Segment] | None
    css: str
    links: Mapping[str, int]
    images: Mapping[str, int]
    pixel: bool
    state: State
    hosted: frozenset[str] = frozenset()
    embedded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rewriter:
    """Rewrites the HTML texts of one message as its features ask.

    With `light` it does no more than the event loop may do.
    """

    features: Features
    rules: LinkRules
    engine: EngineName = "css-inline"
    hosting: Hosting | None = None
    light: bool = False
    layouts: Layouts = field(default=_layouts, compare=False, repr=False)

    @property
    def is_idle(self) -> bool:
        """Whether no feature touches HTML."""
        on = self.features
        return not (on.inlinecss or on.clicktracking or on.openstracking or self.hosting)

    def rewrite(self, text: str, state: State, *, pixel: bool) -> RewriteOutcome:
        """Return the new text.

        With `pixel` it is this text that gets the pixel, if no image measures openings.

        Raises:
            Undecodable: it is no text at all.
            HeavyError: it is more than the event loop may do.
        """
        if not text or text.isspace():
            return RewriteOutcome(None, "", {}, {}, pixel=False, state=state)
        known = None if self.hosting else self.layouts.find(self._way, text)
        if known and known[0].has_room(len(text), state.next_link, state.next_image):
            return self._fill(*known, state, pixel=pixel)
        page = HtmlPage(text)
        if not page.has_room:
            raise Undecodable("full of control characters")
        if self.light:
            budget.check_tags(len(page.names))
        is_due = self.hosting is None and not known and self.layouts.is_due(self._way, text, page)
        original = page.pieces.copy() if is_due else []
        css = self._styles(page) if self.features.inlinecss else ""
        if is_due and css in _SETTLED:
            self.layouts.remember(self._way, page, original, css)
        links: Counter[str] = Counter()
        images: Counter[str] = Counter()
        number, image, measured = state
        pixel = pixel and self.features.openstracking
        if self.features.clicktracking:
            links, number = track_links(page, self.rules, number)
        hosted: Counter[str] = Counter()
        if self.hosting is not None:
            hosted = host_images(page, self.rules.base_url, self.hosting)
            measured = measured or (self.hosting.counted and bool(hosted))
        if self.features.openstracking:
            images, image = track_images(page, self.rules, image)
            measured = bool(images.pop(MEASURED, 0)) or measured
            pixel = pixel and not measured and not page.ends_open
            if pixel:
                add_pixel(page, self.rules)
        is_changed = pixel or css == INLINED or links["tracked"] or images["tracked"]
        segments = page.segments() if is_changed or hosted else None
        after = State(number, image, measured)
        outcome = RewriteOutcome(segments, css, links, images, pixel, after)
        if self.hosting is None:
            return outcome
        embedded = find_embedded("".join(page.pieces), [cid for cid, _ in self.hosting.digests])
        if hosted:
            images["hosted"] = hosted.total()
        return outcome._replace(hosted=frozenset(hosted), embedded=embedded)

    def _fill(self, known: KnownText, css: str, state: State, *, pixel: bool) -> RewriteOutcome:
        """Return what `rewrite` would for a text of known layout."""
        links: Counter[str] = Counter()
        images: Counter[str] = Counter()
        number, image, measured = state
        pixel = pixel and self.features.openstracking
        if self.features.clicktracking:
            links, number = track_known_links(known, self.rules, number)
        if self.features.openstracking:
            images, image = track_known_images(known, self.rules, image)
            measured = bool(images.pop(MEASURED, 0)) or measured
            pixel = pixel and not measured
        is_changed = pixel or css == INLINED or links["tracked"] or images["tracked"]
        segments = known.segments(self.rules if pixel else None) if is_changed else None
        return RewriteOutcome(segments, css, links, images, pixel, State(number, image, measured))

    @property
    def _way(self) -> Way:
        return Way(self.features.inlinecss, self.engine, self.light)

    def _styles(self, page: HtmlPage) -> str:
        try:
            return (
                INLINED if inline_styles(page, self.engine, light=self.light) else NOTHING_TO_INLINE
            )
        except CssRefused as refused:
            return f"left as it is: {refused}"


def describe_outcomes(outcomes: Sequence[RewriteOutcome]) -> dict[str, Any]:
    """Return what became of a message's texts, for the timeline; only what happened."""
    told: dict[str, Any] = {}
    css = {outcome.css for outcome in outcomes if outcome.css}
    if css:
        told["css"] = "; ".join(sorted(css - {NOTHING_TO_INLINE})) or NOTHING_TO_INLINE
    for name in ("links", "images"):
        counts: Counter[str] = Counter()
        for outcome in outcomes:
            counts.update(getattr(outcome, name))
        if counts:
            told[name] = dict(counts)
    if any(outcome.pixel for outcome in outcomes):
        told["pixel"] = True
    return told
