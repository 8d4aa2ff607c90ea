import pytest

from postroad_bounce_processor.understanding.record import ReturnKind
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.decoding import decode_words
from postroad_common.mail.mime import MAX_HEADERS, parse_media_type, read, read_headers


def test_parts_are_split_at_their_delimiters_only():
    mail = read(
        b"Content-Type: multipart/mixed; boundary=ab\r\n\r\npreamble --ab\r\n--ab\r\n\r\none\r\n"
        b"--abc\r\n--ab \r\nContent-Type: text/html\r\n\r\n<p>two&amp;</p>\r\n--ab--\r\nepilogue"
    )
    assert [part.text.strip() for part in mail.children] == ["one\n--abc", "two&"]


def test_bare_line_feeds_work_as_well_as_crlf():
    mail = read(b"Content-Type: multipart/mixed;\n boundary=x\n\n--x\n\none\n--x--\n")
    assert mail.children[0].text == "one"


def test_missing_closing_delimiter_keeps_the_last_part():
    mail = read(b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\n\ntwo")
    assert [part.text for part in mail.children] == ["one", "two"]


def test_returned_message_is_not_descended_into():
    mail = read(
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\n"
        b"Content-Type: multipart/mixed; boundary=y\n\n--y\n\ninner\n--y--\n--x--\n"
    )
    assert [part.media_type for part in mail.walk()] == ["multipart/mixed", "message/rfc822"]


def test_transfer_encodings_are_undone_and_broken_ones_read_as_far_as_they_go():
    for encoding, body in (
        (b"base64", b"aGVsbG8="),
        (b"base64", b"aGVs\r\nbG8"),
        (b"BASE64", b"aGVs!!bG8=\r\n"),
        (b"quoted-printable", b"hel=6Co"),
    ):
        mail = read(b"Content-Transfer-Encoding: " + encoding + b"\n\n" + body)
        assert mail.text == "hello"


def test_charset_of_the_part_is_used_and_a_wrong_one_survived():
    part = b"Content-Type: text/plain; charset=%s\n\n%s"
    assert read(part % (b"gb18030", "退信".encode("gb18030"))).text == "退信"
    assert read(part % (b"none-such", "é".encode())).text == "é"
    assert read(part % (b"us-ascii", b"\xe9"))  # not ASCII at all
    assert read(part % (b"none-such", b"\xe9")).text == "é"


def test_text_of_html_has_no_styles_scripts_and_tags():
    mail = read(
        b"Content-Type: text/html\n\n<html><head><title>t</title></head><style>a{b}</style>"
        b"<body>one<br>two <b>three</b><script>x</script> four"
    )
    assert mail.text.split() == ["one", "two", "three", "four"]


def test_folded_header_is_one_value_and_an_mbox_line_is_skipped():
    mail = read(b"From MAILER-DAEMON Fri Nov 20\nSubject: one\n two\nno colon here\nTo: x\n\nbody")
    assert mail.headers.get("subject") == "one two"
    assert mail.headers.get("to") == "x"
    assert mail.text == "body"


def test_media_type_with_quotes_continuations_and_rubbish():
    assert parse_media_type('Multipart/Report; REPORT-TYPE="delivery-status" ; boundary=a=b') == (
        "multipart/report",
        {"report-type": "delivery-status", "boundary": "a=b"},
    )
    assert parse_media_type("nonsense") == ("", {})


def test_encoded_words_are_decoded_and_broken_ones_left():
    assert decode_words("=?utf-8?Q?f=C3=BCr?= x") == "für x"
    assert decode_words("=?gibberish") == "=?gibberish"
    assert decode_words("=?bad?B?!!!?=") == ""


_REPORT = (
    b"From: MAILER-DAEMON@example.net\r\n"
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\n"
    b"Reporting-MTA: dns; mx.example.net\r\n\r\n"
    b"Final-Recipient: rfc822; kim@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n--b--\r\n"
)
_LONG_HEADERS = {
    "trace fields": b"Received: from a.example by b.example\r\n" * 3000,
    "one field in many lines": b"To: kim@example.net" + b",\r\n kim@example.net" * 10_000 + b"\r\n",
    "one field in one line": b"X-Scan: " + b"a" * 1_000_000 + b"\r\n",
    "short fields": b"X-Hop: 1\r\n" * (MAX_HEADERS + 100),
    "lines that are no fields": b"no field at all\r\n" * 6000,
}


@pytest.mark.parametrize("name", _LONG_HEADERS)
def test_report_with_a_long_header_is_understood_as_a_report(name: str):
    found = understand(read(_LONG_HEADERS[name] + _REPORT), expected="kim@example.net")
    assert (found.kind, found.hard) == (ReturnKind.BOUNCE, True)


def test_of_a_long_header_the_first_fields_of_each_name_are_kept_and_cut():
    block = b"Received: x\r\n" * 10_000 + b"Subject: " + b"s" * 100_000 + b"\r\nTo: kim@example.net"
    headers = read_headers(block)
    assert headers.get("to") == "kim@example.net"
    assert len(headers.get("subject")) == 4096 - len("Subject: ")
    assert len(headers.all("received")) == 50
    varied = b"".join(b"X-%d: x\r\n" % number for number in range(2_000))
    assert len(read_headers(varied).fields) == MAX_HEADERS
