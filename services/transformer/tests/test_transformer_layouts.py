"""Layouts: a text that is recognised comes out as one that is read for the first time."""

import functools
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.schemas.features import Features
from postroad_transformer.composing.layouts import AT_ONCE, Layouts
from postroad_transformer.composing.rewrite import RewriteOutcome, Rewriter, State
from postroad_transformer.css.inlining import inline_styles
from postroad_transformer.html.page import HtmlPage
from postroad_transformer.tracking.links import LinkRules

TEMPLATES = sorted((Path(__file__).parent / "data" / "templates").glob("*.html"))
RULES = LinkRules("https://track.example.com", preventscam=True)
ALL = Features(inlinecss=True, clicktracking=True, openstracking=True, preventscam=True)

TAGS = (
    '<a href="{}">{}</a>', '<a class="b" title="{}" HREF="{}" style="color:red">{}<b>{}</b></a>',
    "<a href='{}'>{}</a>", "<a href={}>{}</a>", '<a name="x">{}</a>', "<a href>{}</a>",
    '<a href="{}" data-track="off">{}</a>', '<a rel="nofollow Unsubscribe" href="{}">{}</a>',
    '<a href="{}"><img src="{}" alt="{}" width="3"></a>', '<a href="{}">{}<p>{}</p><!-- {} -->{}',
    '<a href="{}"', '<a href="{}" href="{}">{}</a>', '<a href="{}" title=\'{}\'>{}</a>',
    '<area alt="{}" href="{}">', "<img>", '<img src="{}">', '<img srcset="x" src="{}" />',
    '<picture><source srcset="{}"><img class=b src="{}"></picture>', '<img src="cid:{}">',
    '<img loading="lazy" src="{}">',
    '<td background="{}">{}</td>', '<p class="b">{}</p>', "<p>{}</p>", "<p style='margin:0'>{}</p>",
    '<!--[if mso]><a href="{}">{}</a><![endif]-->', "<!-- {} -->", "<!doctype html>", "<? {} ?>",
    "<title>{}</title>", "<script>if (a<b) {}</script>", '<textarea>{}<a href="{}"></textarea>',
    "<style>p{{color:green}} .b{{margin:1px}} a[title]{{top:0}}</style>", "{} &lt; {}",
    "<style>p:empty{{color:green}}</style>", '<style>a[href^="http"]{{color:green}}</style>',
    "<style>.b{{color:{}}} img,a{{border:0}}</style>", "</body>", "</html>", "<br/>", "</p >",
    "</>",
)  # fmt: skip
VALUES = (
    "https://a.test/1", "http://b.test/?a=1&amp;b=2&copy=3", " https://a.test/ö ", "mailto:a@b",
    "https://track.example.com/x", "https://a.test/unsubscribe?x", "www.a.test", "a.test", "words",
    "more words", "", " ", "Unsubscribe", "afmelden &nbsp; &eacute;", "http://a.test/" + "x" * 3100,
    "a < b", "a > b", "<b>", "it's", 'say "so"', "\x02", "x\x03y", "</a>", "<!--", "/>", "=",
    "line\nend",     "\N{SNOWMAN}", '<a href="https://c.test">', "--" + ">", "javascript:x",
)  # fmt: skip

plain_values = st.sampled_from([value for value in VALUES if not set(value) & set('<>"\x02')])
templates = st.lists(st.sampled_from(TAGS), min_size=1, max_size=3).map("\n".join)
features = st.builds(
    Features, inlinecss=st.booleans(), clicktracking=st.booleans(), openstracking=st.booleans(),
    preventscam=st.booleans(),
)  # fmt: skip


def fill(template: str, values: list[str]) -> str:
    return template.format(*values[: template.replace("{{", "").count("{}")])


def rewritten(layouts: Layouts, text: str, on: Features = ALL, **changes: Any) -> RewriteOutcome:
    rules = LinkRules(RULES.base_url, on.preventscam, changes.pop("unsubscribe", frozenset()))
    rewriter = Rewriter(on, rules, layouts=layouts, **changes)
    return rewriter.rewrite(text, State(3, 2, measured=False), pixel=True)


def calls(work: Callable[[], Any], *functions: Callable[..., Any]) -> dict[str, int]:
    """How often each of the functions is entered while `work` is done."""
    codes = {function.__code__: function.__qualname__ for function in functions}
    counts: Counter[str] = Counter(dict.fromkeys(codes.values(), 0))

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in codes:
            counts[codes[frame.f_code]] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return dict(counts)


