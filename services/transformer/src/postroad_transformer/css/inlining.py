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
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from typing import Any, Literal

import css_inline
import cssutils  # type: ignore[import-untyped] # has none
from lxml import etree  # type: ignore[import-untyped] # the same
from premailer import Premailer
from premailer.premailer import PremailerError

from postroad_transformer.html.attributes import Attributes, attribute_text
from postroad_transformer.html.page import VOID, Page

EngineName = Literal["css-inline", "premailer"]
Engine = Callable[[str, str], dict[int, str]]

MAX_STYLE = 262_144  # characters of all style elements
MAX_MATCHES = 5_000_000  # elements times rules
MAX_DEPTH = 1_000  # the engines recurse; css-inline ends the process between 10,000 and 30,000
MAX_REMEMBERED = 65_536  # characters of the elements of one text
MAX_REOPENED = 200_000  # elements times formatting elements left open, which HTML opens again

_STYLE = frozenset({"style"})
_STYLE_ELEMENT = frozenset({"<style"})
_TARGETS = frozenset({"href", "src", "alt", "title"})
_LEADING = frozenset({"<a", "<area", "<img"})
_NOT_FED = frozenset({"<!", "<?", "</", "<link", "</style"})
_UNSTYLED = frozenset({"base", "head", "link", "meta", "noscript", "script", "style", "title"})
_FORMATTING = frozenset(
    # as in the HTML standard, 13.2.4.3
    "a b big code em font i nobr s small strike strong tt u".split()  # noqa: SIM905 - a list of words
)
_MARK = "data-node"  # the attribute with the number, in texts that do not use the name themselves
# Behind the mark. The engines may move attributes that stood before it behind it. Atomic groups,
# not `)*+`: see `html.page` about Python before 3.11.5.
_DECLARED = re.compile(r'"\d+"(?>(?: (?!style=)[^\s="]+(?:="[^"]*")?)*) style="([^"]*)"')
# lxml writes single quotes around a value that has double quotes in it.
_DECLARED_BY_LXML = (
    r"""="(\d+)"(?>(?: (?!style=)[^\s="'>]+(?:="[^"]*"|='[^']*')?)*)"""
    r""" style=(?:"([^"]*)"|'([^']*)')"""
)
_IMPORTANT = re.compile(r"!\s*important\s*$", re.IGNORECASE)
_DECLARATION = re.compile(
    r"""(?:[^;'"()]++|"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?"""
    r"""|\((?:[^'")]++|"[^"]*+"?|'[^']*+'?)*+\)?|\))++""",
    re.DOTALL,
)
_CSS_STRING = re.compile(
    r""""((?:[^"\\\n]|\\.)*+)(?:"|\Z)|'(?:[^'\\\n]|\\.)*+(?:'|\Z)|/\*.*?(?:\*/|\Z)""", re.DOTALL
)
# Comments and strings go first, because `@` means nothing in them (CSS Syntax 3, 4.3.2 and 4.3.5);
# each alternative runs to the end of the text at worst once, so that the whole is linear.
_IMPORT = re.compile(
    r"""/\*.*?(?:\*/|\Z)|"(?:[^"\\\n]|\\.)*+(?:"|(?=\n)|\Z)|'(?:[^'\\\n]|\\.)*+(?:'|(?=\n)|\Z)"""
    r"""|@[^;{}"'(@/]{0,40}+(?:"[^"]*+"?|'[^']*+'?|(?<=url)\([^)]*+\)?)[^;{}]*+;?""",
    re.IGNORECASE | re.DOTALL,
)
_REFERENCE_END = re.compile(r"&#?[0-9A-Za-z]{1,40};\Z")
_NESTING = re.compile(r"[(\[{]+")
_MAX_NESTING = 64


class CssRefused(ValueError):  # noqa: N818 - says what happened to the stylesheet
    """The CSS is not inlined; the message is the reason for the timeline."""


def inline(html: str, engine: EngineName = "css-inline") -> str:
    """`html` with the CSS of its style elements inlined; the same text if there is none.

    Raises:
        CssRefused: beyond the limits, or the engine gave up.
    """
    page = Page(html)
    inline_styles(page, engine)
    return "".join(part for part in page.segments() if isinstance(part, str))


