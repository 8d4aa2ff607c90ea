"""The header a message leaves with, its sender domain, and one-click unsubscribe."""

import email
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.control import MAX_INVALID_LINES, read_controls
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.framing import decode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.submission import Client, Submission
from postroad_common.tokens import Keyring, LinkSigner
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.outbound import Envelopes
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import make_template
from postroad_transformer.reading.fields import content_type, read_block
from postroad_transformer.reading.mending import mend_header
from postroad_transformer.reading.sender import peek_sender_domain, sender_domain, unsubscribe_urls
from postroad_transformer.signing.keys import SigningKey

BASE = "https://track.example.com"
Make = Callable[..., Submission]


def head(raw: bytes, submission: Submission, rules: Rules, links: LinkSigner) -> bytes:
    composer = Composer(make_template(raw, submission, rules), links, (), 1.78e9)
    return composer.content(submission.recipients[0].id).head


def test_trace_date_and_message_id_are_added_where_missing(
    make_submission: Make, rules: Rules, links: LinkSigner
):
    submission = make_submission(tags=("week 47",))
    header = head(b"From: a@example.com\r\n\r\nx\r\n", submission, rules, links)
    message = email.message_from_bytes(header)
    trace = " ".join(message["Received"].split())
    assert trace.startswith(
        "from app.example.com ([192.0.2.7]) by mail.example.net (Postroad) with ESMTPSA "
        f"id {submission.id} (using TLSv1.3); "
    )
    assert parsedate_to_datetime(trace.rpartition("; ")[2]).timestamp() == submission.received
    assert parsedate_to_datetime(message["Date"]).timestamp() == submission.received
    assert message["Message-ID"] == f"<{submission.id}@mail.example.net>"
    assert re.fullmatch("week47:[0-9a-f]{16}:main:postroad", message["Feedback-ID"])
    assert message["List-Unsubscribe"] is None


@pytest.mark.parametrize("blank", [b"", b" ", b" \r\n\t", b" <>"])
def test_a_date_and_a_message_id_that_say_nothing_are_replaced(
    blank: bytes, make_submission: Make, rules: Rules, links: LinkSigner
):
    raw = b"Date:%s\r\nSubject:%s\r\nMessage-ID:%s\r\n\r\nx\r\n" % (blank, blank, blank)
    submission = make_submission()
    message = email.message_from_bytes(head(raw, submission, rules, links))
    assert message.get_all("Message-ID") == [f"<{submission.id}@mail.example.net>"]
    [date] = message.get_all("Date", [])
    assert parsedate_to_datetime(date).timestamp() == submission.received
    assert len(message.get_all("Subject", [])) == 1
    facts = make_template(raw, submission, rules).facts
    assert facts["removed"] == ["date", "message-id"]


def test_what_the_message_has_stays_octet_for_octet(
    make_submission: Make, rules: Rules, links: LinkSigner
):
    fields = (
        b"from:  a@example.com\r\nDATE: yesterday\r\nMessage-id:\r\n\t<x@y>\r\n"
        b"Subject: =?utf-8?q?H=C3=A9?=\r\n =?utf-8?q?_x?=\r\nX-8bit: \xff\xfe\r\n"
        b"feedback-id: a:b\r\n"
        b"Received: from elsewhere\r\n"
    )
    header = head(fields + b"\r\nx\r\n", make_submission(), rules, links)
    assert header.endswith(fields + b"\r\n")
    assert header.lower().count(b"message-id:") == header.lower().count(b"date:") == 1


def test_private_fields_are_removed_in_any_spelling(
    make_submission: Make, rules: Rules, links: LinkSigner
):
    raw = (
        b"To: a@d.test\r\nBCC: b@d.test,\r\n c@d.test\r\nResent-Bcc:d@d.test\r\n"
        b"Return-path: <e@d.test>\r\nbcc : f@d.test\r\nX-Bcc: g@d.test\r\n\r\nBcc: body\r\n"
    )
    template = make_template(raw, make_submission(), rules)
    header = head(raw, make_submission(), rules, links)
    assert not re.search(rb"[bcdef]@d\.test", header)
    assert b"To: a@d.test\r\n" in header
    assert b"X-Bcc: g@d.test\r\n" in header
    assert template.facts["removed"] == ["bcc", "resent-bcc", "return-path"]


