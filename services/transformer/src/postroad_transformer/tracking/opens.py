"""Open tracking: the images of an HTML text, fetched by way of the tracking host.

`src` of every `<img>` with an http or https URL changes. Left as they are: `cid:`, `data:` and
relative URLs; `data-track="off"`; `srcset` and `<picture>` sources, whose candidates the program
chooses itself; backgrounds, in attributes and in CSS, which many programs never load. Where no
image is left that is sure to be fetched, a transparent pixel is added. An image within `<noscript>`
is not: whether it shows depends on whether the page around the mail runs scripts.
"""

from collections import Counter

from postroad_common.tokens import LinkKind, tail
from postroad_transformer.html.attributes import Attributes
from postroad_transformer.html.page import HtmlPage
from postroad_transformer.html.urls import target_of
from postroad_transformer.segments import Hole, Url
from postroad_transformer.tracking.links import MAX_LINKS, LinkRules, traits_of

MEASURED = "measured"


UNSURE = frozenset({"<picture", "</picture", "<noscript", "</noscript"})
"""The tags between which an image may stand that not every program fetches."""
_IMAGES = UNSURE | {"<img"}
# Whatever the mail's own rules make of images, the pixel takes no room and is not seen.
_PIXEL_STYLE = (
    "display:block!important;position:absolute!important;width:1px!important;height:1px!important;"
    "margin:0!important;border:0!important;padding:0!important"
)
_ENDS = frozenset({"</body", "</html"})


def track_images(page: HtmlPage, rules: LinkRules, first: int = 0) -> tuple[Counter[str], int]:
    """Change the images of `page`; how many ended how, and the next free number.

    Under `MEASURED` it counts those that are sure to be fetched: without any, a pixel is due.
    """
    counts: Counter[str] = Counter()
    number = first
    around: set[str] = set()
    tags = page.find(_IMAGES)
    for index, tag in enumerate(tags):
        if number >= MAX_LINKS:
            counts["too_many"] = len(tags) - index
            break
        name = page.names[tag]
        if name != "<img":
            enter_or_leave(around, name)
            continue
        found = page.attributes(tag)
        src = found.text("src")
        if src is None:
            continue
        target = target_of(src)
        if target is not None:
            refusal = rules.image_refusal(traits_of(found), target)
            if refusal is None:
                page.put_url(tag, "src", rules.tracked(LinkKind.IMAGE, number, target))
                counts[MEASURED] += not around and is_fetched(found)
            counts[refusal or "tracked"] += 1
        number += 1
    return counts, number


def enter_or_leave(around: set[str], tag: str) -> None:
    """Keep in `around` the names of elements that are open, at a tag of `UNSURE`."""
    if tag.startswith("</"):
        around.discard(tag[2:])
    else:
        around.add(tag[1:])


def is_fetched(image: Attributes) -> bool:
    """Return whether every program that loads images loads this one, and by its `src`."""
    return "srcset" not in image and (image.text("loading") or "").strip().lower() != "lazy"


def add_pixel(page: HtmlPage, rules: LinkRules) -> None:
    """Add the pixel."""
    page.put_before(pixel_place(page), *pixel(rules))


def pixel_place(page: HtmlPage) -> int:
    """Return the tag that the pixel goes before: the last `</body>` or `</html>`, else the end."""
    where = len(page.names)
    for number in range(len(page.names) - 1, -1, -1):
        name = page.names[number]
        if name in _ENDS:
            where = number
            if name == "</body":
                break
        elif name[1:2].isalpha():
            break
    return where


def pixel(rules: LinkRules) -> Url:
    """Return the pixel's HTML, with the hole in its URL."""
    before = f'<img src="{rules.base_url}/'
    after = f'{tail(LinkKind.OPEN, b"")}" width="1" height="1" alt="" style="{_PIXEL_STYLE}">'
    return before, Hole(LinkKind.OPEN, 0, b""), after