def inline_styles(page: Page, engine: EngineName) -> bool:
    """Inline the CSS of `page`; whether there was any that applies to its elements.

    Raises:
        CssRefused: beyond the limits, or the engine gave up; nothing has changed then.
    """
    sheets = {
        number: page.content(number)
        for number in page.find(_STYLE_ELEMENT)
        if _applies(page.attributes(number))
    }
    if not any("{" in css for css in sheets.values()):
        return False
    _check_limits(page.names, "".join(sheets.values()))
    mark = _MARK
    if _MARK in "".join(page.pieces).lower():
        mark = f"data-{secrets.token_hex(8)}"
    feed, own = _numbered(page, sheets, mark)
    ask = _remembered if len(feed) <= MAX_REMEMBERED else _remembered.__wrapped__
    declared = ask(engine, feed, mark)
    page.insert(
        {
            number: _attribute(declarations)
            for number, declarations in declared.items()
            if number not in own
        }
    )
    for number, style in own.items():
        declarations = declared.get(number)
        if declarations:
            own_style, quote = style.raw("style") or "", style.quote("style")
            page.put(number, "style", _merged(own_style, quote, declarations))
    return bool(declared)


@functools.lru_cache(maxsize=256)
def _remembered(engine: EngineName, feed: str, mark: str) -> dict[int, str]:
    """Return the engine's answer. Mails of one template differ in what the feed leaves out."""
    return ENGINES[engine](feed, mark)


@functools.lru_cache(maxsize=2048)
def _attribute(declarations: str) -> str:
    style = "; ".join(filter(None, _by_importance(declarations)))
    return f' style="{_quoted(style)}"'


def _applies(found: Attributes) -> bool:
    """Whether the style element is for every screen: no media query, no foreign language."""
    kind = (found.text("type") or "").strip().lower()
    media = (found.text("media") or "").lower()
    medias = {part.strip() for part in media.split(",")}
    return kind in {"", "text/css"} and not medias.isdisjoint({"", "all", "screen"})


def _check_limits(names: Sequence[str], css: str) -> None:
    if len(css) > MAX_STYLE:
        raise CssRefused("the style elements are too large")
    depth = deepest = 0
    for run in _NESTING.findall(css):
        deepest = max(deepest, len(run))
    if deepest > _MAX_NESTING:
        raise CssRefused("the style elements are nested too deeply")
    if len(names) * (css.count("{") + css.count(",")) > MAX_MATCHES:
        raise CssRefused("too many rules for so many elements")
    if len(names) <= MAX_DEPTH and len(names) ** 2 <= MAX_REOPENED:
        return
    deepest = 0
    open_formatting: Counter[str] = Counter()
    for opening in names:
        name = opening.lstrip("</")
        if not name[:1].isalpha() or name in VOID:
            continue
        step = -1 if opening[1] == "/" else 1
        depth += step
        deepest = max(deepest, depth)
        if name in _FORMATTING:
            open_formatting[name] += step
    if deepest > MAX_DEPTH:
        raise CssRefused("the elements are nested too deeply")
    if len(names) * sum(count for count in open_formatting.values() if count > 0) > MAX_REOPENED:
        raise CssRefused("too many formatting elements are never closed")


def _marks(mark: str, count: int) -> Sequence[str]:
    if mark == _MARK and count <= len(_MARKS):
        return _MARKS
    return [f' {mark}="{number}">' for number in range(count)]


_MARKS = tuple([f' {_MARK}="{number}">' for number in range(2_000)])


