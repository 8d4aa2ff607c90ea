"""The bounds of the mailbox, and the reading of hostile mail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_sink import mime
from postroad_sink.mailbox import ConnectionOrigin, KeptMessage, MessageFilter, SinkMailbox

ORIGIN = ConnectionOrigin("127.0.0.1", 1, "127.0.0.1", 1, "c", "ESMTP", None, None)


def message(number: int, raw: bytes = b"x") -> KeptMessage:
    return KeptMessage(number, 0.0, "a@x.test", {}, ("b@y.test",), ({},), ORIGIN, 1, raw)


def test_oldest_messages_go_when_there_are_too_many():
    mailbox = SinkMailbox(max_messages=3, max_bytes=1000)
    for number in range(1, 6):
        mailbox.add(message(number))
    assert [kept.number for kept in mailbox.find(MessageFilter())] == [5, 4, 3]
    assert mailbox.dropped == 2


def test_oldest_messages_go_when_they_are_too_large_together():
    mailbox = SinkMailbox(max_messages=100, max_bytes=1000)
    for number in range(1, 6):
        mailbox.add(message(number, b"x" * 400))
    assert [kept.number for kept in mailbox.find(MessageFilter())] == [5, 4]
    assert mailbox.bytes == 800


def test_message_larger_than_the_bound_is_kept_alone():
    mailbox = SinkMailbox(max_messages=100, max_bytes=10)
    mailbox.add(message(1))
    mailbox.add(message(2, b"x" * 400))
    assert [kept.number for kept in mailbox.find(MessageFilter())] == [2]


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"", ""),
        (b"subject:plain\r\n\r\nSubject: body", "plain"),
        (b"X: y\r\n\r\nSubject: body", ""),
        (b"Subject: a\r\n b\r\nTo: c\r\n\r\n", "a b"),
        (b"Subject: =?utf-8?q?=FF?=\r\n\r\n", "=?utf-8?q?=FF?="),
        (b"Subject: =?nowhere?q?x?=\r\n\r\n", "=?nowhere?q?x?="),
        (b"Subject: =?utf-8?b?abcde?=\r\n\r\n", "=?utf-8?b?abcde?="),
        ("Subject: grün\r\n\r\n".encode(), "grün"),
    ],
)
def test_subject_is_decoded_or_shown_as_it_came(raw: bytes, subject: str):
    assert mime.subject(raw) == subject


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(raw: bytes):
    mail = mime.read(raw)
    assert all(isinstance(part.text, str) for part in mail.parts)
    assert isinstance(mime.subject(raw), str)


@given(
    st.lists(
        st.sampled_from(
            [
                "Content-Type: multipart/mixed; boundary=b\r\n",
                "Content-Type: message/rfc822\r\n",
                "Content-Type: text/html; charset=undefined\r\n",
                "Content-Disposition: attachment; filename*=utf-8''%FF\r\n",
                "Content-Transfer-Encoding: base64\r\n",
                "Content-ID: <\r\n",
                "Subject: =?x?b?y?=\r\n",
                "\r\n",
                "--b\r\n",
                "--b--\r\n",
                "ä\r\n",
            ]
        )
    )
)
def test_any_tangle_of_mime_can_be_read(lines: list[str]):
    mail = mime.read("".join(lines).encode())
    assert all(isinstance(part.text, str) for part in mail.parts)


def test_mail_nested_beyond_measure_is_shown_as_one_part():
    raw = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(3000)
    )
    assert mime.read(raw).parts[0].data == raw


def test_bare_line_ends_are_noticed():
    assert mime.has_bare_line_ends(b"a\nb\r\n")
    assert mime.has_bare_line_ends(b"a\rb\r\n")
    assert not mime.has_bare_line_ends(b"a\r\nb\r\n")
