"""8-bit messages in 7 bits: a mail reader sees the same."""

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_sender.delivery.sevenbit import to_seven_bit
from postroad_sender.delivery.sevenbit_header import MOST_FIELD


def read(raw: bytes) -> EmailMessage:
    found = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def mail(head: str, body: bytes) -> bytes:
    return head.strip().replace("\n", "\r\n").encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("value", "charset"),
    [("Grüße, ő", "utf-8"), ("Grüße", "iso-8859-1"), ("日本語" * 200, "utf-8")],
)
def test_text_is_quoted_printable_and_reads_the_same(value: str, charset: str):
    body = f"{value}\r\n.\r\n  two  \r\n".encode(charset)
    raw = mail(f"Subject: x\nContent-Type: text/plain; charset={charset}", body)
    made = to_seven_bit(raw)
    assert made.isascii()
    assert max(map(len, made.split(b"\r\n"))) <= 998
    found = read(made)
    assert found["content-transfer-encoding"] == "quoted-printable"
    assert found["mime-version"] == "1.0"
    assert found.get_payload(decode=True) == body
    assert found.get_content_charset() == charset


def test_text_without_a_type_gets_one_with_its_charset():
    made = read(to_seven_bit("Subject: x\r\n\r\nGrüße\r\n".encode()))
    assert made.get_content() == "Grüße\r\n"
    assert read(to_seven_bit(b"A: b\r\n\r\n\xe9\r\n")).get_content_charset() == "unknown-8bit"


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("Subject: Grüße aus Köln, bis bald", "subject", "Grüße aus Köln, bis bald"),
        ("Subject: " + "ő" * 300, "subject", "ő" * 300),
        ('From: "Müller, Jürgen" <a@b.test>', "from", '"Müller, Jürgen" <a@b.test>'),
        ("To: José Núñez <a@b.test>, c@d.test", "to", "José Núñez <a@b.test>, c@d.test"),
    ],
)
def test_header_reads_the_same(field: str, name: str, value: str):
    made = to_seven_bit(f"{field}\r\n\r\nx\r\n".encode())
    assert made.isascii()
    assert str(read(made)[name]) == value


def test_file_name_reads_the_same():
    raw = mail(
        'Content-Type: application/pdf; name="zwölf.pdf"\n'
        'Content-Disposition: attachment; filename="zwölf \\"x\\".pdf"; size=3',
        b"\x00\xff\x80",
    )
    made = read(to_seven_bit(raw))
    assert made.get_filename() == 'zwölf "x".pdf'
    assert made["content-disposition"].params["size"] == "3"
    assert made.get_payload(decode=True) == b"\x00\xff\x80"


def test_address_that_is_not_ascii_is_told_in_a_downgraded_field():
    made = read(to_seven_bit("From: Jürgen <jürgen@b.test>\r\n\r\nx\r\n".encode()))
    assert made["from"] is None
    assert made["downgraded-from"] == "Jürgen <jürgen@b.test>"


def test_report_with_the_whole_mail_keeps_its_structure():
    inner = mail(
        'Subject: Grüße\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="i"',
        "--i\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        "<p>é</p>\r\n--i\r\nContent-Type: image/png\r\n\r\nü\r\n--i--\r\nEpilög\r\n".encode(),
    )
    raw = mail(
        "Subject: Undelivered\nMIME-Version: 1.0\nContent-Transfer-Encoding: 8bit\n"
        "Content-Type: multipart/report; report-type=delivery-status;\n boundary=o",
        "Präambel\r\n--o\r\nContent-Type: text/plain\r\n\r\nhello\r\n--o\r\n"
        "Content-Type: message/delivery-status\r\n\r\nDiagnostic-Code: smtp; 550 nö\r\n\r\n"
        "--o\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode()
        + inner
        + b"\r\n--o--\r\n",
    )
    made = to_seven_bit(raw)
    assert made.isascii()
    report = read(made)
    assert [part.get_content_type() for part in report.walk()] == [
        "multipart/report",
        "text/plain",
        "message/delivery-status",
        "text/plain",
        "message/rfc822",
        "multipart/mixed",
        "text/html",
        "image/png",
    ]
    assert not any(part.defects for part in report.walk())
    _, _, status, _, whole, _, html, image = report.walk()
    assert "550 n??" in str(status)
    assert whole["content-transfer-encoding"] == "7bit"
    assert isinstance(html, EmailMessage)
    assert html.get_content() == "<p>é</p>"
    assert image.get_payload(decode=True) == "ü".encode()


def test_returned_header_alone_has_encoded_words():
    raw = mail(
        'Content-Type: multipart/report; boundary="o"',
        "--o\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        "Subject: Grüße\r\nTo: a@b.test\r\n\r\n--o--\r\n".encode(),
    )
    made = to_seven_bit(raw)
    assert b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nTo: a@b.test\r\n" in made


def test_content_that_says_it_is_encoded_and_is_not_stays_decodable():
    quoted = to_seven_bit(mail("Content-Transfer-Encoding: quoted-printable", b"a=3Db\xc3\xa9\r\n"))
    assert quoted.endswith(b"a=3Db=C3=A9\r\n")
    base64 = to_seven_bit(mail("Content-Transfer-Encoding: base64", b"aGVs\xe9bG8=\r\n"))
    assert read(base64).get_payload(decode=True) == b"hello"


def test_message_in_seven_bits_is_left_alone():
    raw = b"Subject: x\n\nbare LF\n"
    assert to_seven_bit(raw) is raw


_PIECES = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r\n\r\n", b": ", b"--b", b"--b--", b"\xe9", "é".encode(), b'"', b"\\",
        b"<", b";", b"(", b"a@b", b" ", b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: message/rfc822\r\n", b"Content-Type: text/html\r\n", b"Subject", b"From",
        b"Content-Transfer-Encoding: 8bit\r\n", b'filename="', b"x",
    ]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=60).map(b"".join))
def test_anything_becomes_ascii_and_stays_so(raw: bytes):
    made = to_seven_bit(raw)
    assert made.isascii()
    assert to_seven_bit(made) is made


@pytest.mark.parametrize(
    "atom", [b'"\\', b"<", b';a="', b"(", b"a", b'\\"', b"\r\n--b ", b"\xe9 a"]
)
@pytest.mark.parametrize("field", [b"From: ", b"Subject: ", b"Content-Type: x/y; boundary=b"])
def test_hostile_text_costs_no_more_than_its_length(atom: bytes, field: bytes):
    raw = field + b"\xe9" + atom * (262_144 // len(atom)) + b"\r\n\r\n\xe9"
    assert to_seven_bit(raw).isascii()
    raw = field + b"\xe9" + atom * (MOST_FIELD // len(atom) - 40) + b"\r\n\r\n\xe9"
    assert to_seven_bit(raw).isascii()


def test_parts_nested_without_end_are_still_sent():
    raw = b"Content-Type: message/rfc822\r\n\r\n" * 500 + "é".encode()
    assert to_seven_bit(raw).isascii()
