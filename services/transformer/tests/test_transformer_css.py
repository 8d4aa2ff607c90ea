"""CSS inlining: what is inlined, what must survive, that nothing is fetched, and both engines."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html

from postroad_transformer.css.engines import CssRefused, EngineName
from postroad_transformer.css.inlining import inline

TEMPLATES = Path(__file__).parent / "data" / "templates"
ENGINES: tuple[EngineName, ...] = ("css-inline", "premailer")


def rules_of(style: str) -> dict[str, str]:
    """Return the computed declarations of a style attribute: the last of a property counts."""
    found: dict[str, str] = {}
    for declaration in re.findall(r"""(?:[^;"'(]|"[^"]*"|'[^']*'|\([^)]*\))+""", style):
        name, _, value = declaration.partition(":")
        if value:
            value = value.lower().replace('"', "'").replace(" ", "").replace("'", "")
            value = re.sub(r"#(.)\1(.)\2(.)\3(?![0-9a-f])", r"#\1\2\3", value)
            value = re.sub(r"(?<![\w.])0(?:pt|px)", "0", value)
            important = "!important" in value
            if important or "!important" not in found.get(name.strip().lower(), ""):
                found[name.strip().lower()] = value
    return found


def computed(document: str) -> list[tuple[str, dict[str, str]]]:
    tree = lxml_html.document_fromstring(document)
    return [
        (str(element.tag), rules_of(element.get("style", "")))
        for element in tree.iter()
        if isinstance(element.tag, str)
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("css", "html", "style"),
    [
        ("p{color:red}", "<p>x</p>", {"color": "red"}),
        (".a{color:red}#b{color:blue}p{color:green}", "<p class=a id=b>", {"color": "blue"}),
        ("p{color:red}p{color:blue}", "<p>", {"color": "blue"}),
        ("p.a{color:red}.a{color:blue}", "<p class='x a y'>", {"color": "red"}),
        ("p{color:red}", "<p style='color:blue'>", {"color": "blue"}),
        ("p{color:red!important}", "<p style='color:blue'>", {"color": "red"}),
        ("p{color:red!important}", "<p style='color:blue!important'>",
         {"color": "blue!important"}),
        ("p{color:red !important}p{color:blue}", "<p>", {"color": "red"}),
        ("p{padding:1px}", "<p style='padding-left:2px'>",
         {"padding": "1px", "padding-left": "2px"}),
        ("p,h1{COLOR:Red}", "<P>x</P>", {"color": "red"}),
        ("td > b + i{color:red}", "<table><tr><td><b></b><i>x</i></table>", {"color": "red"}),
        ("a[href^=http]{color:red}", "<a href='http://x'>", {"color": "red"}),
        ("p:first-child{color:red}", "<div><p>x</p></div>", {"color": "red"}),
        ("p{background:url(http://x/a?b&c;d)}", "<p>", {"background": "url(http://x/a?b&c;d)"}),
        ("p{font-family:\"A B\",'C'}", "<p>", {"font-family": "ab,c"}),
        ("p{font-family:\"A 'B\"}", "<p style=color:red>", {"color": "red"}),
        ("<!-- p{color:red} -->", "<p>", {"color": "red"}),
        ("/* p{color:blue} */ p{color:red}", "<p>", {"color": "red"}),
        ("p{color:red", "<p>", {"color": "red"}),
    ],
)  # fmt: skip
def test_a_rule_reaches_what_it_matches(
    engine: EngineName, css: str, html: str, style: dict[str, str]
):
    document = inline(f"<style>{css}</style>{html}", engine)
    styled = [found for _, found in computed(document) if found]
    assert len(styled) == 1
    assert style.items() <= styled[0].items()


def test_selectors_in_capitals_match_with_css_inline():
    # premailer compares element names letter by letter and finds nothing here
    assert inline("<style>P,H1{color:red}</style><p>").endswith('<p style="color: red">')


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "html",
    [
        "<p>no style</p>",
        "<style></style><p>x",
        "<style media=print>p{color:red}</style><p>x",
        "<style media='(max-width:600px)'>p{color:red}</style><p>x",
        "<style media='only screen and (max-width:600px)'>p{color:red}</style><p>x",
        "<style type='text/less'>p{color:red}</style><p>x",
        "<style>@media screen{p{color:red}}</style><p>x",
        "<style>@font-face{font-family:x;src:url(x)}</style><p>x",
        "<style>p:hover{color:red}a:visited{color:blue}p::before{color:red}</style><p><a href=x>",
        "<style>.other{color:red}</style><p class=a>x",
        "<!--[if mso]><style>p{color:red}</style><![endif]--><p>x",
        "<script>'<style>p{color:red}</style>'</script><p>x",
    ],
)
def test_without_a_rule_for_every_screen_the_text_stays_the_same(engine: EngineName, html: str):
    assert inline(html, engine) == html


@pytest.mark.parametrize("engine", ENGINES)
def test_everything_but_style_attributes_survives(engine: EngineName):
    html = (
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN">\r\n'
        '<html xmlns:v="urn:schemas-microsoft-com:vml"><head><META charset=utf-8>\r\n'
        "<!--[if mso]><xml><o:OfficeDocumentSettings/></xml><style>td{color:red}</style>"
        "<![endif]--><link rel='stylesheet' href='https://fonts.test/x.css'>"
        "<style type=text/css>@import url('x.css');td{color:red}a:hover{color:blue}"
        "@media (max-width:600px){td{width:100%!important}}</style></head>"
        "<body bgcolor='#fff'><TABLE><tr><TD  align=center>{{ name }} %UNSUB% &nbsp;&eacute;é "
        "<!--[if gte mso 9]><v:rect fill='true'><![endif]--><img src=x /><br/>&euro; a < b"
        "<!--[if !mso]><!--><b>new</b><!--<![endif]--></td></tr></table></body></html>\r\n"
    )
    expected = html.replace("<TD  align", '<TD style="color: red"  align')
    assert inline(html, engine).replace('color:red"', 'color: red"') == expected


def test_an_important_rule_does_not_beat_the_media_query_of_the_kept_style():
    html = "<style>p{width:600px!important}@media x{p{width:100%!important}}</style><p>"
    document = inline(html)
    assert '<p style="width: 600px">' in document
    assert document.startswith(html[:-3])


# Where the engines differ, the properties that do, and why: premailer passes over every selector
# with a pseudo-class or with `*`, also where it says nothing about a state.
EXPLAINED = {
    "dark-mode": {"color-scheme"},  # :root
    "password-reset": {"box-sizing"},  # *
    "structure-selectors": {"color"},  # tr:first-child
}


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.stem)
def test_both_engines_give_every_element_of_a_real_template_the_same_style(path: Path):
    html = path.read_text()
    left_out = EXPLAINED.get(path.stem, set())
    first, second = (
        [
            (tag, {name: value for name, value in style.items() if name not in left_out})
            for tag, style in computed(inline(html, engine))
        ]
        for engine in ENGINES
    )
    assert first == second
    assert any(style for _, style in first) or left_out


