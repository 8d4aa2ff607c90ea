"""What is worth a warning in a mail that is about to be sent; pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from postroad_common.schemas.preview import PreviewAnswer
from postroad_ingress_http.history.content import MailContent
from postroad_ingress_http.previews.markup import Link, Markup, Picture, look

Severity = Literal["error", "warning", "hint"]
GMAIL_CLIPS = 102 * 1024  # octets of HTML
LARGE_MAIL = 10 * 1024 * 1024  # octets; many servers take no more than 20 to 25 MiB
LARGE_IMAGE = 1024 * 1024  # octets of an image in the mail
MAX_HTML = 512 * 1024  # characters that are gone through
FEW_WORDS = 15
LONG_SUBJECT = 100  # characters; phones show about 40
_ONCE = ("from", "to", "cc", "subject", "date", "message-id", "reply-to", "mime-version")
_HOST = re.compile(r"(?:https?://)?((?:[\w-]+\.)+[a-z]{2,24})(?:[/?#:]\S*)?", re.IGNORECASE)
_ACTIVE = ("script", "iframe", "object", "embed", "form", "video", "audio")


@dataclass(frozen=True, slots=True)
class MailWarning:
    """Something worth a look. An `error` would keep the mail from being sent or delivered."""

    code: str
    message: str
    severity: Severity = "warning"
    field: str | None = None


def warn(content: MailContent, answer: PreviewAnswer) -> list[MailWarning]:
    """Return what there is to say about the mail that would be sent."""
    html = content.html
    found = [*_about_header(content, answer)]
    if content.is_cut:
        found.append(MailWarning("too_many_parts", "The mail has more parts than were looked at."))
    if html is not None:
        targets = {change.after: change.before for change in answer.changes if change.after}
        found += _about_html(html, look(html[:MAX_HTML]), content, targets)
    found += _about_size(content)
    return found


def _about_header(content: MailContent, answer: PreviewAnswer) -> Iterator[MailWarning]:
    names = [name.lower() for name, _ in content.headers]
    values = {name.lower(): value for name, value in content.headers}
    for name in _ONCE:
        if names.count(name) > 1:
            yield MailWarning(
                "duplicate_header", f"The header {name} stands there more than once (RFC 5322)."
            )
    added = {change.before for change in answer.changes if change.kind == "header_added"}
    for name in ("Date", "Message-ID"):
        if name in added:
            yield MailWarning(
                f"no_{name.lower().replace('-', '_')}",
                f"The mail has no {name}; Postroad adds it, but filters trust the sender's more.",
                "hint",
            )
    if "to" not in names and "cc" not in names:
        yield MailWarning("no_to", "The mail names nobody in To or Cc, as spam often does.")
    yield from _about_subject(values.get("subject", ""))
    if not answer.signatures:
        yield MailWarning(
            "not_signed",
            "No DKIM key would sign: add the From domain, and publish its records.",
        )
    if "list-unsubscribe" not in names:
        yield MailWarning(
            "no_unsubscribe",
            "There is no List-Unsubscribe: newsletters need one, receipts and the like do not.",
            "hint",
        )


def _about_subject(subject: str) -> Iterator[MailWarning]:
    if not subject.strip():
        yield MailWarning("no_subject", "The mail has no subject.")
    elif len(subject) > LONG_SUBJECT:
        yield MailWarning(
            "long_subject", f"The subject has {len(subject)} characters; most are cut off.", "hint"
        )
    letters = [char for char in subject if char.isalpha()]
    if len(letters) > 8 and all(char.isupper() for char in letters if char.lower() != char.upper()):
        yield MailWarning("loud_subject", "The subject is all capitals, as spam often is.", "hint")
    if "!!" in subject or "$$" in subject:
        yield MailWarning(
            "loud_subject", "The subject shouts (!! or $$), as spam often does.", "hint"
        )


def _about_html(
    html: str, markup: Markup, content: MailContent, targets: Mapping[str, str]
) -> Iterator[MailWarning]:
    if content.text is None:
        yield MailWarning(
            "no_text", "There is no plain text beside the HTML; `textfromhtml` makes one."
        )
    size = len(html.encode("utf-8", "replace"))
    if size > GMAIL_CLIPS:
        yield MailWarning(
            "clipped", f"The HTML has {size // 1024} kB; Gmail shows 102 kB and clips the rest."
        )
    if len(html) > MAX_HTML:
        yield MailWarning(
            "not_read_whole", "Only the first 512 Ki characters of HTML were looked at."
        )
    elif markup.problems:
        yield MailWarning("broken_html", f"The HTML is broken: {'; '.join(markup.problems)}.")
    active = [name for name in _ACTIVE if markup.elements.get(name)]
    if active:
        yield MailWarning(
            "active_content", f"Mail programs remove or refuse <{'>, <'.join(active)}>."
        )
    yield from _about_images(markup.pictures, markup.words, targets)
    yield from _about_links(markup.links, targets)


def _about_images(
    pictures: Sequence[Picture], words: int, targets: Mapping[str, str]
) -> Iterator[MailWarning]:
    shown = [picture for picture in pictures if not picture.tiny]
    bare = [picture for picture in shown if picture.alt is None]
    if bare:
        first = targets.get(bare[0].source, bare[0].source)[:200]
        yield MailWarning(
            "missing_alt", f"Images without alt text: {len(bare)}, the first is {first}."
        )
    if shown and words < FEW_WORDS:
        yield MailWarning(
            "image_only",
            f"The mail is images with {words} words: many see none of it, and filters mind.",
        )
    plain = [one for one in shown if _origin(one.source, targets).startswith("http://")]
    if plain:
        yield MailWarning(
            "http_image", f"Images fetched by http: {len(plain)}; some programs block these."
        )


def _about_links(links: Sequence[Link], targets: Mapping[str, str]) -> Iterator[MailWarning]:
    plain = [link for link in links if _origin(link.target, targets).startswith("http://")]
    if plain:
        first = _origin(plain[0].target, targets)[:200]
        yield MailWarning(
            "http_link", f"Links to http instead of https: {len(plain)}, the first is {first}."
        )
    empty = [link for link in links if link.target in {"", "#"}]
    if empty:
        yield MailWarning("empty_link", f"Links that lead nowhere: {len(empty)}.")
    for link in links:
        shown = _HOST.fullmatch(link.text)
        if not shown:
            continue
        origin = _origin(link.target, targets)
        host = _host_of(origin)
        if host and not _same_site(shown[1].lower(), host):
            yield MailWarning(
                "link_text",
                f"A link reads {link.text[:100]} and leads to {host}: programs warn of fraud.",
            )
        elif origin != link.target:
            yield MailWarning(
                "link_text",
                f"A link reads {link.text[:100]} and is tracked: programs may warn of fraud; "
                "`preventscam` leaves such links alone.",
            )


def _origin(target: str, targets: Mapping[str, str]) -> str:
    """Return where a link leads that may go by way of the tracker."""
    return targets.get(target, target)


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _same_site(shown: str, host: str) -> bool:
    shown, host = shown.removeprefix("www."), host.removeprefix("www.")
    return shown == host or host.endswith(f".{shown}")


def _about_size(content: MailContent) -> Iterator[MailWarning]:
    size = len(content.raw)
    if size > LARGE_MAIL:
        yield MailWarning("large", f"The mail has {size >> 20} MiB; many servers refuse so much.")
    for file in (*content.embeds, *content.attachments):
        if file.media_type.startswith("image/") and file.part.size > LARGE_IMAGE * 4 // 3:
            yield MailWarning("huge_image", f"The image {file.name} has more than 1 MiB.")