@pytest.mark.parametrize("helo", ["a\r\nX-Evil: 1", "x" * 5000, "", "[192.0.2.1]", "ü"])
def test_what_the_client_said_cannot_break_the_trace(
    helo: str, make_submission: Make, rules: Rules, links: LinkSigner
):
    client = Client(ip="2001:db8::1\r\n", helo=helo, tls="TLS\r\nX: y", protocol="ESMTPS\r\nA")
    header = head(b"A: b\r\n\r\n", make_submission(client=client), rules, links)
    message = email.message_from_bytes(header)
    assert "X-Evil" not in message
    assert message.keys()[0] == "Received"
    assert max(map(len, header.split(b"\r\n"))) < 500


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (b"a@example.com", "example.com"),
        (b"A <a@Example.COM>", "example.com"),
        (b'"b@evil.test" <a@example.com>', "example.com"),
        (b'"x \\" <b@evil.test>" <a@example.com>', "example.com"),
        (b"(b@evil.test) a@example.com", "example.com"),
        (b"A\r\n <a@example.com>", "example.com"),
        (b"a@example.com, b@other.test", "example.com"),
        (b"<@route.test:a@example.com>", "example.com"),
        (b'"a"@example.com', "example.com"),
        (b'"b@evil.test"@example.com (c)', "example.com"),
        (b"no address", None),
        (b"a@\xc3\xbc.test", "xn--tda.test"),
        (b"", None),
    ],
)
def test_the_sender_domain_is_that_of_the_from_address(value: bytes, domain: str | None):
    raw = b"To: x@to.test\r\nFrom: " + value + b"\r\n\r\n"
    assert sender_domain(raw, read_block(raw, 0, len(raw))) == domain
    assert peek_sender_domain(raw) == domain
    assert peek_sender_domain(raw.replace(b"\r\n", b"\n")) == domain


def test_the_login_in_the_feedback_id_is_a_keyed_hash():
    one, other = (HeaderRules("h", feedback_key=key) for key in (b"1", b"2"))
    assert one.pseudonym("shop") == one.pseudonym("shop")
    assert len({one.pseudonym("shop"), one.pseudonym("shop2"), other.pseudonym("shop")}) == 3


@pytest.mark.parametrize(
    "raw",
    [
        b"From shop@a.test Sat Jan  3 01:05:34 2026\r\n",
        b">From shop@a.test Sat Jan  3 01:05:34 2026\r\n",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbfFrom shop@a.test Sat Jan  3 01:05:34 2026\r\n",
        b"this is no field\r\n",
        b"To: a@d.test\r\nno field: at all\r\n continued\r\n",
    ],
)
def test_a_line_that_is_no_field_does_not_end_the_header(
    raw: bytes, make_submission: Make, rules: Rules, links: LinkSigner
):
    raw += b"From: a@example.com\r\nBcc: secret@d.test\r\nSubject: x\r\n\r\nBcc: body\r\n"
    template = make_template(raw, make_submission(), rules)
    header = head(raw, make_submission(), rules, links)
    assert template.body == (b"Bcc: body\r\n",)
    assert template.sender_domain == "example.com"
    assert b"secret" not in header
    assert not email.message_from_bytes(header).defects


def test_unsubscribe_urls_are_read_through_folding():
    raw = (
        b"List-Unsubscribe: <mailto:a@b>,\r\n <https://a.test/u?\r\n x=1>, <HTTP://b.test>\r\n\r\n"
    )
    found = unsubscribe_urls(raw, read_block(raw, 0, len(raw)))
    assert found == ("https://a.test/u?x=1", "HTTP://b.test")


def test_one_click_unsubscribe_is_added_per_recipient_and_signed(
    make_submission: Make, links: LinkSigner, rsa_key: SigningKey
):
    rules = Rules(HeaderRules("mail.example.net", unsubscribe_url=BASE), BASE)
    submission = make_submission("a@d.test", "b@d.test")
    template = make_template(b"From: a@example.com\r\n\r\nx\r\n", submission, rules)
    assert template.is_personal
    composer = Composer(template, links, (rsa_key,), 1.78e9)
    seen = set()
    for recipient in submission.recipients:
        header = composer.content(recipient.id).head
        message = email.message_from_bytes(header)
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        url = message["List-Unsubscribe"].strip("<>")
        token = links.read_path(url.removeprefix(BASE))
        assert token is not None
        assert token.message_id == recipient.id
        assert "list-unsubscribe:list-unsubscribe" in "".join(message["DKIM-Signature"].split())
        seen.add(message["DKIM-Signature"])
    assert len(seen) == 2


