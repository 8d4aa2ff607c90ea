"""What the engine gets to see of a page: its elements with numbers, and the sheet of markers.

Left out is what no selector looks at, so that mails of one template look the same and the answer
can be remembered: text and comments, unless there is `:empty`; the author's own styles; where
links and images lead, unless there are attribute selectors for that.
"""

from collections.abc import Mapping, Sequence

from postroad_transformer.css.cascade import Cascade
from postroad_transformer.html.attributes import Attributes, without
from postroad_transformer.html.layout import FREE, LEADING
from postroad_transformer.html.page import NO_ELEMENT, HtmlPage

MARK = "data-node"  # the attribute with the number, in texts that do not use the name themselves

_STYLE = frozenset({"style"})
_STYLE_ELEMENT = frozenset({"<style"})
_NOT_FED = NO_ELEMENT | {"<link", "</style"}
_UNSTYLED = frozenset({"base", "head", "link", "meta", "noscript", "script", "style", "title"})
_MARKS = tuple([f' {MARK}="{number}">' for number in range(2_000)])


def _marks(mark: str, count: int) -> Sequence[str]:
    if mark == MARK and count <= len(_MARKS):
        return _MARKS
    return [f' {mark}="{number}">' for number in range(count)]


def make_feed(page: HtmlPage, cascade: Cascade, mark: str) -> tuple[str, Mapping[int, Attributes]]:
    """Return the elements for the engine, and the attributes of those with a style of their own.

    The number stands behind all other attributes, so that the engine puts the style next to it.
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
    css = cascade.markers
    for number in page.find(_STYLE_ELEMENT):
        feed[3 * number : 3 * number + 3] = "<style>", "", css + "</style>"
        css = ""
    left_out = FREE - cascade.looks_at
    insides = feed[1::3]
    own: dict[int, Attributes] = {}
    for number, inside in enumerate(map(str.lower, insides)):
        if "style" in inside and names[number] not in unmarked:
            found = page.attributes(number)
            if "style" in found:
                own[number] = found
                insides[number] = without(insides[number], left_out, _STYLE)
    if left_out:
        for number in page.find(LEADING):
            insides[number] = without(insides[number], left_out, _STYLE)
    feed[1::3] = insides
    if ":empty" in cascade.looks_at:
        feed[2::3] = [
            end + ("" if name == "<style" else text if name in NO_ELEMENT else text[1:])
            for end, name, text in zip(feed[2::3], names, pieces[3::3], strict=True)
        ]
    return "".join(feed), own
