"""A plain-text alternative for a mail that has HTML and no text of its own.

Only on request. The HTML part is wrapped in a `multipart/alternative` behind the text; its own
header and body move as they are.
"""

import binascii
import re

from postroad_transformer import budget
from postroad_transformer.css.engines import CssRefused
from postroad_transformer.css.inlining import inline_styles
from postroad_transformer.html.page import HtmlPage
from postroad_transformer.html.text import text_of
from postroad_transformer.reading.decoding import Undecodable, decode
from postroad_transformer.reading.fields import Block
from postroad_transformer.reading.mime import HtmlPart, Malformed, html_parts

_HIDES = re.compile(
    r"(?:display|visibility|mso-hide|opacity|height|width|font(?:-size)?)\s*+:\s*+(?:none|hidden|all|0)",
    re.IGNORECASE,
)
MAX_HTML = 2 * 1024 * 1024  # octets of the encoded HTML


def with_text(raw: bytes, block: Block, boundary: str, *, light: bool = False) -> bytes | None:
    """Return `raw`, whose header is `block`, with a text; None if it has or cannot have one.

    Raises:
        Malformed: the mail makes no sense; it is to stay as it is.
        Undecodable: the HTML cannot be read.
        HeavyError: with `light`, it is more than the event loop may do.
    """
    structure = html_parts(raw, block)
    octets = boundary.encode("ascii")
    if structure.has_text or structure.reasons or not structure.parts or octets in raw:
        return None
    part = structure.parts[0]
    if light:
        budget.check_octets(part.end - part.body)
    if part.end - part.body > MAX_HTML:
        raise Undecodable("larger than 2 MiB")
    html = decode(raw[part.body : part.end], part.encoding, part.charset).text
    text = binascii.b2a_qp(_text_of(html, light=light).encode("utf-8", "replace"), istext=True)
    announced = b'Content-Type: multipart/alternative; boundary="%s"\r\n' % octets
    before, inner = _headers(raw, block, part)
    return b"".join(
        (
            before,
            announced,
            b"\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\n" % octets,
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
            text.replace(b"\n", b"\r\n"),
            b"\r\n--%s\r\n" % octets,
            inner,
            raw[part.body : part.end],
            b"\r\n--%s--" % octets,
            raw[part.end :] or b"\r\n",
        )
    )


def _text_of(html: str, *, light: bool) -> str:
    """Return what a reader of `html` sees, after its style sheets have hidden what they hide."""
    if _HIDES.search(html) and "<style" in html.lower():
        page = HtmlPage(html)
        try:
            inline_styles(page, "css-inline", light=light)
        except CssRefused:
            return text_of(html)
        html = "".join(page.pieces)
    return text_of(html)


def _headers(raw: bytes, block: Block, part: HtmlPart) -> tuple[bytes, bytes]:
    """Return what stays in front of the alternatives, and the header of the HTML among them."""
    if not part.top:
        return raw[: part.header], raw[part.header : part.body]
    if not block.separated:
        raise Malformed("no blank line behind the header")
    outer: list[bytes] = []
    inner: list[bytes] = []
    for field in block.fields:
        where = inner if field.name.startswith(b"content-") else outer
        where.append(raw[field.start : field.end])
    if not any(field.name == b"mime-version" for field in block.fields):
        outer.append(b"MIME-Version: 1.0\r\n")
    return b"".join(outer), b"".join(inner) + b"\r\n"
