"""One HTML text, rewritten: CSS, links, images and pixel in a single scan and a single splice."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from postroad_common.schemas.features import Features
from postroad_transformer.css import CssRefused, EngineName, style_edits
from postroad_transformer.edits import Edit, Segment, splice
from postroad_transformer.links import LinkRules, link_edits
from postroad_transformer.markup import Tag, scan
from postroad_transformer.opens import image_edits, pixel_edit

MAX_HTML = 2 * 1024 * 1024  # characters; larger texts are left as they are


@dataclass(slots=True)
class Findings:
    """What was done to the HTML texts of one message, and what was not; it grows part by part."""

    css: str = ""
    links: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    pixel: bool = False
    next_link: int = 0
    next_image: int = 0

    def facts(self) -> dict[str, str | bool | Mapping[str, int]]:
        """For the timeline; nothing for what did not happen."""
        facts: dict[str, str | bool | Mapping[str, int]] = {}
        if self.css:
            facts["css"] = self.css
        if self.links:
            facts["links"] = dict(self.links)
        images = {name: count for name, count in self.images.items() if name != "measured"}
        if images:
            facts["images"] = images
        if self.pixel:
            facts["pixel"] = True
        return facts


@dataclass(frozen=True, slots=True)
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

    def rewrite(self, text: str, findings: Findings, *, pixel: bool) -> list[Segment] | None:
        """The segments of the new text; None if nothing changes.

        With `pixel` it is this text that gets the pixel, if no image measures openings.
        """
        tags = scan(text)
        edits: list[Edit] = []
        if self.features.inlinecss:
            edits += self._styles(text, tags, findings)
        if self.features.clicktracking:
            found, counts, findings.next_link = link_edits(
                text, tags, self.rules, findings.next_link
            )
            edits += found
            findings.links += counts
        if self.features.openstracking:
            found, counts, findings.next_image = image_edits(
                text, tags, self.rules, findings.next_image
            )
            edits += found
            findings.images += counts
            if pixel and not findings.images["measured"]:
                edits.append(pixel_edit(text, tags, self.rules))
                findings.pixel = True
        return splice(text, edits) if edits else None

    def _styles(self, text: str, tags: list[Tag], findings: Findings) -> list[Edit]:
        try:
            edits = style_edits(text, tags, self.engine)
        except CssRefused as refused:
            findings.css = f"left as it is: {refused}"
            return []
        if not findings.css:
            findings.css = "inlined" if edits else "nothing to inline"
        elif edits and findings.css == "nothing to inline":
            findings.css = "inlined"
        return edits
