"""One HTML text, rewritten: CSS, links, images and pixel in a single scan and a single splice."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from postroad_common.schemas.features import Features
from postroad_transformer.css import CssRefused, EngineName, style_edits
from postroad_transformer.edits import Edit, Segment, splice
from postroad_transformer.links import LinkRules, link_edits
from postroad_transformer.markup import Page
from postroad_transformer.opens import MEASURED, image_edits, pixel_edit

INLINED = "inlined"
NOTHING_TO_INLINE = "nothing to inline"
MAX_HTML = 2 * 1024 * 1024  # characters; larger texts are left as they are


class State(NamedTuple):
    """Where the numbering of a message stands before a part, and whether openings are measured."""

    next_link: int = 0
    next_image: int = 0
    measured: bool = False


class Outcome(NamedTuple):
    """What became of one text. `segments` is None where nothing changed; `state` is for the next.

    `css` is empty where CSS was not asked for; the counts are by how each link or image ended.
    """

    segments: list[Segment] | None
    css: str
    links: Mapping[str, int]
    images: Mapping[str, int]
    pixel: bool
    state: State


@dataclass(frozen=True)
class Rewriter:
    """Rewrites the HTML texts of one message as its features ask."""

    features: Features
    rules: LinkRules
    engine: EngineName = "css-inline"

    @property
    def is_idle(self) -> bool:
        """Whether no feature touches HTML."""
        on = self.features
        return not (on.inlinecss or on.clicktracking or on.openstracking)

    def rewrite(self, text: str, state: State, *, pixel: bool) -> Outcome:
        """The new text.

        With `pixel` it is this text that gets the pixel, if no image measures openings.
        """
        page = Page(text)
        css, edits = self._styles(page) if self.features.inlinecss else ("", [])
        links: Counter[str] = Counter()
        images: Counter[str] = Counter()
        number, image, measured = state
        pixel = pixel and self.features.openstracking
        if self.features.clicktracking:
            found, links, number = link_edits(page, self.rules, number)
            edits += found
        if self.features.openstracking:
            found, images, image = image_edits(page, self.rules, image)
            edits += found
            measured = bool(images.pop(MEASURED, 0)) or measured
            pixel = pixel and not measured
            if pixel:
                edits.append(pixel_edit(page, self.rules))
        segments = splice(text, edits) if edits else None
        return Outcome(segments, css, links, images, pixel, State(number, image, measured))

    def _styles(self, page: Page) -> tuple[str, list[Edit]]:
        try:
            edits = style_edits(page, self.engine)
        except CssRefused as refused:
            return f"left as it is: {refused}", []
        return INLINED if edits else NOTHING_TO_INLINE, edits


def facts(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What became of the texts of a message, for the timeline; nothing for what did not happen."""
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
