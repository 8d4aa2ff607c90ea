"""What was done to one mail, thing by thing, each with its reason.

The timeline counts; this lists. Links and images are gone through by the functions that rewrite
them, with rules that take notes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from postroad_common.schemas.preview import MailChange
from postroad_common.schemas.submission import Submission
from postroad_common.tokens import LinkKind, MessageLinks
from postroad_transformer import budget
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import Template, read_message
from postroad_transformer.html.page import HtmlPage
from postroad_transformer.previews.reasons import (
    ADDED,
    CSS,
    HOSTED,
    IMAGE_TRACKED,
    LEFT,
    LINK_TRACKED,
    PIXEL,
    REMOVED,
    TEXT_MADE,
)
from postroad_transformer.reading.decoding import Undecodable, decode
from postroad_transformer.reading.fields import Block
from postroad_transformer.reading.mime import Malformed, html_parts
from postroad_transformer.reading.sender import unsubscribe_urls
from postroad_transformer.segments import Url
from postroad_transformer.tracking.links import LinkRules, LinkTraits, track_links
from postroad_transformer.tracking.opens import MEASURED, track_images

MAX_LISTED = 500  # links and images of one mail


@dataclass(frozen=True)
class NotingRules(LinkRules):
    """The rules of a mail's links, which note what they decide: kind, number, target, refusal."""

    noted: list[tuple[LinkKind, int, str, str | None]] = field(default_factory=list, compare=False)

    def tracked(self, kind: LinkKind, number: int, target: str) -> Url:
        """Note and return the URL that leads to `target` by way of the tracking host."""
        self.noted.append((kind, number, target, None))
        return super().tracked(kind, number, target)

    def refusal(self, traits: LinkTraits, target: str, visible: str) -> str | None:
        """Return why the link to `target` is left alone, and note it."""
        refusal = super().refusal(traits, target, visible)
        if refusal is not None:
            self.noted.append((LinkKind.CLICK, -1, target, refusal))
        return refusal


def explain(
    raw: bytes, submission: Submission, template: Template, rules: Rules, links: MessageLinks
) -> list[MailChange]:
    """Return what was done to the mail `raw`."""
    head = template.header.filled(links.head(LinkKind.UNSUBSCRIBE, 0, b"").encode())
    facts = template.facts
    changes = [*_header_changes(facts, head)]
    if css := facts.get("css"):
        changes.append(MailChange(kind="css", reason=CSS.get(css, css)))
    if text := facts.get("text"):
        changes.append(
            MailChange(kind="text", reason=TEXT_MADE if text.startswith("made") else text)
        )
    links_and_images = _list_urls(raw, submission, rules, links)
    if links_and_images is None:
        changes += _count_urls(facts)
    else:
        changes += links_and_images
        changes += _left_images(facts)
    if hosted := facts.get("images", {}).get("hosted"):
        changes.append(MailChange(kind="image_hosted", reason=HOSTED, count=hosted))
    if facts.get("hosting"):
        changes.append(MailChange(kind="image_hosted", reason=facts["hosting"], count=0))
    if facts.get("pixel"):
        url = links.url(LinkKind.OPEN, 0)
        changes.append(MailChange(kind="pixel", reason=PIXEL, after=url))
    changes += [MailChange(kind="left", reason=reason) for reason in facts.get("mime", ())]
    return changes


def _header_changes(facts: Mapping[str, object], head: Sequence[bytes]) -> Iterator[MailChange]:
    """Yield what was done to the header and to the line ends."""
    if facts.get("line_ends"):
        yield MailChange(
            kind="line_ends", reason="Mail has CRLF at the end of every line (RFC 5322)."
        )
    if facts.get("header"):
        yield MailChange(kind="header", reason="A line of the header was no field.")
    values = {name.lower(): value for name, value in map(_field_of, head)}
    added = facts.get("added")
    for name in ("Received", *(added if isinstance(added, list) else ())):
        reason = ADDED.get(name, "The mail had none.")
        value = values.get(name.lower(), "")
        yield MailChange(kind="header_added", reason=reason, before=name, after=value)
    removed = facts.get("removed")
    for name in removed if isinstance(removed, list) else ():
        yield MailChange(kind="header_removed", reason=REMOVED.get(name, ""), before=name)


def _field_of(octets: bytes) -> tuple[str, str]:
    name, _, value = octets.decode("utf-8", "replace").partition(":")
    return name, " ".join(value.split())


def _list_urls(
    raw: bytes, submission: Submission, rules: Rules, links: MessageLinks
) -> list[MailChange] | None:
    """Return what became of each link and each image; None for what is too large to go through."""
    message, block = read_message(raw, {})
    features = submission.features
    unsubscribe = unsubscribe_urls(message, block) if features.clicktracking else ()
    noting = NotingRules(rules.base_url.rstrip("/"), features.preventscam, frozenset(unsubscribe))
    link = image = 0
    try:
        for page in _pages(message, block):
            if features.clicktracking:
                _, link = track_links(page, noting, link)
            if features.openstracking:
                _, image = track_images(page, noting, image)
    except (Malformed, Undecodable, budget.HeavyError):
        return None
    if len(noting.noted) > MAX_LISTED:
        return None
    return [_url_change(*note, links) for note in noting.noted]


def _pages(message: bytes, block: Block) -> Iterator[HtmlPage]:
    structure = html_parts(message, block)
    budget.check_octets(sum(part.end - part.body for part in structure.parts))
    for part in structure.parts:
        text = decode(message[part.body : part.end], part.encoding, part.charset).text
        page = HtmlPage(text)
        budget.check_tags(len(page.names))
        if page.has_room:
            yield page


def _url_change(
    kind: LinkKind, number: int, target: str, refusal: str | None, links: MessageLinks
) -> MailChange:
    if refusal is not None:
        return MailChange(kind="link_left", reason=LEFT.get(refusal, refusal), before=target)
    url = links.url(kind, number, target.encode("ascii"))
    if kind is LinkKind.CLICK:
        return MailChange(kind="link_tracked", reason=LINK_TRACKED, before=target, after=url)
    return MailChange(kind="image_tracked", reason=IMAGE_TRACKED, before=target, after=url)


def _count_urls(facts: Mapping[str, Mapping[str, int]]) -> Iterator[MailChange]:
    """Yield how many links and images ended how, of a mail with too many to list them."""
    for how, count in facts.get("links", {}).items():
        if how == "tracked":
            yield MailChange(kind="link_tracked", reason=LINK_TRACKED, count=count)
        else:
            yield MailChange(kind="link_left", reason=LEFT.get(how, how), count=count)
    if tracked := facts.get("images", {}).get("tracked"):
        yield MailChange(kind="image_tracked", reason=IMAGE_TRACKED, count=tracked)
    yield from _left_images(facts)


def _left_images(facts: Mapping[str, Mapping[str, int]]) -> Iterator[MailChange]:
    for how, count in facts.get("images", {}).items():
        if how not in {"tracked", "hosted", MEASURED}:
            yield MailChange(kind="image_left", reason=LEFT.get(how, how), count=count)
