"""From a message to its template: what changes, what stays octet for octet, and the reasons."""

import base64
import email
import quopri
import re
import time
from collections.abc import Callable
from email.policy import SMTP

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_common.tokens import Keyring, LinkSigner
from postroad_testing import factories
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import Template, make_template

BASE = "https://track.example.com"
SIGNER = LinkSigner(Keyring(["a secret of sufficient length"]), BASE)
RULES = Rules(HeaderRules("mail.example.net"), BASE)
LINKS_ONLY = Features(clicktracking=True)
HTML = (
    b'<html><body><p class="a">H\xc3\xa9</p><a href="http://a.test/?q=1">Go</a></body></html>\r\n'
)
TEXT = b"Content-Type: text/plain\r\n\r\nhello\r\n"
Make = Callable[..., Submission]


def submission(features: Features = LINKS_ONLY) -> Submission:
    return factories.submission(account="main", received=1.78e9, features=features)


def template_of(raw: bytes, features: Features = LINKS_ONLY) -> Template:
    return make_template(raw, submission(features), RULES)


def delivered(raw: bytes, features: Features = LINKS_ONLY) -> bytes:
    given_ = submission(features)
    composer = Composer(make_template(raw, given_, RULES), SIGNER, (), 1.78e9)
    content = composer.content(given_.recipients[0].id)
    return content.head + composer.body(content)


def untracked(octets: bytes) -> bytes:
    """`octets` with the tracked URLs turned back into their targets."""

    def target(match: re.Match[bytes]) -> bytes:
        token = SIGNER.read_path(match[1].decode())
        assert token is not None
        return token.target or b""

    return re.sub(re.escape(BASE).encode() + rb"(/[\w./-]+)", target, octets)


