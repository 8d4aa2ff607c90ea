"""Links and images: which change, to what, and that nothing else does."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.features import Features
from postroad_common.tokens import Keyring, LinkKind, LinkSigner
from postroad_transformer.composing.rewrite import RewriteOutcome, Rewriter, State
from postroad_transformer.html.urls import target_of
from postroad_transformer.segments import Hole, Segment
from postroad_transformer.tracking.links import MAX_LINKS, LinkRules

BASE = "https://track.example.com"
SIGNER = LinkSigner(Keyring(["a secret of sufficient length"]), BASE)
ID = new_id(1_780_000_000.0)


def rewrite(
    text: str, *, unsubscribe: tuple[str, ...] = (), pixel: bool = True, **on: bool
) -> tuple[list[Segment], RewriteOutcome]:
    features = Features(**(on or {"clicktracking": True}))
    rules = LinkRules(BASE, features.preventscam, frozenset(unsubscribe))
    outcome = Rewriter(features, rules).rewrite(text, State(), pixel=pixel)
    return outcome.segments if outcome.segments is not None else [text], outcome


def filled(segments: list[Segment]) -> str:
    links = SIGNER.for_message(ID)
    return "".join(links.head(*part) if isinstance(part, Hole) else part for part in segments)


def targets(segments: list[Segment]) -> list[bytes]:
    return [part.target for part in segments if isinstance(part, Hole)]


def restored(text: str) -> str:
    """`text` with each tracked URL replaced by its target, as the tracker would read it."""

    def target(match: re.Match[str]) -> str:
        token = SIGNER.read_path(match[1])
        assert token is not None
        assert token.message_id == ID
        return (token.target or b"").decode()

    return re.sub(re.escape(BASE) + r"(/[\w./-]+)", target, text)


@pytest.mark.parametrize(
    ("html", "target"),
    [
        ('<a href="http://a.test/">x</a>', b"http://a.test/"),
        ("<A HREF='https://a.test/x'>x</A>", b"https://a.test/x"),
        ("<a href=https://a.test/x>x</a>", b"https://a.test/x"),
        ("<area href=HTTPS://A.test/X>", b"HTTPS://A.test/X"),
        ('<a\n class="b"\n href = "http://a.test">x', b"http://a.test"),
        ('<a href="http://a.test/?a=1&amp;b=2&copy=3">x</a>', b"http://a.test/?a=1&b=2&copy=3"),
        ('<a href=" http://a.test/a b\n ">x</a>', b"http://a.test/a%20b"),
        ('<a href="ht\ntp://a.te\tst/">x</a>', b"http://a.test/"),
        (
            '<a href="http://münchen.test/ü?q=ü#ü">x</a>',
            b"http://xn--mnchen-3ya.test/%C3%BC?q=%C3%BC#%C3%BC",
        ),
        ('<a href="http://a.test/%C3%BC/%2f?%20#f">x</a>', b"http://a.test/%C3%BC/%2f?%20#f"),
        ('<a href="http://a.test/{{name}}|<b>">x</a>', b"http://a.test/{{name}}|<b>"),
        ('<a href="http://u:p@a.test:81/">x</a>', b"http://u:p@a.test:81/"),
        ('<a href="http:// a.test/ü">x</a>', b"http://%20a.test/%C3%BC"),
        ('<a title="a>b" href="http://a.test/">x</a>', b"http://a.test/"),
        ('<!--[if !mso]><!--><a href="http://a.test/"><!--<![endif]-->', b"http://a.test/"),
    ],
)
def test_a_web_link_is_tracked_and_its_target_kept(html: str, target: bytes):
    segments, findings = rewrite(html)
    assert targets(segments) == [target]
    assert findings.links == {"tracked": 1}
    token = SIGNER.read_path(re.search(re.escape(BASE) + r"(/[\w/-]+)", filled(segments))[1])
    assert token is not None
    assert (token.kind, token.number, token.target) == (LinkKind.CLICK, 0, target)


@pytest.mark.parametrize(
    "html",
    [
        '<a href="mailto:a@a.test">x</a>',
        '<a href="tel:123">x</a>',
        '<a href="#top">x</a>',
        '<a href="/relative">x</a>',
        '<a href="//a.test/x">x</a>',
        '<a href="ftp://a.test/x">x</a>',
        '<a href="javascript:alert(1)">x</a>',
        '<a href="data:text/html,x">x</a>',
        '<a href="http://">x</a>',
        '<a href="http:///x">x</a>',
        '<a href="http:a.test">x</a>',
        '<a href="">x</a>',
        "<a href>x</a>",
        '<a name="http://a.test/">x</a>',
        '<a href="{{url}}">x</a>',
        '<link href="http://a.test/x.css"><base href="http://a.test/">',
        '<form action="http://a.test/"></form>',
        '<img src="http://a.test/x.png">',
        '<!-- <a href="http://a.test/">x</a> -->',
        '<!--[if mso]><v:rect href="http://a.test/"><a href="http://a.test/"><![endif]-->',
        '<style>a[href="http://a.test/"]{}</style>',
        "<script>'<a href=\"http://a.test/\">'</script>",
        '<title><a href="http://a.test/"></title>',
        '<p title="<a href=http://a.test/>">x</p>',
        'http://a.test/ &lt;a href="http://a.test/"&gt;',
        '<a href="http://a.test/\x01b">x</a>',
        '<a href="http://a\ud800.test/\ud800">x</a>',
        '<a href="http://a.test/',
    ],
)
def test_what_is_no_web_link_stays_as_it_is(html: str):
    assert rewrite(html)[0] == [html]


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ('<a data-track="off" href="http://a.test/">x</a>', "opted_out"),
        ("<a DATA-TRACK=OFF href='http://a.test/'>x</a>", "opted_out"),
        ('<a href="http://a.test/list?u=1&amp;i=2">bye</a>', "unsubscribe"),
        ('<a href="http://b.test/Unsubscribe?u=1">bye</a>', "unsubscribe"),
        ('<a href="http://b.test/"> Unsubscribe <b>here</b></a>', "unsubscribe"),
        ('<a href="http://b.test/" rel="nofollow unsubscribe">x</a>', "unsubscribe"),
        ('<a href="HTTPS://TRACK.example.com/cabc">x</a>', "own"),
        ('<a href="http://a.test/' + "x" * 3000 + '">x</a>', "too_long"),
    ],
)
def test_excepted_links_stay_with_the_reason_counted(html: str, reason: str):
    segments, findings = rewrite(html, unsubscribe=("http://a.test/list?u=1&i=2",))
    assert segments == [html]
    assert findings.links == {reason: 1}


def test_preventscam_keeps_only_links_that_show_an_address():
    html = (
        '<a href="http://www.a.test">www.a.test</a> <a href="http://www.a.test">Our site</a>'
        '<a href="http://b.test"><img src="x"></a>'
    )
    segments, findings = rewrite(html, clicktracking=True, preventscam=True)
    assert findings.links == {"preventscam": 1, "tracked": 2}
    assert isinstance(segments[0], str)
    assert segments[0].startswith('<a href="http://www.a.test">www.a.test</a>')


def test_each_position_has_its_own_number_also_those_left_alone():
    html = '<a href="http://a.test">1</a><a href="#">2</a><area href="http://a.test"><a>3</a>'
    segments, _ = rewrite(html)
    assert [part.number for part in segments if isinstance(part, Hole)] == [0, 2]


@pytest.mark.parametrize(
    ("html", "images", "pixel"),
    [
        ('<img src="http://a.test/x.png">', {"tracked": 1}, False),
        ('<IMG alt="" SRC=http://a.test/x.png>', {"tracked": 1}, False),
        ("<p>no image</p>", {}, True),
        ('<img src="cid:a"><img src="data:x"><img src="x.png"><img>', {}, True),
        ('<img data-track=off src="http://a.test/">', {"opted_out": 1}, True),
        (
            '<img src="http://a.test/" srcset="http://a.test/2 2x">',
            {"tracked": 1},
            True,
        ),
        (
            '<picture><source srcset="http://a.test/s"><img src="http://a.test/"></picture>',
            {"tracked": 1},
            True,
        ),
        ('<img loading=Lazy src="http://a.test/">', {"tracked": 1}, True),
        ('<img loading=eager src="http://a.test/">', {"tracked": 1}, False),
        ('<noscript><img src="http://a.test/"></noscript>', {"tracked": 1}, True),
        ('<noscript></noscript><img src="http://a.test/">', {"tracked": 1}, False),
        ('<td background="http://a.test/b.png" style="background:url(http://a.test)">', {}, True),
    ],
)
def test_images_measure_openings_or_a_pixel_does(html: str, images: dict[str, int], *, pixel: bool):
    segments, findings = rewrite(html, openstracking=True)
    assert findings.images == Counter(images)
    assert findings.pixel is pixel
    kinds = [part.kind for part in segments if isinstance(part, Hole)]
    assert kinds == [LinkKind.IMAGE] * images.get("tracked", 0) + [LinkKind.OPEN] * pixel


@pytest.mark.parametrize(
    ("html", "before"),
    [
        ("<html><body>x</body></html>", "</body></html>"),
        ("<body>x</body>\n<!-- </body> --></html>\n", "</body>\n<!-- </body> --></html>\n"),
        ("<html>x</html>", "</html>"),
        ("x", ""),
        ("</body><p>x</p>", ""),
    ],
)
def test_the_pixel_stands_at_the_end_of_the_body(html: str, before: str):
    text = filled(rewrite(html, openstracking=True)[0])
    assert re.fullmatch(
        re.escape(html.removesuffix(before)) + r'<img src="[^"]+\.gif"[^>]*>' + re.escape(before),
        text,
    )


pieces = st.sampled_from(
    [
        '<a href="http://a.test/?x=1&y=2">',
        "<a href='https://b.test/%20'>",
        "</a>",
        "text ü ",
        "<img src=http://c.test/i.png>",
        '<p class="x">',
        "&amp; &nbsp;",
        "<!-- <a href='http://x'> -->",
        "<style>p{}</style>",
        "\r\n",
        "{{name}}",
        "<td style='a:b'>",
        "\U0001f600",
        "<",
        "'",
        '"',
        ">",
    ]
)


@given(st.lists(pieces, max_size=30).map("".join))
def test_putting_the_targets_back_gives_the_original_text(html: str):
    segments, _ = rewrite(html, clicktracking=True, openstracking=True, pixel=False)
    assert restored(filled(segments)) == html


@given(st.text(max_size=100))
def test_a_target_is_printable_ascii_or_nothing(text: str):
    target = target_of("http://" + text)
    assert target is None or re.fullmatch(r"https?://[!-~]+", target, re.IGNORECASE)


def test_links_and_images_beyond_their_number_stay_as_they_are_and_are_told():
    html = '<a href="http://a.test/">x</a><img src="http://a.test/y">' * (MAX_LINKS + 5)
    segments, findings = rewrite(html, clicktracking=True, openstracking=True)
    assert findings.links == {"tracked": MAX_LINKS, "too_many": 5}
    assert findings.images == {"tracked": MAX_LINKS, "too_many": 5}
    assert len(targets(segments)) == 2 * MAX_LINKS


def test_a_tag_with_too_many_attributes_is_told():
    attributes = " ".join(f"a{number}" for number in range(300))
    findings = rewrite(f"<style>p{{color:red}}</style><p {attributes}>x", inlinecss=True)[1]
    assert findings.css == "left as it is: an element has too many attributes"
