"""The scan for tags: what it finds, what it passes over, and that it takes linear time."""

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_transformer.html.attributes import Attributes, attribute_text
from postroad_transformer.html.page import HtmlPage


def names(text: str) -> list[str]:
    found = [name.removeprefix("<") for name in HtmlPage(text).names]
    return [name for name in found if name[-1] not in "!?/"]


def read(attributes: Attributes) -> dict[str, str]:
    return {name: attributes.text(name) or "" for name in attributes.names}


def values(text: str) -> dict[str, str]:
    page = HtmlPage(text)
    assert len(page.names) == 1
    return read(page.attributes(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<a href=x>y</a>", ["a", "/a"]),
        ("<IMG/><br />", ["img", "br"]),
        ("<!-- <a> --><b>", ["b"]),
        ("<!--><b><!---><i>", ["b", "i"]),
        ("<!-- --!><b>", ["b"]),
        ("<!--[if mso]><a><![endif]--><b>", ["b"]),
        ("<!--[if !mso]><!--><a><!--<![endif]--><b>", ["a", "b"]),
        ("<![if !mso]><a><![endif]>", ["a"]),
        ("<?xml version='1'?><a>", ["a"]),
        ("<!doctype html><a>", ["a"]),
        ("<style>a<b{}</style><i>", ["style", "/style", "i"]),
        ("<STYLE>x</styles></Style><i>", ["style", "/style", "i"]),
        ("<script>if(a<b)'</scripty>'</script><i>", ["script", "/script", "i"]),
        ("<title><a></title><i>", ["title", "/title", "i"]),
        ("<textarea><a></textarea >", ["textarea", "/textarea"]),
        ("<style><a>", ["style"]),
        ("<p title='<a>'><b>", ["p", "b"]),
        ("</p title='>'><b>", ["/p", "b"]),
        ("a < b <3 <<b>", ["b"]),
        ("<v:rect href=x>", ["v:rect"]),
        ("<a href='x", []),
        ('<b><a href="x><i>', ["b"]),
        ("<!-- <b>", []),
        ("<a", []),
    ],
)
def test_tags_are_found_as_a_browser_finds_them(text: str, expected: list[str]):
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<a b=c d='e' f=\"g\" h>", {"b": "c", "d": "e", "f": "g", "h": ""}),
        ("<a B = c\n\td\t=\t'e'>", {"b": "c", "d": "e"}),
        ("<a b=1 B=2>", {"b": "1"}),
        ("<a b=c/>", {"b": "c/"}),
        ("<a/b=c/d>", {"b": "c/d"}),
        ("<a b=''c>", {"b": "", "c": ""}),
        ("<a =b c>", {"=b": "", "c": ""}),
        ("<a b=x\"y'z>", {"b": "x\"y'z"}),
        ("<a b=>", {"b": ""}),
        ("<a b='&lt;&amp;&quot;'>", {"b": '<&"'}),
    ],
)
def test_attributes_are_read_as_a_browser_reads_them(text: str, expected: dict[str, str]):
    assert values(text) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a&amp;b", "a&b"),
        ("?a=1&copy=2&reg=3", "?a=1&copy=2&reg=3"),
        ("?a=1&copy", "?a=1©"),
        ("?a&copyx=1", "?a&copyx=1"),
        ("&notit;", "&notit;"),
        ("&#65;&#x42;&#X43", "ABC"),
        ("&#0;&#xD800;&#x110000;&#99999999999999;", "\ufffd" * 4),
        ("&#128;&#150;", "€–"),  # noqa: RUF001 - what the code means
        ("&;&&#;&#x;&unknown;", "&;&&#;&#x;&unknown;"),
        ("&AMP;&Amp;", "&&Amp;"),
    ],
)
def test_references_in_attributes_are_resolved(raw: str, expected: str):
    assert attribute_text(raw) == expected


@pytest.mark.speed
@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<a ",
        "<a b='",
        "<a b=\"'",
        "<!--",
        "<style>",
        "<style></styl",
        "<a b ",
        "&",
        "<a =",
        "<!",
        "</",
        "<a/",
        "<p a=b c='d' e=\"f\" ",
        "<style",
        "<!-- --",
        "<a b=c>",
        "<a>",
        "'\">",
    ],
)
def test_hostile_repetition_takes_linear_time(unit: str):
    def seconds(size: int) -> float:
        text = unit * (size // len(unit)) + "&" * 10
        started = time.process_time()
        page = HtmlPage(text)
        if page.names:
            page.attributes(0)
            page.visible(0, {"</a"}, 20_000)
        page.segments()
        return time.process_time() - started

    assert seconds(1_000_000) < 2.0


class Reference(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        first: dict[str, str] = {}
        for name, value in attrs:
            first.setdefault(name, value or "")
        self.found.append((tag, first))


words = st.sampled_from(
    [
        "<p>",
        "</p>",
        "<a href='x'>",
        '<img src="a>b" alt=x>',
        "text",
        " ",
        "\n",
        "<br/>",
        "<!-- c -->",
        "<b class=x y>",
        "</a >",
        "&amp;",
        "<td\n id=1>",
    ]
)


@given(st.lists(words, max_size=20).map("".join))
def test_well_formed_tags_agree_with_the_standard_library(text: str):
    reference = Reference()
    reference.feed(text)
    reference.close()
    page = HtmlPage(text)
    found = [
        (name[1:], read(page.attributes(number)))
        for number, name in enumerate(page.names)
        if name[1].isalpha()
    ]
    assert found == reference.found


@given(st.text(alphabet="<>/!-='\" abstyle&;\n\t#x1", max_size=300))
def test_whatever_comes_the_pieces_make_up_the_text(text: str):
    page = HtmlPage(text)
    assert "".join(page.pieces) == text
    assert len(page.pieces) == 3 * len(page.names) + 1
    for number, name in enumerate(page.names):
        assert page.pieces[3 * number + 1].lower() == name
        if name[1].isalpha():
            assert str(page.attributes(number)) == page.pieces[3 * number + 2]
            assert page.pieces[3 * number + 3].startswith(">")
    assert page.segments() == [text]


@given(st.lists(words, max_size=20).map("".join), st.integers(0, 19))
def test_a_changed_value_changes_nothing_else(text: str, place: int):
    page = HtmlPage(text)
    tags = [
        number
        for number, name in enumerate(page.names)
        if name[1].isalpha() and page.attributes(number).names
    ]
    if not tags:
        return
    number = tags[place % len(tags)]
    found = page.attributes(number)
    name, raw, quote = found.names[0], found.raw(found.names[0]), found.quote(found.names[0])
    page.put(number, name, "NEWVALUE")
    (changed,) = page.segments()
    if raw:
        assert changed.replace(f"{quote}NEWVALUE{quote}", f"{quote}{raw}{quote}") == text
    else:
        assert changed.replace("=NEWVALUE", "") == text