def body_of(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


def part(content_type: str, body: bytes, *more: str) -> bytes:
    lines = [f"Content-Type: {content_type}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def multipart(subtype: str, *parts: bytes, boundary: str = "=_b", extra: str = "") -> bytes:
    body = b"preamble\r\n"
    for each in parts:
        body += b"--" + boundary.encode() + b"\r\n" + each + b"\r\n"
    body += b"--" + boundary.encode() + b"--\r\nepilogue\r\n"
    return part(f'multipart/{subtype}; boundary="{boundary}"{extra}', body)


def mail(entity: bytes) -> bytes:
    return b"From: a@example.com\r\nTo: b@d.test\r\nMIME-Version: 1.0\r\n" + entity


HTML_UTF8 = part("text/html; charset=utf-8", HTML, "Content-Transfer-Encoding: 8bit")


@pytest.mark.parametrize(
    ("encode", "name"),
    [
        (lambda body: body, "8bit"),
        (
            lambda body: quopri.encodestring(body).replace(b"\n", b"\r\n").replace(b"\r\r", b"\r"),
            "quoted-printable",
        ),
        (base64.encodebytes, "base64"),
        (lambda body: body, "BINARY"),
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_the_link_is_found_through_any_transfer_encoding(
    encode: Callable[[bytes], bytes], name: str, *, nested: bool
):
    encoded = encode(HTML).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    entity = part("text/html; charset=utf-8", encoded, f"Content-Transfer-Encoding: {name}")
    raw = mail(multipart("alternative", TEXT, entity) if nested else entity)
    message = email.message_from_bytes(delivered(raw))
    html = message.get_payload(1) if nested else message
    assert untracked(html.get_payload(decode=True)).rstrip() == HTML.rstrip()
    assert BASE.encode() in html.get_payload(decode=True)
    assert len(html.get_all("Content-Transfer-Encoding")) == 1
    assert html["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-8", "Grüße €"),
        ("UTF8", "Grüße"),
        ("iso-8859-1", "Grüße"),
        ("windows-1252", "Grüße €"),
        ("iso-8859-15", "€"),
        ("koi8-r", "Привет"),
        ("shift_jis", "表示ソ①"),
        ("iso-2022-jp", "日本語<b>日本</b>"),
        ("gb2312", "中文镕"),
        ("big5", "許功蓋"),
        ("euc-kr", "한국어"),
        ("windows-949", "한국어"),
        ("windows-874", "ไทย"),
        ("x-euc-jp", "日本語"),
        ("x-mac-roman", "Grüße"),
    ],
)
def test_a_part_keeps_its_charset_and_its_text(charset: str, text: str):
    codecs = {"gb2312": "gbk", "shift_jis": "cp932", "windows-949": "cp949", "windows-874": "cp874"}
    codec = codecs.get(charset, charset.removeprefix("x-"))
    body = (f'<p title="{text}">{text}<a href="http://a.test/">x</a>{text}</p>\r\n').encode(codec)
    entity = part(f"text/html; charset={charset}", body, "Content-Transfer-Encoding: 8bit")
    out = body_of(delivered(mail(entity)))
    assert BASE.encode() in out
    assert untracked(out) == body


@pytest.mark.parametrize("charset", ["utf-8", "us-ascii", "iso-8859-1", ""])
def test_octets_that_are_not_valid_in_the_charset_survive(charset: str):
    body = b'\xff\xfe\x81<a href="http://a.test/">\x80x</a>\xc3(\r\n'
    header = f"text/html; charset={charset}" if charset else "text/html"
    out = body_of(delivered(mail(part(header, body))))
    assert BASE.encode() in out
    assert untracked(out) == body


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ("text/html; charset=utf-16", "<a href='http://a'>".encode("utf-16"), "charset"),
        ("text/html; charset=gb2312", b"\xff\x81<a href='http://a'>", "not valid"),
        ("text/html; charset=cp50220", b"\x1b$B-!2q<R\x1b(B<a href='http://a'>", "not valid"),
        ("text/html", b"\x1b$BF|K\\\x1b(B<a href='http://a'>", "escape sequences"),
        ("text/html; charset=made-up", b"\x1b$BF|K\\\x1b(B<a href='http://a'>", "escape sequences"),
        ("text/html; charset=utf-8", b"\x1b$B\"<>\"\x1b(B<a href='http://a'>", "escape sequences"),
        ("text/html; charset=shift_jis", b'\x1b$B"<>"\x1b(B<a>', "escape sequences"),
        ("text/html; charset=iso-8859-1", b"\x1b(I12\x1b(B<a href='http://a'>", "escape sequences"),
        ("text/html; charset=utf-7", b"<a href='http://a'>", "charset"),
        ("text/html; charset=made-up", b"<a href='http://a'>\xff", "charset"),
        ("text/html; charset=iso-2022-jp", b"\x1b$B\xff\x1b(B<a href='http://a'>", "not valid"),
        ("text/html\r\nContent-Transfer-Encoding: x-uuencode", b"<a href='http://a'>", "encoding"),
        ("text/html\r\nContent-Transfer-Encoding: base64", b"PGE!", "base64"),
        ("text/html\r\nContent-Transfer-Encoding: base64", b"PGEg\r\n--\r\nfooter", "base64"),
        ('text/html; name*0=a; name*1=".html"', b"<a href='http://a.test'>x</a>", "attached"),
        ("text/html; name=a.html", b"<a href='http://a.test'>x</a>", "attached"),
        ("text/html\r\nContent-Disposition: attachment", b"<a href='http://a.test'>", "attached"),
        (
            "text/html\r\nContent-Disposition: inline; filename=a.html",
            b"<a href='http://a'>",
            "attached",
        ),
        ("text/html", b"<pre>-----BEGIN PGP MESSAGE-----<a href='http://a.test'>", "PGP"),
        ("text/html", b"<a href='http://a.test/'>" + b" " * (2 << 20), "2 MiB"),
        ("text/calendar", b"BEGIN:VCALENDAR\r\nURL:http://a.test/", "no HTML"),
        ("text/plain", b"<a href='http://a.test'>x</a>", "no HTML"),
        ("message/rfc822", b"Content-Type: text/html\r\n\r\n<a href='http://a.test'>", "nested"),
        ("application/pkcs7-mime", b"<a href='http://a.test'>", "S/MIME"),
        ("multipart/mixed", b"--x\r\n", "boundary"),
        ("multipart/mixed; boundary=never", b"no parts\r\n", "boundary"),
    ],
)
def test_what_cannot_be_changed_is_delivered_as_it_came_with_the_reason(
    headers: str, body: bytes, reason: str
):
    raw = mail(part(headers, body))
    template = template_of(raw)
    assert template.body == (body,)
    assert raw[template.body_at :] == body
    assert reason in " ".join(template.facts["mime"])


