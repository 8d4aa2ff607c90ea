"""premailer as the engine, without network and files."""

import logging
import re
from html import unescape
from typing import Any

import cssutils  # type: ignore[import-untyped] # has none
from lxml import etree  # type: ignore[import-untyped] # the same
from premailer import Premailer
from premailer.premailer import PremailerError

from postroad_transformer.css.engines import CssRefused

# lxml writes single quotes around a value that has double quotes in it.
_DECLARED_BY_LXML = (
    r"""="(\d+)"(?>(?: (?!style=)[^\s="'>]+(?:="[^"]*"|='[^']*')?)*)"""
    r""" style=(?:"([^"]*)"|'([^']*)')"""
)


class _OfflinePremailer(Premailer):  # type: ignore[misc] # premailer has no types
    """Premailer whose CSS parser cannot fetch what a stylesheet imports."""

    def _parse_css_string(self, css_body: str, validate: bool = True) -> Any:  # noqa: FBT001, FBT002 - the parent's signature
        parser = cssutils.CSSParser(
            loglevel=logging.CRITICAL, validate=validate, fetcher=lambda _url: (None, b"")
        )
        return parser.parseString(css_body)


def match(feed: str, mark: str) -> dict[int, str]:
    """Return what premailer declares for the elements of `feed`, by their numbers.

    Raises:
        CssRefused: premailer gave up.
    """
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
