"""CSS inlining: the rules of `<style>` copied into the `style` attributes of what they match.

The rules are read here (`sheet`, `selectors`), an engine says which elements they match
(`engines`, which see a copy of the page with numbers, `feed`), and the declarations are put in
order here (`cascade`). They are then put into the original, so that nothing else of it changes:
style elements with their at-rules and pseudo-classes stay, and so do comments for Outlook, VML,
entities, template placeholders and the author's own spelling. Only what would then lose to an
attribute in them is marked `!important` (`kept`). `<link>` and `@import` are never followed.

Order within the attribute: rules, then what the author wrote there, then rules marked
`!important`, without the mark.
"""

import functools
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from postroad_common.caching import Cache
from postroad_transformer import budget
from postroad_transformer.css.cascade import Cascade, Declared, cascade_of, escape
from postroad_transformer.css.engines import ENGINES, CssRefused, EngineName
from postroad_transformer.css.feed import MARK, make_feed
from postroad_transformer.css.kept import properties_of
from postroad_transformer.css.sheet import Sheet, make_important, what_closes
from postroad_transformer.html.attributes import Attributes, attribute_text
from postroad_transformer.html.page import VOID, HtmlPage

MAX_STYLE = 262_144  # characters of all style elements
MAX_MATCHES = 5_000_000  # elements times rules
MAX_DEPTH = 1_000  # the engines recurse; css-inline ends the process between 10,000 and 30,000
MAX_REMEMBERED = 65_536  # characters of the elements of one text
MAX_REOPENED = 200_000  # elements times formatting elements left open, which HTML opens again
MAX_GROWTH = 4  # what is added, as a multiple of the HTML
MAX_ADDED = 4 * 1024 * 1024  # characters that are added

MAX_ATTRIBUTES = 256  # of one tag; the parser takes quadratic time in them

_WEIGHTS: Mapping[EngineName, int] = {"css-inline": 1, "premailer": 50}
_STYLE_ELEMENT = frozenset({"<style"})
_CSS = frozenset({"", "text/css"})  # the types of style elements
_NOTHING = frozenset[str]()
_ONCE = ("<html", "<body")  # a second tag gives the element what the first one lacks
_FORMATTING = frozenset(
    # as in the HTML standard, 13.2.4.3
    "a b big code em font i nobr s small strike strong tt u".split()  # noqa: SIM905 - a list of words
)
_REFERENCE_END = re.compile(r"&#?[0-9A-Za-z]{1,40};\Z")


def inline(html: str, engine: EngineName = "css-inline") -> str:
    """`html` with the CSS of its style elements inlined; the same text if there is none.

    Raises:
        CssRefused: beyond the limits, or the engine gave up.
    """
    page = HtmlPage(html)
    inline_styles(page, engine)
    return "".join(part for part in page.segments() if isinstance(part, str))


def inline_styles(page: HtmlPage, engine: EngineName, *, light: bool = False) -> bool:
    """Inline the CSS of `page`; whether there was any that applies to its elements.

    Raises:
        CssRefused: beyond the limits, or the engine gave up; nothing has changed then.
        HeavyError: with `light`, it is more than the event loop may do; the same.
    """
    numbers, sheets = _sheets_of(page)
    if not any(sheet.always and "{" in sheet.css for sheet in sheets):
        return False
    size = sum(len(sheet.css) for sheet in sheets)
    if size > MAX_STYLE:
        raise CssRefused("the style elements are too large")
    if light:
        budget.check_sheets(size)
    cascade = cascade_of(sheets)
    if not cascade:
        return False
    _check_limits(page, cascade)
    if light:
        budget.check_matching(len(page.names), len(cascade) * _WEIGHTS[engine])
    mark = MARK
    if MARK in "".join(page.pieces).lower():
        mark = f"data-{secrets.token_hex(8)}"
    feed, own = make_feed(page, cascade, mark)
    answer = _match(engine, cascade, sheets, feed, mark)
    _check_growth(page, answer.added)
    added = {
        number: found.attribute for number, found in answer.declared.items() if number not in own
    }
    for number, attributes in _styles_of_later_tags(page, own).items():
        if number in added:
            quote = attributes.quote("style")
            merged = _merged(attributes, answer.declared[number])
            added[number] = f" style={quote}{merged}{quote}"
    page.insert(added)
    if answer.rivals:
        own_of = {at: properties_of(found.text("style") or "") for at, found in own.items()}
        groups = {(markers, own_of.get(at, _NOTHING)) for at, markers in answer.rivals.items()}
        for number, ends in cascade.losers(frozenset(groups)).items():
            page.put_content(numbers[number], make_important(sheets[number].css, ends))
    for number, attributes in own.items():
        found = answer.declared.get(number)
        if found:
            page.put(number, "style", _merged(attributes, found))
    return bool(answer.declared)