def test_the_corpus_has_the_styles_that_senders_use():
    assert len(list(TEMPLATES.glob("*.html"))) >= 20


class Listener:
    """A web server that counts who comes."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.1)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.connections = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self.socket.accept()
            except TimeoutError:
                continue
            self.connections += 1
            connection.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.stopping.set()
    listener.thread.join()
    listener.socket.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_fetched_and_no_file_is_read(engine: EngineName, listener: Listener):
    url = listener.url
    html = (
        f"<base href='{url}'><link rel=stylesheet href='{url}a.css'>"
        f"<link rel=stylesheet href=/etc/passwd>"
        f"<link rel=stylesheet href='file:///etc/passwd'><style>@import url({url}b.css);"
        f"@import '{url}c.css' screen;@\\69mport '{url}d.css';@IMPORT\"{url}e.css\";"
        f"p{{background:url({url}f.png);color:red}}@font-face{{src:url({url}g)}}</style>"
        f"<style src='{url}h'>@import '{url}i.css'</style><p>x<img src='{url}j.png'>"
    )
    document = inline(html, engine)
    assert "<p style=" in document
    assert "root:" not in document
    assert listener.connections == 0


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("<style>" + " " * 300_000 + "p{}</style>", "too large"),
        ("<style>p{a:" + "x" * 9000 + "}</style>" + "<p>" * 1000, "several times as large"),
        ("<style>p{a:b}</style>" + "<div>" * 5000, "nested too deeply"),
        ("<style>" + "p{a:b}" * 3000 + "</style>" + "<p>" * 3000, "too many rules"),
        ("<style>p{a:b}</style>" + "<p><b></p>" * 900, "never closed"),
    ],
)
def test_what_could_hurt_the_engine_is_refused_with_the_reason(html: str, reason: str):
    with pytest.raises(CssRefused, match=reason):
        inline(html)


words = st.sampled_from(
    ["<p>", "</p>", "<b>", "</b>", "<table>", "<td class=a>", "</table>", "<a href=x>", "</a>",
     "<p style='x:y'>", "<br>", "text", " ", "<!-- c -->", "<style>", "</style>", "<i id=b style>",
     "p{color:red}", ".a{x:y!important}", "#b{m:n}", "'", '"', "<", "{", "}", "@media x{", "\\",
     "é"]
)  # fmt: skip


@given(st.lists(words, max_size=25).map("".join))
@settings(deadline=None)
def test_taking_the_style_attributes_away_gives_the_same_text_as_before(body: str):
    html = "<style>p,b,td{color:red}</style>" + body
    document = inline(html)
    pattern = re.compile(r"""\s*style(=("[^"]*"|'[^']*'))?(?=[\s>=])""")
    assert pattern.sub("", document) == pattern.sub("", html)


@pytest.mark.parametrize(
    ("html", "first"),
    [
        ("<body><p>x<body style='color:red'>", "<body style='margin: 0; color:red'>"),
        ("x<body><body style=color:red>", '<body style="margin: 0; color:red">'),
        ("<body style='color:red'>x<body style='color:blue'>",
         "<body style='margin: 0; color:red'>"),
        ("<body><body><body style='a:&quot;b&quot;'><body style='c:d'>",
         "<body style='margin: 0; a:&quot;b&quot;'>"),
        ("<html><body style='margin: 0'>x<html style='color:red'>",
         "<html style='padding: 0; color:red'>"),
    ],
)  # fmt: skip
def test_the_style_of_a_second_body_counts_where_the_first_has_none(html: str, first: str):
    style = "<style>html{padding:0}body{margin:0}</style>"
    assert first in inline(style + html)


def test_an_at_sign_in_a_comment_or_string_takes_no_rule_away():
    css = (
        "/** @tab Header's\n*/.a{color:red}\n/* @x 'y */.b{color:red}@import 'z.css';.c{color:red}"
    )
    document = inline(f"<style>{css}</style><p class=a><p class=b><p class=c>")
    assert document.count('style="color: red"') == 3


def test_a_reference_at_the_end_of_a_style_stays_whole():
    html = '<style>p{color:#c00!important}</style><p style="font:7pt &quot;A B&quot;">'
    assert inline(html).endswith('<p style="font:7pt &quot;A B&quot;; color: #c00">')
