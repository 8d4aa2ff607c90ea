"""What matches selectors to elements: css-inline, and premailer as the second.

An engine gets HTML in which elements carry a number, and returns for each number what it wrote
into the `style` attribute of the element. Neither reads a file or opens a connection.
"""

import functools
import logging
import re
from collections.abc import Callable
from html import unescape
from typing import Any, Literal

import css_inline
import cssutils  # type: ignore[import-untyped] # has none
from lxml import etree  # type: ignore[import-untyped] # the same
from premailer import Premailer
from premailer.premailer import PremailerError

EngineName = Literal["css-inline", "premailer"]
Engine = Callable[[str, str], dict[int, str]]

# Behind the mark. The engines may move attributes that stood before it behind it. Atomic groups,
# not `)*+`: see `html.page` about Python before 3.11.5.
_DECLARED = re.compile(r'"\d+"(?>(?: (?!style=)[^\s="]+(?:="[^"]*")?)*) style="([^"]*)"')
# lxml writes single quotes around a value that has double quotes in it.
_DECLARED_BY_LXML = (
    r"""="(\d+)"(?>(?: (?!style=)[^\s="'>]+(?:="[^"]*"|='[^']*')?)*)"""
    r""" style=(?:"([^"]*)"|'([^']*)')"""
)


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


class _OfflinePremailer(Premailer):  # type: ignore[misc] # premailer has no types
    """Premailer whose CSS parser cannot fetch what a stylesheet imports."""

    def _parse_css_string(self, css_body: str, validate: bool = True) -> Any:  # noqa: FBT001, FBT002 - the parent's signature
        parser = cssutils.CSSParser(
            loglevel=logging.CRITICAL, validate=validate, fetcher=lambda _url: (None, b"")
        )
        return parser.parseString(css_body)


def _match_by_premailer(feed: str, mark: str) -> dict[int, str]:
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


ENGINES: dict[EngineName, Engine] = {
    "css-inline": _match_by_css_inline,
    "premailer": _match_by_premailer,
}