@pytest.mark.parametrize(
    "closed",
    [
        multipart("signed", HTML_UTF8, TEXT, extra="; micalg=sha-256"),
        multipart("encrypted", HTML_UTF8),
        multipart("report", HTML_UTF8, extra="; report-type=delivery-status"),
        multipart("digest", HTML_UTF8),
        part("message/rfc822", HTML_UTF8),
        part("application/x-pkcs7-mime; smime-type=signed-data", HTML_UTF8),
        part("text/html; charset=utf-8", HTML, "Content-Disposition: attachment; filename=x.html"),
        part("text/calendar; method=REQUEST", b"DESCRIPTION:http://a.test/\r\n"),
        part("text/x-amp-html", HTML),
    ],
)
def test_beside_a_closed_part_only_the_open_html_changes(closed: bytes):
    raw = mail(multipart("mixed", TEXT, HTML_UTF8, closed, boundary="outer"))
    out = delivered(raw)
    assert closed in out
    assert TEXT in out
    assert body_of(out).count(BASE.encode()) == 1
    assert untracked(body_of(out)) == body_of(raw)


def test_quoted_printable_with_transport_padding_and_equals_signs_that_escape_nothing():
    body = b'<p a=3D1>para= \r\ngraph == =zz <a hr=\t\r\nef=3D"http://a.test/">x</a>  \r\n'
    entity = part("text/html; charset=utf-8", body, "Content-Transfer-Encoding: quoted-printable")
    out = quopri.decodestring(body_of(delivered(mail(entity))))
    expected = b'<p a=1>paragraph == =zz <a href="http://a.test/">x</a>\r\n'
    assert untracked(out) == expected
    assert BASE.encode() in out


def test_an_empty_html_part_and_an_unclosed_tag_get_no_pixel():
    opens = Features(openstracking=True)
    for html in (
        b"",
        b"\r\n",
        b'<p>Hi</p><a href="https://a.test/x',
        b"<p>x</p><!-- y",
        b"<style>",
    ):
        raw = mail(multipart("alternative", TEXT, part("text/html", html)))
        assert body_of(delivered(raw, opens)) == body_of(raw)


@pytest.mark.parametrize(
    "first",
    [b"", b"<p>H\0\x01\x02\x03\x04\x05\x06\x07\x10\x11\x12</p>", b"<p>Hi <b"],
    ids=["empty", "that cannot be changed", "that ends within a tag"],
)
def test_the_pixel_goes_into_the_first_html_part_that_can_take_one(first: bytes):
    html = b"Content-Type: text/html\r\n\r\n"
    raw = b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + b"".join(
        b"--B\r\n%s%s\r\n" % (html, body) for body in (first, b"<p>A</p>", b"<p>B</p>")
    )

    sent = untracked(delivered(raw + b"--B--\r\n", Features(openstracking=True)))

    parts = sent.split(b"--B\r\n" + html)[1:]
    assert [part.count(b"<img") for part in parts] == [0, 1, 0]


