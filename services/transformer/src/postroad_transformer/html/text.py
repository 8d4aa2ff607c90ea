"""What an HTML text says to readers without HTML.

Headings, paragraphs, list items and table rows stand on lines of their own, the address of each
link behind its words, unless these are the address, and what images say of themselves. It is no
picture of the page.
"""

import re
from collections.abc import Sequence
from html import unescape

from postroad_transformer.html.page import HtmlPage
from postroad_transformer.html.urls import target_of
from postroad_transformer.html.visibility import seen_tags

MAX_TEXT = 100_000  # characters; what is beyond is left to the HTML
MAX_LINK = 2_000

_SILENT = frozenset({"<style", "<script", "<title", "<xmp", "<iframe", "<noembed", "<noframes"})
_LINES = frozenset(
    "br p div tr table ul ol li dt dd h1 h2 h3 h4 h5 h6 hr blockquote section article header "  # noqa: SIM905 - a list of words
    "footer address pre form".split()
)
_APART = frozenset("p table ul ol h1 h2 h3 h4 h5 h6 hr blockquote".split())  # noqa: SIM905 - the same
_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_INVISIBLE = re.compile("[\u00ad\u034f\u200b-\u200d\u2060\ufeff]")


def text_of(html: str) -> str:
    """Return what the page `html` says, in lines; at most `MAX_TEXT` characters."""
    page = HtmlPage(html)
    pieces: list[str] = [_text(page.pieces[0], in_pre=False)]
    link: str | None = None
    words_at = 0  # where the words of the link begin
    in_pre = False
    for number, shown, speaks in seen_tags(page):
        name = page.names[number] if shown else "<hidden"
        plain = name.lstrip("</")
        content = page.pieces[3 * number + 3]
        opens = name[1:2].isalpha()
        if opens or (name[1] == "/" and plain):
            content = content[1:]
        if plain == "pre":
            in_pre = opens
        if plain in _LINES:
            pieces.append("\0\0" if plain in _APART else "\0")
            if name == "<li":
                pieces.append("- ")
        elif plain in {"td", "th"}:
            pieces.append(" ")
        elif name == "<img":
            pieces.append(page.attributes(number).text("alt") or "")
        elif plain == "a":
            if link is not None:
                pieces.append(_address(link, pieces[words_at:]))
            words_at = len(pieces)
            link = target_of(page.attributes(number).text("href") or "") if opens else None
            if link is not None and len(link) > MAX_LINK:
                link = None
        if speaks and name not in _SILENT:
            pieces.append(_text(content, in_pre=in_pre))
    if link is not None:
        pieces.append(_address(link, pieces[words_at:]))
    flat = _SPACE.sub(" ", _INVISIBLE.sub("", "".join(pieces)))
    lines = [line.strip().replace("\1", " ").rstrip() for line in flat.split("\0")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return text[:MAX_TEXT] + "\n"


def _address(link: str, words: Sequence[str]) -> str:
    """Return what stands behind the words of a link."""
    return "" if "".join(words).strip() == link else f" <{link}>"


def _text(content: str, *, in_pre: bool) -> str:
    text = unescape(content).replace("\0", "").replace("\1", "")
    if not in_pre:
        return text
    return text.replace("\r\n", "\n").replace("\n", "\0").replace(" ", "\1")
