"""CSS inlining: the rules of `<style>` copied into the `style` attributes of what they match.

The engines (css-inline, and premailer as the second) only say which declarations an element
gets. They see a copy of the document in which every element carries a number; the declarations
they found are then put into the original, so that nothing else of it changes: style elements with
their at-rules and pseudo-classes stay, and so do comments for Outlook, VML, entities, template
placeholders and the author's own spelling. `<link>` and `@import` are never followed: the engines
get neither, and have network and files switched off besides.

Order within the attribute: rules, then what the author wrote there, then rules marked
`!important`, without the mark, or the `!important` that media queries for small screens carry in
the kept style element could no longer win.
"""

import functools
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from typing import Any, Literal

import css_inline
import cssutils  # type: ignore[import-untyped] # has none
from lxml import etree  # type: ignore[import-untyped] # the same
from premailer import Premailer
from premailer.premailer import PremailerError

from postroad_transformer.edits import Edit, splice
from postroad_transformer.markup import VOID, Page, Tag, Value

EngineName = Literal["css-inline", "premailer"]
Engine = Callable[[str], dict[int, str]]

MAX_STYLE = 262_144  # characters of all style elements
MAX_MATCHES = 5_000_000  # elements times rules
MAX_DEPTH = 1_000  # the engines recurse; css-inline ends the process between 10,000 and 30,000
MAX_REMEMBERED = 65_536  # characters of the elements of one text
MAX_REOPENED = 200_000  # elements times formatting elements left open, which HTML opens again

_MARK = "data-node"
_STYLE = frozenset({"style"})
_STYLE_AND_TARGETS = frozenset({"style", "href", "src", "alt", "title"})
_NO_ATTRIBUTES = 2  # characters behind the name, at most: `>` or `/>`
_LEADING = frozenset({"a", "area", "img"})
_UNSTYLED = frozenset({"base", "head", "link", "meta", "noscript", "script", "style", "title"})
_FORMATTING = frozenset(
    # as in the HTML standard, 13.2.4.3
    "a b big code em font i nobr s small strike strong tt u".split()  # noqa: SIM905 - a list of words
)
# Atomic groups, not `)*+`: see `markup` about Python before 3.11.5.
_DECLARED = re.compile(_MARK + r'="(\d+)"(?>(?: (?!style=)[^\s="]+(?:="[^"]*")?)*) style="([^"]*)"')
# lxml writes single quotes around a value that has double quotes in it.
_DECLARED_BY_LXML = re.compile(
    _MARK
    + r"""="(\d+)"(?>(?: (?!style=)[^\s="'>]+(?:="[^"]*"|='[^']*')?)*)"""
    + r""" style=(?:"([^"]*)"|'([^']*)')"""
)
_IMPORTANT = re.compile(r"!\s*important\s*$", re.IGNORECASE)
_DECLARATION = re.compile(
    r"""(?:[^;'"()]++|"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?"""
    r"""|\((?:[^'")]++|"[^"]*+"?|'[^']*+'?)*+\)?|\))++""",
    re.DOTALL,
)
_CSS_STRING = re.compile(r""""((?:[^"\\\n]|\\.)*+)"|'(?:[^'\\\n]|\\.)*+'|/\*.*?\*/""", re.DOTALL)
_IMPORT = re.compile(
    r"@[^;{}\"'(]{0,40}(?:\"[^\"]*\"|'[^']*'|url\s*\([^)]*\))[^;{}]*;?", re.IGNORECASE
)
_NESTING = re.compile(r"[(\[{]+")
_MAX_NESTING = 64


class CssRefused(ValueError):  # noqa: N818 - says what happened to the stylesheet
    """The CSS is not inlined; the message is the reason for the timeline."""


def inline(html: str, engine: EngineName = "css-inline") -> str:
    """`html` with the CSS of its style elements inlined; the same text if there is none.

    Raises:
        CssRefused: beyond the limits, or the engine gave up.
    """
    edits = style_edits(Page(html), engine)
    return "".join(part for part in splice(html, edits) if isinstance(part, str))


