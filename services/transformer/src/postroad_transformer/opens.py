"""Open tracking: the images of an HTML text, fetched by way of the tracking host.

`src` of every `<img>` with an http or https URL changes. Left as they are: `cid:`, `data:` and
relative URLs; `data-track="off"`; `srcset` and `<picture>` sources, whose candidates the program
chooses itself; backgrounds, in attributes and in CSS, which many programs never load. Where no
image is left that is sure to be fetched, a transparent pixel is added.
"""

from collections import Counter
from collections.abc import Mapping

from postroad_common.tokens import LinkKind, tail
from postroad_transformer.edits import Edit, Hole
from postroad_transformer.links import MAX_NUMBER, MAX_TARGET, LinkRules, is_opted_out, target_of
from postroad_transformer.markup import Page, Value

MEASURED = "measured"


def image_edits(
    page: Page, rules: LinkRules, first: int = 0
) -> tuple[list[Edit], Counter[str], int]:
    """The edits for the images of `page`, how many ended how, and the next free number.

    Under `MEASURED` it counts those that are sure to be fetched: without any, a pixel is due.
    """
    edits: list[Edit] = []
    counts: Counter[str] = Counter()
    number = first
    in_picture = False
    for index, tag in enumerate(page.tags):
        if tag.name == "picture":
            in_picture = tag.opens
        elif tag.name == "img" and tag.opens:
            found = page.attributes(index)
            value = found.get("src")
            if value is None:
                continue
            target = target_of(page.value(value))
            if target is not None:
                refusal = _refusal(page, found, target, rules)
                if number > MAX_NUMBER:
                    refusal = "too_many"
                if refusal is None:
                    edits.append(rules.edit(value, LinkKind.IMAGE, number, target))
                    counts[MEASURED] += not (in_picture or "srcset" in found)
                counts[refusal or "tracked"] += 1
            number += 1
    return edits, counts, number


def _refusal(page: Page, found: Mapping[str, Value], target: str, rules: LinkRules) -> str | None:
    if is_opted_out(page, found):
        return "opted_out"
    if rules.is_own(target):
        return "own"
    return "too_long" if len(target) > MAX_TARGET else None


def pixel_edit(page: Page, rules: LinkRules) -> Edit:
    """The edit that adds the pixel: before the last `</body>` or `</html>`, else at the end."""
    where = len(page.text)
    for tag in reversed(page.tags):
        if not tag.opens and tag.name in {"body", "html"}:
            where = tag.start
            if tag.name == "body":
                break
        elif tag.opens:
            break
    hole = Hole(LinkKind.OPEN, 0, b"")
    before = f'<img src="{rules.base_url}/'
    after = f'{tail(LinkKind.OPEN, b"")}" width="1" height="1" alt="" style="border:0">'
    return Edit(where, where, (before, hole, after))
