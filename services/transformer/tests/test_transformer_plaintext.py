"""The plain text made from HTML: what it says, and what it leaves alone."""

import email
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_common.tokens import LinkSigner
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import make_template
from postroad_transformer.html.text import MAX_TEXT, text_of

Make = Callable[..., Submission]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hello   <b>Anna</b>,\n good</p><p>day</p>", "Hello Anna, good\n\nday"),
        ("a<br>b<br/>c", "a\nb\nc"),
        (
            '<a href="https://a.test/?x=1&amp;y">Look</a> now',
            "Look <https://a.test/?x=1&y> now",
        ),
        ("<a href=https://a.test/x> https://a.test/<b>x</b></a>.", "https://a.test/x."),
        ("<a href=https://a.test/>a.test</a>", "a.test <https://a.test/>"),
        ("<a href='mailto:a@a.test'>mail</a> <a href=#x>top</a>", "mail top"),
        ("<ul><li>one<li>two</ul>end", "- one\n- two\n\nend"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</table>", "a b\n\nc"),
        ("<img src=x alt='Our logo'>", "Our logo"),
        ("<title>no</title><style>p{}</style><script>x<y</script>yes", "yes"),
        ("<!-- no --><!--[if mso]>no<![endif]-->yes&nbsp;&euro;&lt;b&gt;", "yes €<b>"),
        ("a\u200bb\u00adc", "abc"),
        ("1 < 2 <b", "1 < 2 <b"),
        ("a &amp; b", "a & b"),
        ("&#8203;&zwnj; x", "x"),
        ("", ""),
    ],
)
def test_what_a_reader_sees_becomes_lines(html: str, text: str):
    assert text_of(html) == text + "\n"


@given(st.text(alphabet="<>/!-='\" abpltr&;\n\0", max_size=300))
def test_any_page_has_a_text_of_bounded_size(html: str):
    assert len(text_of(html)) <= len(html) * 3 + 10


HUGE_PAGE = "<p>word <a href='http://a.test'>" * 60_000


def test_a_huge_page_takes_bounded_room():
    assert len(text_of(HUGE_PAGE)) <= MAX_TEXT + 1


@pytest.mark.speed
def test_a_huge_page_takes_bounded_time():
    started = time.process_time()
    text_of(HUGE_PAGE)
    assert time.process_time() - started < 5


@pytest.fixture
def made(make_submission: Make, rules: Rules, links: LinkSigner) -> Callable[[bytes], EmailMessage]:
    def make(raw: bytes) -> EmailMessage:
        features = Features(clicktracking=True)
        submission = make_submission(features=features, text_from_html=True)
        composer = Composer(make_template(raw, submission, rules), links, (), 0.0)
        content = composer.content(submission.recipients[0].id)
        message = email.message_from_bytes(content.head + composer.body(content), policy=SMTP)
        assert isinstance(message, EmailMessage)
        assert not message.defects
        return message

    return make


def kinds(message: EmailMessage) -> list[str]:
    return [part.get_content_type() for part in message.walk()]


def test_a_mail_that_is_html_gets_its_text_in_front(made: Callable[[bytes], EmailMessage]):
    message = made(
        b"From: a@example.com\r\nContent-Type: text/html; charset=utf-8\r\nSubject: x\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n<p>\xc3\xa9t\xc3\xa9 <a href=http://a.test>hi</a>\r\n"
    )
    assert kinds(message) == ["multipart/alternative", "text/plain", "text/html"]
    text, html = message.iter_parts()
    assert text.get_content() == "été hi <http://a.test>\r\n"
    assert "track.example.com" in html.get_content()
    assert html["Content-Transfer-Encoding"] == "8bit"
    assert message["MIME-Version"] == "1.0"
    assert message["Subject"] == "x"


def test_within_a_multipart_the_html_is_wrapped_and_the_rest_stays(
    made: Callable[[bytes], EmailMessage],
):
    message = made(
        b"From: a@example.com\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        b"<p>hi\r\n--b\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--b--\r\n"
    )
    assert kinds(message) == [
        "multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf",
    ]  # fmt: skip
    assert [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"
            ] == ["hi\r\n", "<p>hi"]  # fmt: skip