def style_edits(page: Page, engine: EngineName) -> list[Edit]:
    """The edits that inline the CSS of `page`; none if there is no CSS.

    Raises:
        CssRefused: beyond the limits, or the engine gave up.
    """
    text, tags = page.text, page.tags
    sheets = {
        index: text[tag.content : tag.end]
        for index, tag in enumerate(tags)
        if tag.name == "style" and tag.opens and _applies(page, index)
    }
    if not any("{" in css for css in sheets.values()):
        return []
    _check_limits(tags, "".join(sheets.values()))
    feed, own = _numbered(page, sheets)
    ask = _remembered if len(feed) <= MAX_REMEMBERED else _remembered.__wrapped__
    declared = ask(engine, feed)
    edits = []
    for number, declarations in declared.items():
        if number >= len(tags) or not declarations:
            continue
        value = own.get(number)
        if value is None:
            at = tags[number].attributes
            edits.append(Edit(at, at, _attribute(declarations)))
        else:
            edits.append(_merged(text, value, declarations))
    return edits


@functools.lru_cache(maxsize=256)
def _remembered(engine: EngineName, feed: str) -> dict[int, str]:
    """The answer of the engine. Mails made from one template differ in what the feed leaves out."""
    return ENGINES[engine](feed)


@functools.lru_cache(maxsize=2048)
def _attribute(declarations: str) -> tuple[str]:
    style = "; ".join(filter(None, _by_importance(declarations)))
    return (f' style="{_quoted(style)}"',)


def _applies(page: Page, index: int) -> bool:
    """Whether the style element is for every screen: no media query, no foreign language."""
    found = page.attributes(index)
    kind = page.value(found["type"]).strip().lower() if "type" in found else ""
    media = page.value(found["media"]).lower() if "media" in found else ""
    medias = {part.strip() for part in media.split(",")}
    return kind in {"", "text/css"} and not medias.isdisjoint({"", "all", "screen"})


def _check_limits(tags: Sequence[Tag], css: str) -> None:
    if len(css) > MAX_STYLE:
        raise CssRefused("the style elements are too large")
    depth = deepest = 0
    for run in _NESTING.findall(css):
        deepest = max(deepest, len(run))
    if deepest > _MAX_NESTING:
        raise CssRefused("the style elements are nested too deeply")
    if len(tags) * (css.count("{") + css.count(",")) > MAX_MATCHES:
        raise CssRefused("too many rules for so many elements")
    if len(tags) <= MAX_DEPTH and len(tags) ** 2 <= MAX_REOPENED:
        return
    deepest = 0
    open_formatting: Counter[str] = Counter()
    for tag in tags:
        if tag.name in VOID:
            continue
        depth += 1 if tag.opens else -1
        deepest = max(deepest, depth)
        if tag.name in _FORMATTING:
            open_formatting[tag.name] += 1 if tag.opens else -1
    if deepest > MAX_DEPTH:
        raise CssRefused("the elements are nested too deeply")
    if len(tags) * sum(count for count in open_formatting.values() if count > 0) > MAX_REOPENED:
        raise CssRefused("too many formatting elements are never closed")


def _numbered(page: Page, sheets: Mapping[int, str]) -> tuple[str, dict[int, Value]]:
    """The elements for the engine, and the style attributes that were taken from them.

    Left out is what no selector of these sheets looks at: text and comments, unless there is
    `:empty`; where links and images lead, unless there are attribute selectors.
    """
    text = page.text
    keeps_text = any(":empty" in css.lower() for css in sheets.values())
    left_out = _STYLE if any("[" in css for css in sheets.values()) else _STYLE_AND_TARGETS
    pieces: list[str] = []
    own: dict[int, Value] = {}
    done = 0
    for number, tag in enumerate(page.tags):
        name, opens, start, at, _, end, _ = tag
        if keeps_text:
            pieces.append(text[done:start])
        done = end
        if not opens:
            pieces.append(text[start:end])
        elif name in _UNSTYLED:
            if name == "style":
                pieces += ("<style>", _clean(sheets.get(number, "")))
            elif name != "link":
                pieces.append(text[start:end])
        else:
            pieces.append(f'{text[start:at]} {_MARK}="{number}"')
            if end - at > _NO_ATTRIBUTES and (name in _LEADING or "style" in text[at:end].lower()):
                found = page.attributes(number)
                for attribute, value in found.items():
                    if attribute in left_out:
                        stop = value.outer if attribute == "style" else value.outer + len(attribute)
                        pieces += (text[at:stop], " ")
                        at = value.outer_end
                if "style" in found:
                    own[number] = found["style"]
            pieces.append(text[at:end])
    return "".join(pieces), own