def test_a_messages_own_list_unsubscribe_is_left_as_it_is(make_submission: Make, links: LinkSigner):
    rules = Rules(HeaderRules("mail.example.net", unsubscribe_url=BASE), BASE)
    raw = b"List-Unsubscribe: <https://a.test/>\r\n\r\nx\r\n"
    header = head(raw, make_submission(), rules, links)
    assert header.count(b"List-Unsubscribe") == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/html", ("text", "html", {})),
        (b" TEXT / HTML ;charset=utf-8;", ("text", "html", {"charset": b"utf-8"})),
        (b'a/b; x="c;\\"d"; X=e; y = f', ("a", "b", {"x": b'c;"d', "y": b"f"})),
        (b"text", None),
        (b"", None),
        (b";;;", None),
    ],
)
def test_content_types_are_read(value: bytes, expected: tuple[str, str, dict[str, bytes]] | None):
    assert content_type(value) == expected


@pytest.mark.parametrize(
    ("by_default", "wanted", "added"),
    [(True, None, True), (True, False, False), (False, True, True), (False, None, False)],
)
def test_a_submission_has_the_last_word_on_one_click_unsubscribe(
    make_submission: Make, links: LinkSigner, *, by_default: bool, wanted: bool | None, added: bool
):
    rules = Rules(HeaderRules("mx.example.net", unsubscribe_url=BASE if by_default else None), BASE)
    submission = make_submission(list_unsubscribe=wanted)
    template = make_template(b"From: a@example.com\r\n\r\nx\r\n", submission, rules)
    head = Composer(template, links, (), 0).content(submission.recipients[0].id).head
    assert (b"List-Unsubscribe: <https://track.example.com/u" in head) is added
    assert (b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in head) is added


@pytest.mark.parametrize(
    ("base", "host", "expected"),
    [
        ("https://t.example.net", "l.example.com", "https://l.example.com"),
        ("https://t.example.net:8443/x", "l.example.com", "https://l.example.com/x"),
        ("http://localhost:8081", None, "http://localhost:8081"),
    ],
)
def test_a_tracking_host_takes_the_place_of_host_and_port(
    base: str, host: str | None, expected: str
):
    rules = Rules(HeaderRules("mx.example.net", unsubscribe_url=base), base).at(host)
    assert (rules.base_url, rules.header.unsubscribe_url) == (expected, expected)


@given(
    st.lists(
        st.sampled_from(
            [
                b"X-Postroad-Tags: t",
                b"Bcc: secret@d.test",
                b"Subject: s",
                b"no field at all",
                b"From a@b.test Sat Jan  3 2026",
                b": nothing",
                b" ; folded",
                b"\xff\xfe\xef\xbb\xbfX-Postroad-Tags: t",
                b"\xef\xbb\xbfTo: a@b.test",
            ]
        ),
        max_size=30,
    )
)
def test_ingress_and_transformer_agree_where_a_header_with_bad_lines_ends(lines: list[bytes]):
    raw = b"".join(line + b"\r\n" for line in lines) + b"\r\ntext\r\n"
    stripped = read_controls(raw).stripped
    mended = mend_header(stripped)
    block = read_block(mended, 0, len(mended))
    body = mended[block.body :]
    # What the ingress has left is text for the transformer as well, never a field.
    assert b"x-postroad-tags" not in {field.name for field in block.fields}
    if len(lines) <= MAX_INVALID_LINES and block.separated:
        assert body == b"text\r\n"
        assert b"secret" not in body


