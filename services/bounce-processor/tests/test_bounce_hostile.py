"""Whatever comes back, understanding it ends: without an exception, within a bounded time."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad_bounce_processor.understanding.record import ReturnKind
from postroad_bounce_processor.understanding.report import MAX_RECIPIENTS, find_report
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.decoding import decode_text
from postroad_common.mail.mime import MAX_PARTS, read, read_headers

MEBIBYTE = 1024 * 1024

# Pieces that mails are made of, so that random ones get past the first look.
_PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n",
        b'Content-Type: multipart/mixed; boundary="b"\n',
        b"Content-Type: message/delivery-status\r\n",
        b"Content-Type: message/feedback-report\n",
        b"Content-Type: text/html; charset=utf-7\n",
        b"Content-Type: text/plain; charset=punycode\n",
        b"Content-Type: text/plain; charset=zlib\n",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"From: MAILER-DAEMON@example.net\n",
        b"Subject: =?utf-8?Q?Undeliverable?= =?x?B?####?=\n",
        b"X-Failed-Recipients: kim@example.net\n",
        b"Final-Recipient: rfc822; kim@example.net\n",
        b"Final-Recipient: utf-8; \\x{110000}\\x{D800}@x\n",
        b"Action: failed\n",
        b"Status: 5.1.1\r\n",
        b"Diagnostic-Code: smtp; 550 5.1.1 user unknown\n",
        b"Feedback-Type: abuse\n",
        b"Hi. This is the qmail-send program\n",
        b"<kim@example.net>: no mailbox here by that name (#5.1.1)\n",
        b"--b\r\n",
        b"--b--\n",
        b"\r\n",
        b"\n\n",
        b"<style>",
        b"&#x110000;&#0;&amp;",
        b"\xff\xfe\x00\x01",
    ]
)
_MAILS = st.lists(st.one_of(_PIECES, st.binary(max_size=40)), max_size=60).map(b"".join)


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(raw=_MAILS, expected=st.sampled_from(["", "kim@example.net", "@", "\u017f@\u0130"]))
def test_any_bytes_are_understood_without_an_exception(raw: bytes, expected: str):
    found = understand(read(raw), expected=expected)
    assert found.kind in ReturnKind
    assert len(found.diagnostic) <= 2000
    assert len(found.recipient) <= 400
    assert found.kind is ReturnKind.BOUNCE or not found.hard
    assert "\n" not in found.diagnostic


@settings(max_examples=200, deadline=1000)
@given(raw=st.binary(max_size=2000))
def test_random_bytes_are_never_a_hard_bounce(raw: bytes):
    assert not understand(read(raw), expected="kim@example.net").hard


@given(data=st.binary(max_size=200), charset=st.text(max_size=40))
def test_any_charset_decodes_to_text(data: bytes, charset: str):
    assert isinstance(decode_text(data, charset), str)


@given(block=st.binary(max_size=500))
def test_header_values_have_no_line_ends(block: bytes):
    for name, value in read_headers(block).fields:
        assert "\n" not in name
        assert "\x00" not in value


_STORMS = {
    "returned message of 25 MiB": b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: message/rfc822\r\n\r\n" + b"QUJDREVGRw==\r\n" * (25 * MEBIBYTE // 14),
    "lines that begin like delimiters": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"\n--bX" * (5 * MEBIBYTE),
    "millions of parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"\n--b\n" * (5 * MEBIBYTE),
    "delimiters inside lines": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"x--b" * (6 * MEBIBYTE),
    "a header without end": b"Subject: " + b"a" * (25 * MEBIBYTE),
    "a header of tiny fields": b"a:\n" * (8 * MEBIBYTE),
    "parts with a header of half a mebibyte": b"Content-Type: multipart/mixed; boundary=b\n\n"
    + (b"--b\n" + b"a:b\n" * (MEBIBYTE // 8) + b"\n\n") * 40,
    "nothing but line ends": b"\n" * (25 * MEBIBYTE),
    "unclosed style elements": b"Content-Type: text/html\n\n" + b"<style" * (4 * MEBIBYTE),
    "half addresses": b"From: mailer-daemon@x\nSubject: undelivered\n\n" + b"a@" * (12 * MEBIBYTE),
    "beginnings of copies": b"From: mailer-daemon@x\nSubject: undelivered\n\nx\n"
    + b"-- original " * (2 * MEBIBYTE),
    "a million recipients": b"Content-Type: multipart/report; boundary=b\n\n--b\n"
    b"Content-Type: message/delivery-status\n\n" + b"Final-Recipient: rfc822; a@b\n\n" * 1_000_000,
    "a field of a million lines": b"Content-Type: multipart/report; boundary=b\n\n--b\n"
    b"Content-Type: message/delivery-status\n\nFinal-Recipient: x\n" + b" a\n" * 1_000_000,
    "words that nearly match": b"From: mailer-daemon@x\nSubject: undelivered\n\n"
    b"your message could not be delivered\nkim@example.net " + b"user address mailbox " * 50_000,
}


@pytest.mark.speed
@pytest.mark.parametrize("name", sorted(_STORMS))
def test_a_storm_in_one_mail_is_over_soon(name: str):
    started = time.process_time()
    understand(read(_STORMS[name]), expected="kim@example.net")
    assert time.process_time() - started < 3.0  # measured: 0.4 at most; the machine may be busy


def test_nesting_and_number_of_parts_are_bounded():
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(1000)
    )
    assert len(list(read(nested).walk())) <= 10
    flat = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 1000
    assert len(list(read(flat).walk())) <= MAX_PARTS


def test_number_of_recipients_in_a_report_is_bounded():
    raw = (
        b"Content-Type: multipart/report; boundary=b\n\n--b\n"
        b"Content-Type: message/delivery-status\n\n"
    ) + b"Final-Recipient: rfc822; a@b\n\n" * 5000
    report = find_report(read(raw))
    assert report is not None
    assert len(report.recipients) == MAX_RECIPIENTS


def test_charsets_that_are_no_charsets_are_refused():
    # As zlib this would grow, as punycode it would take quadratic time, as idna it would raise.
    for charset in ("zlib", "punycode", "idna", "rot13", "unicode_escape", "undefined", "../x"):
        assert decode_text(b"abc-", charset) == "abc-"