def _clean(css: str) -> str:
    """`css` without imports, and with no string that needs both kinds of quotes."""
    if "@" in css:
        css = _IMPORT.sub(lambda match: match[0] if _is_other_rule(match[0]) else "", css)
    if '"' not in css or "'" not in css:
        return css
    # css-inline turns " into ' without a look at what is between.
    return _CSS_STRING.sub(
        lambda match: '"' + match[1].replace("'", "\\27 ") + '"' if match[1] else match[0], css
    )


def _is_other_rule(rule: str) -> bool:
    return rule.lower().startswith(("@charset", "@namespace"))


def _merged(text: str, own: Value, declarations: str) -> Edit:
    """The edit that puts `declarations` around those of the author's own style attribute."""
    before, after = _by_importance(declarations)
    quote = own.quote or '"'
    kept = text[own.start : own.end]
    if not own.quote:
        kept = kept.replace('"', "&quot;")
    kept = kept.strip().rstrip(";").rstrip()
    parts = (_escaped(before, quote), kept, _escaped(after, quote))
    style = "; ".join(part for part in parts if part)
    if own.quote:
        return Edit(own.start, own.end, (style,))
    return Edit(own.outer, own.outer_end, (f'style="{style}"',))


def _by_importance(declarations: str) -> tuple[str, str]:
    """The normal and the important declarations; the latter without their mark."""
    if "!" not in declarations:
        return declarations.strip().rstrip(";"), ""
    normal: list[str] = []
    important: list[str] = []
    for part in _DECLARATION.findall(declarations):
        declaration = part.strip()
        plain = _IMPORTANT.sub("", declaration).rstrip()
        if declaration:
            (normal if plain == declaration else important).append(plain)
    return "; ".join(normal), "; ".join(important)


def _quoted(css: str) -> str:
    return css.replace("&", "&amp;").replace('"', "&quot;")


def _escaped(css: str, quote: str) -> str:
    return _quoted(css) if quote == '"' else css.replace("&", "&amp;").replace("'", "&#39;")


@functools.cache
def _css_inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(
        keep_style_tags=False, keep_link_tags=False, load_remote_stylesheets=False
    )


def _by_css_inline(feed: str) -> dict[int, str]:
    try:
        document = _css_inliner().inline(feed)
    except (css_inline.InlineError, ValueError) as error:
        raise CssRefused(f"css-inline: {str(error)[:200]}") from error
    # The engine writes declarations as they are in the stylesheet, without escaping.
    declared: dict[int, str] = {}
    for piece in document.split(f' {_MARK}="')[1:]:
        number, _, rest = piece.partition('"')
        before, found, style = rest.partition(' style="')
        if not found:
            continue
        if ">" in before:  # in a value of this element, or the style is of one without a number
            match = _DECLARED.match(f'{_MARK}="{piece}')
            style = match[2] if match else ""
        declared.setdefault(int(number), style.partition('"')[0])
    return declared


class _OfflinePremailer(Premailer):  # type: ignore[misc] # premailer has no types
    """Premailer whose CSS parser cannot fetch what a stylesheet imports."""

    def _parse_css_string(self, css_body: str, validate: bool = True) -> Any:  # noqa: FBT001, FBT002 - the parent's signature
        parser = cssutils.CSSParser(
            loglevel=logging.CRITICAL, validate=validate, fetcher=lambda _url: (None, b"")
        )
        return parser.parseString(css_body)


def _by_premailer(feed: str) -> dict[int, str]:
    try:
        document = _OfflinePremailer(
            feed,
            keep_style_tags=False,
            remove_classes=False,
            strip_important=False,
            allow_network=False,
            allow_loading_external_files=False,
            disable_validation=True,
            disable_basic_attributes=["width", "height", "align", "valign", "bgcolor"],
            cssutils_logging_level=logging.CRITICAL,
            cache_css_parsing=False,
        ).transform(pretty_print=False)
    except (PremailerError, etree.LxmlError, ValueError, LookupError, TypeError) as error:
        raise CssRefused(f"premailer: {str(error)[:200]}") from error
    declared: dict[int, str] = {}
    for match in _DECLARED_BY_LXML.finditer(document):
        declared.setdefault(int(match[1]), unescape(match[2] or match[3]))
    return declared


ENGINES: dict[EngineName, Engine] = {"css-inline": _by_css_inline, "premailer": _by_premailer}
