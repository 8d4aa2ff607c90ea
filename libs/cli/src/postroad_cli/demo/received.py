"""Compares the copy that the sink received with the mail that was sent. No I/O."""

import email
import email.policy
from dataclasses import dataclass, field
from html.parser import HTMLParser

from postroad_cli.demo.failure import DemoFailedError
from postroad_cli.demo.mails import DemoMail

_LOG = "transformer"


@dataclass(frozen=True)
class Changes:
    """What Postroad changed; `clicks` and `images` pair each tracking URL with the original."""

    styled: int
    clicks: tuple[tuple[str, str], ...]
    images: tuple[tuple[str, str], ...]
    untouched: tuple[str, ...]
    envelope: str


@dataclass
class _Page(HTMLParser):
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    styled: int = 0
    heading_style: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.styled += "style" in values
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img" and "src" in values:
            self.images.append(values["src"])
        if tag == "h1":
            self.heading_style = values.get("style", "")


def compare(mail: DemoMail, raw: bytes, envelope: str, tracker: str) -> Changes:
    """Return what was changed on the way.

    Args:
        mail: what was sent.
        raw: what arrived.
        envelope: the envelope sender it arrived with.
        tracker: base URL of the tracker.

    Raises:
        DemoFailedError: something that should have been changed was not, or the other way round.
    """
    html = _html_of(raw)
    page = _Page()
    page.feed(html)
    if "#1d4e5f" not in page.heading_style.lower():
        raise DemoFailedError("the CSS was not inlined: <h1> has no colour of its own", _LOG)
    if "@media" not in html:
        raise DemoFailedError("the @media rule was lost", _LOG)
    untouched = tuple(url for url in mail.untouched if url in page.links)
    if untouched != mail.untouched:
        raise DemoFailedError(f"links that must stay were changed: {page.links}", _LOG)
    clicks = _pair(
        [link for link in page.links if link not in mail.untouched], mail.tracked, tracker, "link"
    )
    # An image beyond those that were sent is the pixel that a mail without images would need.
    images = _pair(page.images[: len(mail.images)], mail.images, tracker, "image")
    if envelope == mail.envelope or "@" not in envelope:
        raise DemoFailedError(f"the envelope was not replaced: {envelope!r}", _LOG)
    return Changes(page.styled, clicks, images, untouched, envelope)


def _pair(
    found: list[str], originals: tuple[str, ...], tracker: str, kind: str
) -> tuple[tuple[str, str], ...]:
    if len(found) != len(originals):
        raise DemoFailedError(f"{len(originals)} {kind}s were sent, {len(found)} arrived", _LOG)
    for url in found:
        if not url.startswith(f"{tracker}/"):
            raise DemoFailedError(f"a {kind} was not rewritten: {url}", _LOG)
    return tuple(zip(found, originals, strict=True))


def _html_of(raw: bytes) -> str:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    body = message.get_body(("html",))
    if body is None:
        raise DemoFailedError("the mail arrived without its HTML part", _LOG)
    return str(body.get_content())
