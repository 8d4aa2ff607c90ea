"""What matches selectors to elements: css-inline, and premailer as the second.

An engine gets HTML in which elements carry a number, and returns for each number what it wrote
into the `style` attribute of the element. Neither reads a file or opens a connection.
"""

import functools
import re
from collections.abc import Callable
from typing import Literal

import css_inline

EngineName = Literal["css-inline", "premailer"]
Engine = Callable[[str, str], dict[int, str]]

# Behind the mark. The engines may move attributes that stood before it behind it. Atomic groups,
# not `)*+`: see `html.page` about Python before 3.11.5.
_DECLARED = re.compile(r'"\d+"(?>(?: (?!style=)[^\s="]+(?:="[^"]*")?)*) style="([^"]*)"')


class CssRefused(ValueError):  # noqa: N818 - says what happened to the stylesheet
    """The CSS is not inlined; the message is the reason for the timeline."""


@functools.cache
def _css_inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(
        keep_style_tags=False, keep_link_tags=False, load_remote_stylesheets=False
    )


def _match_by_css_inline(feed: str, mark: str) -> dict[int, str]:
    try:
        document = _css_inliner().inline(feed)
    except (css_inline.InlineError, ValueError) as error:
        raise CssRefused(f"css-inline: {str(error)[:200]}") from error
    # To search for the marks with a regular expression would take as long as the engine itself.
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


def _match_by_premailer(feed: str, mark: str) -> dict[int, str]:
    # Three libraries, 15 MB of memory: only where it is asked for.
    from postroad_transformer.css import offline  # noqa: PLC0415

    return offline.match(feed, mark)


ENGINES: dict[EngineName, Engine] = {
    "css-inline": _match_by_css_inline,
    "premailer": _match_by_premailer,
}
