"""preventscam: what counts as visible text that is an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_transformer.html.page import HtmlPage
from postroad_transformer.tracking.scam import shows_address

TARGET = "http://www.example.com/"

ADDRESSES = [
    "www.example.com",
    "http://www.example.com",
    "https://www.example.com/",
    "HTTP://WWW.EXAMPLE.COM",
    "example.com",
    "Example.COM",
    "example.com.",
    "example.com/",
    "example.com/path/page.html",
    "example.com?q=1&amp;r=2",
    "example.com#part",
    "example.com:8080",
    "http://example.com:8080/x",
    "  www.example.com  ",
    "\r\n\twww.example.com\r\n",
    "&nbsp;www.example.com&nbsp;",
    "<b>www.example.com</b>",
    "<span style='color:red'>www.</span><i>example</i>.com",
    "www.<wbr>example<wbr>.com",
    "www.example&#46;com",
    "www&period;example&period;com",
    "www.\u200bexample\u200d.com",
    "www\u3002example\uff61com",
    "ww\u00adw.exam\u00adple.com",
    "\ufeffwww.example.com\u200e",
    "<!-- x -->www.example.com",
    "www.example.com,",
    "(www.example.com)",
    "&lt;http://www.example.com&gt;",
    "“www.example.com”",
    "www.example.com/…",
    "ｗｗｗ．ｅｘａｍｐｌｅ．ｃｏｍ",  # noqa: RUF001 - full-width letters
    "münchen.de",
    "xn--mnchen-3ya.de",
    "пример.рф",
    "shop.example.co.uk",
    "www.other-company.com",
    "http://other.example.org/login",
    "https://user@example.com/",
    "192.0.2.1",
    "http://192.0.2.1/x",
    "https://[2001:db8::1]/",
    "ftp://ftp.example.com/file",
    "http://localhost/",
    "http : // www.example.com",
    "a.b.c.example.museum",
    "www.example.pdf",
    "→ www.example.com",
]

WORDS = [
    "my website",
    "Click here",
    "Visit www.example.com now",
    "example",
    "",
    "   ",
    "<img src='x.png' alt='www.example.com'>",
    "&nbsp;",
    "\u200b",
    "Buy 2 for 1",
    "e.g. this",
    "invoice.pdf",
    "README.txt",
    "3.14",
    "10.000,00",
    "version 1.2.3",
    "v1.2",
    "info@example.com",
    "Read more…",
    "www",
    "www.",
    "http://",
    "https:// two words",
    "one.two three.four",
    "a..b.com",
    "-example-",
    "50% off!",
    "x" * 5000 + ".com",
]


def visible(fragment: str) -> str:
    return HtmlPage(f"<a>{fragment}</a>").visible(0, {"<a", "</a"}, 20_000)


@pytest.mark.parametrize("html", ADDRESSES)
def test_text_that_is_an_address_keeps_its_link(html: str):
    assert shows_address(visible(html), TARGET)


@pytest.mark.parametrize("html", WORDS)
def test_other_text_does_not(html: str):
    assert not shows_address(visible(html), TARGET)


@pytest.mark.parametrize(
    ("visible", "target", "kept"),
    [
        ("intranet", "http://intranet/start", True),
        ("intranet", "http://example.com/intranet", False),
        ("report.html", "http://report.html/", True),
        ("report.html", "http://example.com/report.html", False),
        ("intranet/", "https://INTRANET:8443/", True),
        ("anything", "http://[broken/", False),
    ],
)
def test_ambiguous_words_count_if_the_link_leads_there(visible: str, target: str, *, kept: bool):
    assert shows_address(visible, target) is kept


@given(st.text(max_size=200))
def test_any_text_gets_an_answer(text: str):
    assert shows_address(text, TARGET) in {True, False}
    assert isinstance(visible(text), str)