def _styles_of_later_tags(page: HtmlPage, own: Mapping[int, Attributes]) -> dict[int, Attributes]:
    """Return whose style the first `<html>` and `<body>` have, where it is a later tag's."""
    found: dict[int, Attributes] = {}
    for name in _ONCE:
        first, *later = page.find(frozenset({name})) or (-1,)
        styled = next((number for number in later if number in own), None)
        if styled is not None and first not in own:
            found[first] = own[styled]
    return found


def _merged(own: Attributes, declared: Declared) -> str:
    """Return the style `own` has with `declared`, for between its quotes."""
    inside = own.raw("style") or ""
    work = _merge if len(inside) < 500 else _merge.__wrapped__
    return work(inside, own.quote("style"), declared)


def attributes_looked_at(page: HtmlPage) -> frozenset[str]:
    """Return the attributes that selectors of `page` look at, `:empty` among them."""
    _, sheets = _sheets_of(page)
    if not any(sheet.always and "{" in sheet.css for sheet in sheets):
        return frozenset()
    return cascade_of(sheets).looks_at


def _sheets_of(page: HtmlPage) -> tuple[list[int], tuple[Sheet, ...]]:
    """Return the style elements in CSS, by their numbers.

    Those for some screens only are left out where all together would be too large.
    """
    found = [
        (number, Sheet(page.content(number), _is_for_every_screen(attributes)))
        for number in page.find(_STYLE_ELEMENT)
        if ((attributes := page.attributes(number)).text("type") or "").strip().lower() in _CSS
    ]
    if sum(len(sheet.css) for _, sheet in found) > MAX_STYLE:
        found = [one for one in found if one[1].always]
    return [number for number, _ in found], tuple(sheet for _, sheet in found)


class _Answer(NamedTuple):
    declared: Mapping[int, Declared]
    added: int  # characters of all attributes
    rivals: Mapping[int, str]  # the markers of elements that rules match which are not inlined


# Mails of one template differ in what the feed leaves out. The feed has no declarations.
_answers: Cache[tuple[str, str, tuple[Sheet, ...], str], _Answer] = Cache(
    1 << 23, weigh=lambda answer: 3 * answer.added + 1_000, heaviest=1 << 18
)


def _match(
    engine: EngineName, cascade: Cascade, sheets: tuple[Sheet, ...], feed: str, mark: str
) -> _Answer:
    """Return what the elements of the feed are declared, which may be remembered."""
    key = (engine, mark, sheets, feed)
    answer = _answers.get(key)
    if answer is None:
        markers = ENGINES[engine](feed, mark)
        rivals: dict[int, str] = {}
        if cascade.has_rivals:
            rivals = {number: found for number, found in markers.items() if "k" in found}
            markers = {number: found for number, found in markers.items() if "r" in found}
        declared = {number: cascade.declare(found) for number, found in markers.items()}
        added = sum(len(each.attribute) for each in declared.values())
        answer = _Answer(declared, added, rivals)
        if len(feed) <= MAX_REMEMBERED:
            _answers.put(key, answer)
    return answer


def _is_for_every_screen(style: Attributes) -> bool:
    media = (style.text("media") or "").lower()
    return not {part.strip() for part in media.split(",")}.isdisjoint({"", "all", "screen"})


def _check_limits(page: HtmlPage, cascade: Cascade) -> None:
    names = page.names
    insides = page.pieces[2::3]
    if max(map(len, insides)) > 2 * MAX_ATTRIBUTES:
        for number, inside in enumerate(insides):
            if len(inside) > 2 * MAX_ATTRIBUTES and names[number][1:2].isalpha():
                count = len(page.attributes(number).names)
                if count > MAX_ATTRIBUTES:
                    raise CssRefused("an element has too many attributes")
    if len(names) * len(cascade) > MAX_MATCHES:
        raise CssRefused("too many rules for so many elements")
    if len(names) <= MAX_DEPTH and len(names) ** 2 <= MAX_REOPENED:
        return
    depth = deepest = 0
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


def _check_growth(page: HtmlPage, added: int) -> None:
    if added <= MAX_ADDED // 64:
        return
    if added > min(MAX_ADDED, MAX_GROWTH * sum(map(len, page.pieces))):
        raise CssRefused("the styles would be several times as large as the text")


@functools.lru_cache(maxsize=2048)
def _merge(own: str, quote: str, declared: Declared) -> str:
    """Return the author's own style attribute with `declared` around what it declares."""
    kept = own if quote else own.replace('"', "&quot;")
    kept = kept.strip()
    text = attribute_text(kept).rstrip()
    closing = what_closes(text) if declared.important else ""
    if closing:
        kept += escape(closing, quote)
    elif text.endswith(";") and not _REFERENCE_END.search(kept):
        kept = kept[:-1].rstrip()  # one only: the one before it may end a reference
    parts = (escape(declared.normal, quote), kept, escape(declared.important, quote))
    style = "; ".join([part for part in parts if part])
    return style if quote else f'"{style}"'