def test_an_attached_multipart_stays_octet_for_octet():
    html = b"Content-Type: text/html\r\n\r\n" + HTML
    attached = (
        b"Content-Type: multipart/alternative; boundary=A\r\n"
        b"Content-Disposition: attachment\r\n\r\n--A\r\n%s--A\r\n%s--A--\r\n" % (TEXT, html)
    )
    raw = b"Content-Type: multipart/mixed; boundary=B\r\n\r\n"
    raw += b"--B\r\n%s--B\r\n%s--B--\r\n" % (html, attached)

    template = template_of(raw)

    assert attached in delivered(raw)
    assert template.facts["links"] == {"tracked": 1}
    assert template.facts["mime"] == ["left as it is: an attached multipart"]


def test_a_signed_message_as_a_whole_is_left_alone():
    raw = mail(multipart("signed", HTML_UTF8, TEXT))
    assert body_of(delivered(raw)) == body_of(raw)


def test_deep_and_mixed_structures_change_in_their_html_alone():
    inner = multipart("related", HTML_UTF8, part("image/png", b"\x89PNG\r\n"), boundary="r-1")
    raw = mail(
        multipart(
            "mixed",
            multipart("alternative", TEXT, inner, boundary="r-2"),
            multipart("unheard-of", HTML_UTF8, boundary="r"),
            boundary="r-",
        )
    )
    out = delivered(raw)
    assert untracked(body_of(out)) == body_of(raw)
    assert out.count(BASE.encode()) == 2


def test_long_lines_become_quoted_printable_and_the_header_says_so():
    body = b'<a href="http://a.test/">' + b"x" * 990 + b"</a>\r\n"
    for raw in (
        mail(part("text/html", body, "content-transfer-encoding: 7BIT (as it was)")),
        mail(part("text/html", body)),
        mail(multipart("mixed", TEXT, part("text/html", body, "X-A: 1"))),
    ):
        out = delivered(raw)
        message = email.message_from_bytes(out)
        (html,) = [p for p in message.walk() if p.get_content_type() == "text/html"]
        if "(as it was)" in raw.decode():  # not an encoding we know, so nothing is risked
            assert body_of(out) == body_of(raw)
            continue
        assert html.get_all("Content-Transfer-Encoding") == ["quoted-printable"]
        assert untracked(html.get_payload(decode=True)).rstrip() == body.rstrip()
        assert max(map(len, body_of(out).split(b"\r\n"))) <= 76


texts = st.text(
    alphabet=st.sampled_from("ab é€=. \t\r\n<>\"'&;日"), max_size=120
).map(lambda text: re.sub("\r\n|\r|\n", "\r\n", text))  # fmt: skip


@given(st.lists(texts, min_size=2, max_size=5))
@settings(deadline=None)
def test_quoted_printable_with_holes_decodes_to_the_text_in_short_lines(parts: list[str]):
    html = '<a href="http://a.test/">x</a>'.join(f"<p>{p.replace('<', '')}</p>" for p in parts)
    encoded = quopri.encodestring(html.encode(), quotetabs=True)
    entity = part(
        "text/html; charset=utf-8",
        encoded.replace(b"\r\n", b"\n").replace(b"=0D\n", b"\n").replace(b"\n", b"\r\n"),
        "Content-Transfer-Encoding: quoted-printable",
    )
    out = body_of(delivered(mail(entity)))
    assert untracked(quopri.decodestring(out)).rstrip() == html.encode().rstrip()
    assert max(map(len, out.split(b"\r\n"))) <= 76
    assert out.isascii()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"no header at all",
        b"no header\r\nFrom: late@example.com\r\n\r\nbody",
        b"From: a@example.com",
        b"From: a@example.com\r\n\r\n",
        b" continuation first\r\n\r\nb",
        b"Content-Type: ;;;\r\n\r\nb",
        b'Content-Type: multipart/mixed; boundary="\r\n\r\nb',
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x\r\n\r\n--x--",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html",
        b'Content-Type: text/html; charset="\\\r\n\r\n<a href=http://a.test>',
        b"X: " + b"y" * 100_000 + b"\r\n\r\nb",
        bytes(range(256)) * 10,
    ],
)
def test_malformed_messages_go_out_whole(raw: bytes):
    out = delivered(raw)
    head, blank, body = out.partition(b"\r\n\r\n")
    assert blank
    assert head.startswith(b"Received: ")
    message = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    for line in message.split(b"\r\n"):
        assert line in untracked(head + body)