@given(
    templates,
    st.lists(
        st.lists(st.sampled_from(VALUES) | plain_values, min_size=20, max_size=20), max_size=3
    ),
    st.lists(plain_values, min_size=20, max_size=20),
    features,
)
def test_texts_of_one_template_come_out_as_if_each_were_the_first(
    template: str, some: list[list[str]], plain: list[str], on: Features
):
    layouts = Layouts()
    for values in [plain, plain[::-1], plain[5:] + plain[:5], *some, plain[9:] + plain[:9]]:
        text = fill(template, values)
        assert rewritten(layouts, text, on) == rewritten(Layouts(), text, on)


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ('<a href="https://a.test">x</a>', '<a href="https://a.test" "">x</a>'),
        ('<a href="https://a.test">x</a>', '<a href="https://a.test"data-track="off">x</a>'),
        ('<a href="https://a.test">x</a>', '<a href="https://a.test" data-track=off>x</a>'),
        ('<a href="https://a.test">x</a>', '<a href="https://a.test>x</a>'),
        ('<a href="https://a.test">x</a>', '<a title="https://a.test">x</a>'),
        ('<img alt="x" src="https://a.test/">', '<img src="x" alt="https://a.test/">'),
        ("<style>p{margin:0}</style><p>x</p>", "<style>p{margin:0}p{top:0}</style><p>x</p>"),
        ('<img alt="x" src="https://a.test/">', '<img alt="x" srcset="https://a.test/">'),
        ('<img alt="x" src="https://a.test/">', '<img alt="x'),
        ("<p>x</p>", "<p >x</p>"),
        ("<p>x</p>", "<pre>x</p>"),
        ("<p>x</p>", "<p>x</p"),
        ('<a href="https://a.test">x</a>', '<a href="https://a.test">x</a'),
        ("<!-- x --><p>x</p>", "<!-- x -- ><p>x</p>"),
        ("<title>x</title><p>x</p>", "<title>x</titles><p>x</p>"),
    ],
)
def test_a_text_that_differs_in_a_tag_is_not_taken_for_another(known: str, other: str):
    layouts = Layouts()
    for _ in range(3):
        rewritten(layouts, known)
    assert calls(lambda: rewritten(layouts, known), HtmlPage.__init__) == {"HtmlPage.__init__": 0}
    assert rewritten(layouts, other) == rewritten(Layouts(), other)


def variant(html: str, number: int) -> str:
    """`html` with other words, and other values where links and images lead."""
    html = re.sub(r'((?:href|src)="https?://[^"]*)"', rf'\1?n={number}&amp;x=2"', html)
    return re.sub(r"(?<=[a-z]>)([A-Z][a-z]+)(?=[^<>]*</[ap])", rf"{number} \1", html)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_real_templates_come_out_as_if_each_mail_were_the_first(path: Path):
    layouts = Layouts()
    html = path.read_text()
    for number in range(5):
        text = variant(html, number)
        assert rewritten(layouts, text) == rewritten(Layouts(), text)


def test_most_real_templates_are_recognised():
    recognised = set()
    for path in TEMPLATES:
        layouts = Layouts()
        for number in range(2):
            rewritten(layouts, variant(path.read_text(), number))
        third = functools.partial(rewritten, layouts, variant(path.read_text(), 2))
        found = calls(third, HtmlPage.__init__)
        if not found["HtmlPage.__init__"]:
            recognised.add(path.stem)
    assert len(recognised) >= len(TEMPLATES) * 0.6, sorted(recognised)


def test_the_third_mail_of_a_mailing_is_neither_taken_apart_nor_styled():
    layouts = Layouts()
    template = (
        "<style>p{{margin:0}}</style><p>{}</p>"
        '<a class="b" href="https://a.test/{}">{}</a><img src="https://a.test/{}" alt="{}">'
    )
    entered = [
        calls(
            functools.partial(rewritten, layouts, template.format(*range(number, number + 5))),
            HtmlPage.__init__,
            inline_styles,
        )
        for number in range(4)
    ]
    once, never = ({"HtmlPage.__init__": count, "inline_styles": count} for count in (1, 0))
    assert entered == [once, once, never, never]


def test_a_mailing_whose_unsubscribe_links_differ_is_recognised_and_they_are_left_alone():
    layouts = Layouts()
    for number in range(4):
        own = f"https://a.test/leave/{number}"
        text = f'<a href="{own}">bye</a> <a href="https://a.test/{number}">more</a>'
        outcome = rewritten(layouts, text, unsubscribe=frozenset({own}))
        assert dict(outcome.links) == {"unsubscribe": 1, "tracked": 1}
        assert outcome.segments is not None
        assert own in "".join(part for part in outcome.segments if isinstance(part, str))


def test_what_is_decided_for_the_event_loop_is_decided_anew_elsewhere():
    layouts = Layouts()
    text = "<style>p{margin:0}</style><p>x</p>"
    for _ in range(3):
        rewritten(layouts, text)
    assert calls(lambda: rewritten(layouts, text, light=True), HtmlPage.__init__) == {
        "HtmlPage.__init__": 1
    }


def test_mails_that_are_all_different_are_seldom_remembered():
    layouts = Layouts()
    made = 0
    for number in range(64):
        text = f'<td id="{number}">x</td>'
        counts = calls(functools.partial(rewritten, layouts, text), Layouts.remember)
        made += counts["Layouts.remember"]
    assert made == 6  # of the 2nd, 3rd, 5th, 9th, 17th and 33rd


def test_more_templates_than_are_kept_for_as_many_pieces_all_come_out_right():
    layouts = Layouts()
    for _ in range(3):
        for kind in range(AT_ONCE + 3):
            tag = "pbiusaqdfgh"[kind]
            text = f'<{tag} id="{kind}">words</{tag}> <a href="https://a.test">x</a>'
            assert rewritten(layouts, text) == rewritten(Layouts(), text)