@pytest.mark.parametrize(
    ("head", "shown"),
    [
        (b"Bcc: a@d.test,\r\nsecret@d.test\r\nTo: b@d.test\r\n", b"To: b@d.test\r\n"),
        (b"Bcc: a@d.test\r\n??\r\n secret@d.test\r\nTo: b@d.test\r\n", b"To: b@d.test\r\n"),
        (b"To: b@d.test\r\nbcc secret@d.test\r\nX: y\r\n", b"To: b@d.test\r\nX: y\r\n"),
        (b"??\r\nBCC\xa0: a,\r\n secret\r\nX: y\r\n", b"X-Invalid-Line: ??\r\nX: y\r\n"),
        (b" Resent-Bcc: secret@d.test\r\nTo: b@d.test\r\n", b"To: b@d.test\r\n"),
        (b"X: y\r\n\xef\xbb\xbfBcc: secret@d.test\r\nTo: b\r\n", b"X: y\r\nTo: b\r\n"),
        (b"\xef\xbb\xbf\xef\xbb\xbfBcc: secret@d.test\r\nTo: b\r\n", b"To: b\r\n"),
        (b"\xff\xfeBcc: secret@d.test\r\nTo: b@d.test\r\n", b"To: b@d.test\r\n"),
        (b"??\r\n" + b" more\r\n" * 50 + b"Bcc: secret@d.test\r\nTo: b\r\n", b"To: b\r\n"),
        (b"Bcc : secret@d.test\r\nTo \t: b@d.test\r\n", b"To: b@d.test\r\n"),
    ],
)
def test_nothing_of_a_bcc_is_left_however_broken_the_header_is(
    make_submission: Make, links: LinkSigner, head: bytes, shown: bytes
):
    for before, body in ((b"", b"text\r\n"), (b"From: a@d.test\r\n??\r\n", b"Bcc: b\r\n")):
        raw = before + head + b"\r\n" + body
        template = make_template(raw, make_submission(), Rules(HeaderRules("mx.d.test"), BASE))
        composer = Composer(template, links, (), 0)
        content = composer.content(make_submission().recipients[0].id)
        assert b"secret" not in content.head
        assert shown in content.head
        assert composer.body(content) == body


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (b"Bcc secret@d.test,\r\n secret\r\n\r\ntext\r\n", b"text\r\n"),
        (b"Bcc: a@d.test,\r\nsecret@d.test\r\nHello\r\n\r\nx\r\n", b"Hello\r\n\r\nx\r\n"),
        (
            b"A line\r\n" * 21 + b"Bcc: secret@d.test\r\nHello\r\n\r\nBcc: x\r\n",
            b"A line\r\n" * 21 + b"Hello\r\n\r\nBcc: x\r\n",
        ),
    ],
)
def test_nothing_of_a_bcc_is_left_in_a_text_that_no_blank_line_parts_from_the_header(
    make_submission: Make, links: LinkSigner, text: bytes, body: bytes
):
    raw = b"From: a@d.test\r\n" + text
    template = make_template(raw, make_submission(), Rules(HeaderRules("mx.d.test"), BASE))
    composer = Composer(template, links, (), 0)
    content = composer.content(make_submission().recipients[0].id)
    assert composer.body(content) == body
    assert b"secret" not in content.head


@pytest.mark.parametrize(
    ("head", "lines", "mended"),
    [
        (b"Content-Transfer-Encoding: base64\r\n", b"a bad line\r\n", True),
        (b"content-transfer-encoding : BASE64\r\nX: y\r\n", b"one\r\n two\r\nthree\r\n", True),
        (b"Content-Transfer-Encoding: base64\r\n", b"a line\r\n" * 21, False),
        (b"Content-Transfer-Encoding: quoted-printable\r\n", b"Dear Kim,\r\n", False),
        (b"Subject: s\r\n", b"Dear Kim,\r\n", False),
    ],
)
def test_a_bad_line_before_the_blank_line_is_body_unless_it_would_garble_base64(
    head: bytes, lines: bytes, *, mended: bool
):
    made = mend_header(head + lines + b"\r\naGVsbG8=\r\n")
    block = read_block(made, 0, len(made))
    body = b"aGVsbG8=\r\n" if mended else lines + b"\r\naGVsbG8=\r\n"
    assert made[block.body :] == body
    assert (b"X-Invalid-Line: " in made) is mended


def test_a_bad_line_after_a_bcc_goes_before_base64_too():
    made = mend_header(
        b"Content-Transfer-Encoding: base64\r\nBcc: a@d.test,\r\nsecret@d.test\r\n\r\naGVsbG8=\r\n"
    )
    assert b"secret" not in made
    assert made.endswith(b"\r\n\r\naGVsbG8=\r\n")


@pytest.mark.parametrize(
    ("raw", "eightbit"),
    [
        (b"From: a@d.test\r\n\r\ntext\r\n", False),
        ("From: a@d.test\r\nSubject: Grüße\r\n\r\ntext\r\n".encode(), True),
        ("From: a@d.test\r\n\r\nGrüße\r\n".encode(), True),
    ],
)
def test_what_goes_out_says_whether_it_has_octets_above_127(
    make_submission: Make, links: LinkSigner, rules: Rules, *, raw: bytes, eightbit: bool
):
    submission = make_submission()
    composer = Composer(make_template(raw, submission, rules), links, (), 0)
    bounces = BounceAddresses(Keyring(["a secret of sufficient length"]), "b.test", 86_400)
    content = composer.content(submission.recipients[0].id)
    _, frame = Envelopes(submission, composer, bounces, None).frame(submission.recipients, content)
    message, _ = decode(OutboundMessage, frame)
    assert message.eightbit is eightbit