@given(st.binary(max_size=400) | st.text(alphabet='a:-=;/\r\n "x<>', max_size=400).map(str.encode))
@settings(deadline=None)
def test_no_input_is_lost(raw: bytes):
    everything = Features(inlinecss=True, clicktracking=True, openstracking=True)
    prefix = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/html\r\n"
    for message in (raw, prefix + raw, prefix + b"\r\n" + raw):
        template = template_of(message, everything)
        assert template.body_size >= 0
        assert delivered(message, everything)


def test_bare_line_ends_become_crlf_and_it_is_told():
    template = template_of(b"From: a@example.com\nTo: b\r\rone\ntwo\r\nthree\r")
    assert template.body == (b"one\r\ntwo\r\nthree\r\n",)
    assert template.facts["line_ends"]
    assert template.body_at == -1


@pytest.mark.speed
@pytest.mark.parametrize(
    "raw",
    [
        mail(multipart("mixed", *[TEXT] * 5000)),
        mail(part("multipart/mixed; boundary=-", b"\r\n---x" * 1_000_000)),
        mail(part("multipart/mixed; boundary=-", b"-" * 5_000_000)),
        mail(b"".join(b"Content-Type: multipart/mixed; boundary=a%d\r\n\r\n--a%d\r\n" % (i, i)
                      for i in range(5000))),
        mail(part("multipart/mixed; boundary=a", b"--a\r\nContent-Type: multipart/mixed; "
                  b"boundary=a\r\n\r\n" * 5000)),
        b"A: b\r\n" * 200_000,
        b"A: b" + b"\r\n c" * 500_000,
        mail(part("text/html" + "; a=b" * 100_000, HTML)),
        mail(part("text/html; charset=" + '"' * 500_000, HTML)),
        mail(part("text/html", b"<a href=http://a.test>" * 80_000)),
        mail(part("text/html", b"<a href=http://a.test><b><i>" * 10_000)),
        mail(part("text/html", b"<style>b{c:d}</style>" + b"<div>" * 300_000)),
        mail(part("text/html", b"<style>b{c:d}</style>" + b"<p><b></p>" * 100_000)),
        mail(part("text/html", b"<style>" + b"a,b{c:d}" * 20_000 + b"</style>" + b"<a>" * 20_000)),
        mail(part("text/html", b"<style>" + b":not(" * 40_000 + b"</style><a>")),
        mail(part("text/html", b"<a href='" * 200_000)),
        mail(part("text/html\r\nContent-Transfer-Encoding: quoted-printable", b"=\r\n" * 600_000)),
    ],
)  # fmt: skip
def test_hostile_messages_take_bounded_time(raw: bytes):
    everything = Features(inlinecss=True, clicktracking=True, openstracking=True, preventscam=True)
    started = time.process_time()
    template_of(raw, everything)
    assert time.process_time() - started < 10.0


def test_the_result_parses_as_the_same_structure():
    raw = mail(multipart("mixed", multipart("alternative", TEXT, HTML_UTF8, boundary="q"), TEXT))
    before = email.message_from_bytes(raw, policy=SMTP)
    after = email.message_from_bytes(delivered(raw), policy=SMTP)
    assert [p.get_content_type() for p in after.walk()] == [
        p.get_content_type() for p in before.walk()
    ]
    assert not [p.defects for p in after.walk() if p.defects]