def _numbered(
    page: Page, sheets: Mapping[int, str], mark: str
) -> tuple[str, dict[int, Attributes]]:
    """Return the elements for the engine, and the attributes of those with a style of their own.

    The number stands behind all other attributes, so that the engine puts the style next to it.
    Left out is what no selector of these sheets looks at: text and comments, unless there is
    `:empty`; where links and images lead, unless there are attribute selectors.
    """
    names, pieces = page.names, page.pieces
    marks = _marks(mark, len(names))
    unmarked = {
        name for name in set(names) if name[1] in "/!?" or name.removeprefix("<") in _UNSTYLED
    }
    ends = [">" if name in unmarked else marks[at] for at, name in enumerate(names)]
    feed = pieces[1:]
    feed[2::3] = ends
    for number in page.find(_NOT_FED):
        feed[3 * number : 3 * number + 3] = "", "", ""
    for number in page.find(_STYLE_ELEMENT):
        css = _clean(sheets.get(number, ""))
        feed[3 * number : 3 * number + 3] = "<style>", "", css + "</style>"
    left_out = frozenset() if any("[" in css for css in sheets.values()) else _TARGETS
    insides = feed[1::3]
    own: dict[int, Attributes] = {}
    for number, inside in enumerate(map(str.lower, insides)):
        if "style" in inside and names[number] not in unmarked:
            found = page.attributes(number)
            if "style" in found:
                own[number] = found
                insides[number] = found.without(left_out, _STYLE)
    if left_out:
        for number in page.find(_LEADING):
            insides[number] = page.attributes(number).without(left_out, _STYLE)
    feed[1::3] = insides
    if any(":empty" in css.lower() for css in sheets.values()):
        feed[2::3] = [
            end + (text if name in _NOT_FED else text[1:])
            for end, name, text in zip(feed[2::3], names, pieces[3::3], strict=True)
        ]
    return "".join(feed), own


def _clean(css: str) -> str:
    """`css` without imports, and with no string that needs both kinds of quotes."""
    if "@" in css:
        css = _IMPORT.sub(_without_import, css)
    if '"' not in css or "'" not in css:
        return css
    # css-inline turns " into ' without a look at what is between.
    return _CSS_STRING.sub(
        lambda match: '"' + match[1].replace("'", "\\27 ") + '"' if match[1] else match[0], css
    )


def _without_import(match: re.Match[str]) -> str:
    found = match[0]
    if found[0] != "@" or found.lower().startswith(("@charset", "@namespace")):
        return found
    return ""


@functools.lru_cache(maxsize=2048)
def _merged(own: str, quote: str, declarations: str) -> str:
    """Return the author's own style attribute with `declarations` around what it declares."""
    before, after = _by_importance(declarations)
    kept = own if quote else own.replace('"', "&quot;")
    kept = kept.strip()
    if attribute_text(kept).rstrip().endswith(";") and not _REFERENCE_END.search(kept):
        kept = kept[:-1].rstrip()  # one only: the one before it may end a reference
    parts = (_escaped(before, quote), kept, _escaped(after, quote))
    style = "; ".join([part for part in parts if part])
    return style if quote else f'"{style}"'


def _by_importance(declarations: str) -> tuple[str, str]:
    """Return the normal and the important declarations; the latter without their mark."""
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
    return _quoted(css) if quote != "'" else css.replace("&", "&amp;").replace("'", "&#39;")


@functools.cache
def _css_inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(
        keep_style_tags=False, keep_link_tags=False, load_remote_stylesheets=False
    )


def _by_css_inline(feed: str, mark: str) -> dict[int, str]:
    try:
        document = _css_inliner().inline(feed)
    except (css_inline.InlineError, ValueError) as error:
        raise CssRefused(f"css-inline: {str(error)[:200]}") from error
    # The engine writes declarations as they are in the stylesheet, without escaping. To search for
    # the marks with a regular expression would take as long as the engine itself.
    declared: dict[int, str] = {}
    for piece in document.split(f" {mark}=")[1:]:
        if ' style="' in piece:
            _, number, between, style, *_ = piece.split('"', 4)
            if between != " style=":
                match = _DECLARED.match(piece)
                style = match[1] if match else ""
            if style:
                declared.setdefault(int(number), style)
    return declared


class _OfflinePremailer(Premailer):  # type: ignore[misc] # premailer has no types
    """Premailer whose CSS parser cannot fetch what a stylesheet imports."""

    def _parse_css_string(self, css_body: str, validate: bool = True) -> Any:  # noqa: FBT001, FBT002 - the parent's signature
        parser = cssutils.CSSParser(
            loglevel=logging.CRITICAL, validate=validate, fetcher=lambda _url: (None, b"")
        )
        return parser.parseString(css_body)


def _by_premailer(feed: str, mark: str) -> dict[int, str]:
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
    return {
        int(number): unescape(one or other)
        for number, one, other in reversed(re.findall(mark + _DECLARED_BY_LXML, document))
        if one or other
    }


ENGINES: dict[EngineName, Engine] = {"css-inline": _by_css_inline, "premailer": _by_premailer}
