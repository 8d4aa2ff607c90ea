"""Everything that reads a stranger's text, on 256 KiB of what it looks for, in linear work.

The work is not timed but bounded: what takes quadratic time would run for minutes here, and the
suite's own limit would end it.
"""

from collections.abc import Callable

import pytest

from postroad_common.mail.control import header_end
from postroad_transformer.composing.encoding import encode
from postroad_transformer.css.selectors import parse_selectors
from postroad_transformer.css.sheet import parse_sheet, what_closes
from postroad_transformer.css.shorthands import is_known_everywhere
from postroad_transformer.html.attributes import Attributes, attribute_text
from postroad_transformer.html.page import HtmlPage
from postroad_transformer.html.text import text_of
from postroad_transformer.html.urls import target_of
from postroad_transformer.reading.decoding import Undecodable, decode
from postroad_transformer.reading.fields import content_type, parameters, read_block
from postroad_transformer.reading.mending import mend_header
from postroad_transformer.reading.mime import Malformed, html_parts
from postroad_transformer.reading.sender import peek_sender_domain, sender_domain
from postroad_transformer.signing.body import BodyHash
from postroad_transformer.signing.signature import relax_field
from postroad_transformer.tracking.scam import shows_address

SIZE = 256 * 1024


def read_page(text: str) -> None:
    page = HtmlPage(text)
    for number, name in enumerate(page.names):
        if name[1:2].isalpha():
            page.attributes(number)


def read_header(raw: bytes) -> None:
    raw = mend_header(raw)
    try:
        block = read_block(raw, 0, len(raw))
    except ValueError:
        return
    sender_domain(raw, block)


def read_structure(raw: bytes) -> None:
    try:
        html_parts(raw, read_block(raw, 0, len(raw)))
    except (Malformed, ValueError):
        return


def read_quoted(body: bytes) -> None:
    for encoding in ("quoted-printable", "base64", "7bit"):
        try:
            text, codec = decode(body, encoding, "utf-8")
            encode([text], codec, encoding)
        except Undecodable:
            continue


CSS = ("@url(", "@a(", "@", "@a{", "p{", "{", "}", "(", "[", "/*", "/*/", "*/", "'", '"', "\\",
       "'\\", "url(", "url('", "url(\\", "<!--", "-->", ";", ":", "!", "a:", "a:b;", "a{b:c}",
       "p{a:b{", "a:b!", "a/**/", "a,", "\n", " ", "a ", "--a:{", "-", "p{a:(", "é",
       "p{a/**/")  # fmt: skip
SELECTORS = ("a", "a ", ".a", "#a", "a>", "a ~", ":not(", ":not(a", ":nth-child(n ", "[a=", "[a",
             "[a='b'", "::", ":lang('a',", ":lang(a, ", "/**/", "/* */ ", "a,", "\\", "\\a ", "*",
             "*|", "+", "[ /**/", ":is(a,", ":nth-child(2n+1 of ")  # fmt: skip
VALUES = ("a", "1", "1px ", ".", "'", "#abc ", "url(", "url('", "- ", "a-", "+0 ", "1.", "a,", "/")
HTML = ("<", "<a", "<a ", "</", "<!", "<!--", "<!-- -", "--!", "<a b", "<a b=", "<a b='", '<a b="',
        "a=b ", "a ", "=", "/", "<style>", "</style", "<title>", "<script><", "</p>", "<p>",
        "<td class=a>", "&", "&#", "&#x", "&am", "&amp;", "<a href='http://x'>", "<img ", "\0",
        "?>")  # fmt: skip
HEADER = (b"a", b":", b"a:", b"a: ", b"a:b\r\n", b" \r\n", b"\t", b"\r\n ", b"From: ", b"<", b"@",
          b"<a@", b'"', b'"\\', b"(", b"from:\r\n ", b"\xef\xbb\xbf", b">From \r\n", b"=", b";a=",
          b';a="', b"a/b;", b"/", b"\\", b"\r", b"\n", b"bcc", b"bcc\r\n", b"Bcc:,\r\n",
          b"?\r\n bcc", b"\xff\xfe")  # fmt: skip
MIME = (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n", b"--a\r\n", b"--a", b"\r\n--",
        b"--a--\r\n", b"-")  # fmt: skip
QUOTED = (b"=", b"= ", b" ", b"\t", b" \r\n", b"=\r\n", b"=20", b"=2", b"a=\r", b"\xc3", b"AAAA",
          b"A=", b"\x1b$", b"\n")  # fmt: skip

CASES: list[tuple[Callable[..., object], str | bytes]] = [
    *[(parse_sheet, unit) for unit in CSS],
    *[(parse_sheet, f"p{{}}{unit}") for unit in ("@a", "'", "/*", "(")],
    *[(what_closes, unit) for unit in CSS],
    *[(parse_selectors, unit) for unit in SELECTORS],
    *[(lambda value: is_known_everywhere("color", value), unit) for unit in VALUES],
    *[(read_page, unit) for unit in HTML],
    *[(text_of, unit) for unit in HTML],
    *[
        (text_of, f"<p>{unit}")
        for unit in ("<b>", "<b></i>", "<div hidden>", "<td></div>", "</div>")
    ],
    *[(text_of, "<p style='" + unit + "'>") for unit in (";", "font:", ":0", "opacity:00")],
    *[(Attributes, unit) for unit in HTML],
    *[(attribute_text, unit) for unit in ("&", "&#", "&#x", "&a", "&#1", "&am;")],
    *[(target_of, f"http://{unit}") for unit in ("a", "é", "@", "%", " ", "\n", "é.")],
    *[(lambda text: shows_address(text, "http://x"), unit) for unit in ("a.", "é.", "http://")],
    *[(read_header, unit) for unit in HEADER],
    *[(peek_sender_domain, unit) for unit in HEADER],
    *[(parameters, unit) for unit in HEADER],
    *[(content_type, unit) for unit in HEADER],
    *[(relax_field, unit) for unit in HEADER],
    *[(header_end, unit) for unit in HEADER],
    *[(read_structure, unit) for unit in MIME],
    *[(read_quoted, unit) for unit in QUOTED],
    *[(lambda body: BodyHash([body]).digest(), unit) for unit in (b" ", b"\t", b" \r\n", b"\r\n")],
]


@pytest.mark.parametrize(("read", "unit"), CASES)
def test_hostile_repetition_is_read_in_one_pass(read: Callable[..., object], unit: str | bytes):
    read(unit * (SIZE // len(unit)))


@pytest.mark.parametrize("end", [b"!", b"=!", b"= ="])
def test_base64_of_white_space_alone_is_refused_without_looking_twice(end: bytes):
    with pytest.raises(Undecodable):
        decode(b" " * SIZE + end, "base64", "us-ascii")
