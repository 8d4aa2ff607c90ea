"""The HTML of a mail as a page of the dashboard may frame it, and the links in it.

The page is shown in a sandbox without scripts, and its policy keeps the network out. What is done
here adds to that: the whole page is inert, so that no click leads away from it; images that came
with the mail are put in; the tracker's URLs of images become those that the sender wrote, so that
looking is not counted as an opening by the reader; and it is light or dark as asked for, whatever
the visitor's screen is.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape

from postroad_common.tokens import LinkKind, LinkSigner, LinkToken
from postroad_ingress_http.history.content import MailContent, StoredFile

MAX_LINKS = 500
MAX_INLINED = 8_388_608  # octets of images that are put into a page
_EMPTY_IMAGE = "data:,"
_GUARD = '<html inert><head><base target="_blank"><meta name="color-scheme" content="{}">'
_PREFERS = re.compile(
    r"\(\s{0,9}prefers-color-scheme\s{0,9}:\s{0,9}(dark|light)\s{0,9}\)", re.IGNORECASE
)
_ALWAYS, _NEVER = "(min-width: 0)", "(max-width: 0)"
_DOCTYPE = re.compile(r"\A\s{0,1000}<!doctype[^>]{0,400}>", re.IGNORECASE)
_TRACKED = re.compile(
    r"(https?://[A-Za-z0-9.:\[\]-]{1,255}(?:/[A-Za-z0-9._~-]{1,100}){0,3}?)"
    r"(/[a-z][A-Za-z0-9_-]{36}(?:/[A-Za-z0-9_-]{1,16000}|\.gif)?)"
)
_ANCHOR = re.compile(
    r"""<a(?=[\s/])[^<>]{0,20000}?\shref\s{0,9}=\s{0,9}(?:"([^"<>]*)"|'([^'<>]*)'|([^\s"'<>]+))""",
    re.IGNORECASE,
)
_END = re.compile(r"</a\s*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_SHOWN_TEXT = 200
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


@dataclass(frozen=True, slots=True)
class HtmlLink:
    """A link of the HTML: its text, where it leads, and whether by way of the tracker."""

    text: str
    target: str
    tracked: bool
    clicks: int = 0


def frame(content: MailContent, signer: LinkSigner, *, dark: bool = False) -> str:
    """Return the HTML of a mail as a page, or its text where it has no HTML."""
    html = content.html
    if html is None:
        guard = _GUARD.format(_scheme(dark=dark))
        return f"{guard}<pre style='white-space:pre-wrap'>{escape(content.text or '')}</pre>"
    return guarded(_with_embedded(_untracked(html, signer), content.embeds), dark=dark)


def guarded(html: str, *, dark: bool = False) -> str:
    """Return HTML as an inert page, light or dark."""
    scheme = _scheme(dark=dark)
    html = _PREFERS.sub(lambda found: _ALWAYS if found[1].lower() == scheme else _NEVER, html)
    doctype = _DOCTYPE.match(html)
    at = doctype.end() if doctype else 0
    return f"{html[:at]}{_GUARD.format(scheme)}{html[at:]}"


def _scheme(*, dark: bool) -> str:
    return "dark" if dark else "light"


def find_links(html: str, signer: LinkSigner, clicked: Iterable[str] = ()) -> list[HtmlLink]:
    """Return the links in their order, the first five hundred; `clicked` are targets of clicks."""
    counts: dict[str, int] = {}
    for target in clicked:
        counts[target] = counts.get(target, 0) + 1
    links: list[HtmlLink] = []
    for match in _ANCHOR.finditer(html):
        if len(links) >= MAX_LINKS:
            break
        url = unescape(match[1] or match[2] or match[3] or "").strip()
        token = _token(url, signer)
        is_tracked = token is not None and token.kind is LinkKind.CLICK
        target = _target(token) if token is not None and is_tracked else url
        links.append(HtmlLink(_label(html, match.end()), target, is_tracked, counts.get(target, 0)))
    return links


def _label(html: str, start: int) -> str:
    """Return the text from `start`, within an anchor, to its end."""
    inner_at = html.find(">", start, start + 20_000) + 1
    end = _END.search(html, inner_at, inner_at + 5000) if inner_at else None
    inner = html[inner_at : end.start()] if end else ""
    return " ".join(unescape(_TAG.sub(" ", inner)).split())[:_SHOWN_TEXT]


def _token(url: str, signer: LinkSigner) -> LinkToken | None:
    match = _TRACKED.fullmatch(url)
    return signer.read_path(match[2]) if match else None


def _target(token: LinkToken) -> str:
    return (token.target or b"").decode("utf-8", "replace")


def _untracked(html: str, signer: LinkSigner) -> str:
    """Return the HTML with the tracker's images replaced by what they stand for."""

    def replaced(match: re.Match[str]) -> str:
        token = signer.read_path(match[2])
        if token is None:
            return match[0]
        match token.kind:
            case LinkKind.IMAGE:
                return escape(_target(token))
            case LinkKind.OPEN:
                return _EMPTY_IMAGE
            case LinkKind.HOSTED:  # the same image, not counted
                links = signer.for_message(token.message_id)
                path = links.url(LinkKind.PICTURE, token.number, token.target or b"")
                return match[1] + path.removeprefix(signer.base_url)
            case _:
                return match[0]

    return _TRACKED.sub(replaced, html)


def _with_embedded(html: str, embeds: Sequence[StoredFile]) -> str:
    """Return the HTML with the images that came with the mail put in, as far as there is room."""
    left = MAX_INLINED
    urls: dict[str, str] = {}
    for file in embeds:
        if file.media_type not in _IMAGES or not file.content_id or file.part.size > left:
            continue
        data = file.data
        left -= len(data)
        urls[file.content_id] = f"data:{file.media_type};base64,{base64.b64encode(data).decode()}"
    return _with_urls(html, urls) if urls else html


def _with_urls(html: str, urls: Mapping[str, str]) -> str:
    pattern = "|".join(re.escape(cid) for cid in sorted(urls, key=len, reverse=True))
    # Each image once: a mail that shows one a thousand times must not become a thousand of it.
    seen: set[str] = set()

    def replaced(match: re.Match[str]) -> str:
        if match[1] in seen and len(urls[match[1]]) > 10_000:
            return match[0]
        seen.add(match[1])
        return urls[match[1]]

    return re.sub(f"cid:({pattern})", replaced, html)