HTML = b"Content-Type: text/html\r\n\r\n<p>hi\r\n"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"text/plain", b"hi\r\n"),
        (b"text/html; charset=utf-16", b"<p>hi\r\n"),
        (b"multipart/alternative; boundary=b", b"--b\r\n\r\nhi\r\n--b\r\n" + HTML + b"--b--\r\n"),
        (b"multipart/signed; boundary=b", b"--b\r\n" + HTML + b"--b\r\n\r\nx\r\n--b--\r\n"),
        (b"multipart/mixed; boundary=c", b"--b\r\n" + HTML),
    ],
)
def test_a_mail_with_a_text_or_one_not_to_be_changed_stays_as_it_is(
    kind: bytes, body: bytes, make_submission: Make, rules: Rules
):
    submission = make_submission(features=Features(), text_from_html=True)
    raw = b"From: a@example.com\r\nContent-Type: " + kind + b"\r\n\r\n" + body
    assert make_template(raw, submission, rules).body == (body,)


def test_preformatted_text_keeps_its_lines_and_what_is_hidden_stays_out():
    html = (
        '<div style="display:none">Teaser<div>more</div></div><p>Hello</p>'
        "<pre>item    1.00\r\ntotal   1.00</pre><p hidden>never</p>end"
    )
    text = text_of(html)
    assert "item    1.00\ntotal   1.00" in text
    assert "Hello" in text
    assert text.endswith("end\n")
    assert not any(word in text for word in ("Teaser", "more", "never"))


@pytest.mark.parametrize(
    ("html", "text"),
    [
        # MJML gives columns no font size, and the texts in them their own.
        ("<td style='font-size:0px;padding:9px'>x<p style='font-size:14px'>text</p></td>", "text"),
        ("<div style='font-size:0'><b style='font-size:2em'>no</b><font size=2>yes</font>", "yes"),
        ("<div style='font:0/0 a'>no<p style='font:12px Arial'>yes", "yes"),
        # End tags may be left out.
        ("<p style='display:none'>no<p>yes", "yes"),
        ("<p hidden>no<b>no<div>yes", "yes"),
        ("<table><tr><td hidden>no<td>yes<tr hidden><td>no<tr><td>too</table>", "yes\ntoo"),
        ("<table><tr><td hidden><table><tr><td>no</table>no</td><td>yes</table>", "yes"),
        ("<ul><li hidden>no<ul><li>no</ul><li>yes</ul>end", "- yes\n\nend"),
        ("<dl><dt hidden>no<dd>yes</dl>", "yes"),
        # End tags that end nothing here.
        ("<b><div hidden>no</b>no</div>yes", "yes"),
        ("<div><table><tr><td hidden>no</div>no<td>yes</table>", "yes"),
        ("<div hidden>no</span></p>no</div>yes", "yes"),
        # What hides.
        ("<img hidden alt=no>yes<br style='display:none'>!", "yes!"),
        ("<template>no</template>yes", "yes"),
        ("<div style='display:none;display:block'>yes</div>", "yes"),
        ("<div style='max-height:0'>yes</div>", "yes"),
        ("<div style='max-height:0;overflow:hidden'>no</div>yes", "yes"),
        ("<div style='OPACITY:0.0 !important'>no</div>yes", "yes"),
    ],
)
def test_nothing_but_what_is_hidden_is_left_out(html: str, text: str):
    assert text_of(html) == text + "\n"


def test_what_style_sheets_hide_is_left_out(made: Callable[[bytes], EmailMessage]):
    message = made(
        b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n<style>"
        b".preheader{display:none!important}@media print{p{display:none}}a:hover{opacity:0}</style>"
        b"<span class=preheader>teaser</span><p>Hello <a href=http://a.test>you</a>\r\n"
    )
    text, html = message.iter_parts()
    assert text.get_content() == "Hello you <http://a.test>\r\n"
    assert "<span class=preheader>" in html.get_content()
