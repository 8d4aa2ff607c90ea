"""The checks of a message's octets, each against a plain description of what it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.reply import Reply
from postroad_ingress_smtp.content import (
    ContentRules,
    Message,
    examine,
    has_long_line,
)
from postroad_smtp.server.lineends import RepairedContent

RULES = ContentRules(line_length=998, header_size=10_000, received_headers=5)


@given(lines=st.lists(st.integers(0, 30), max_size=12), limit=st.integers(1, 25))
def test_a_long_line_is_found_wherever_it_is(lines: list[int], limit: int):
    raw = b"".join(b"x" * size + b"\r\n" for size in lines)
    assert has_long_line(raw, limit) == any(size > limit for size in lines)


@given(size=st.integers(0, 30), limit=st.integers(1, 25))
def test_a_long_line_without_an_end_is_found(size: int, limit: int):
    raw = b"x" * size
    assert has_long_line(raw, limit) == (size > limit)


@given(raw=st.binary(max_size=200))
def test_no_message_breaks_the_examination(raw: bytes):
    assert isinstance(examine(RepairedContent(raw), RULES, sevenbit=False), Message | Reply)


@given(value=st.text("=?utf-8QBab_\t é\r\n ", max_size=40))
def test_no_subject_breaks_the_examination(value: str):
    raw = b"Subject: " + value.replace("\r", "").replace("\n", "\r\n ").encode() + b"\r\n\r\n"
    facts = examine(RepairedContent(raw), RULES, sevenbit=False)
    assert isinstance(facts, Message)
    assert "\n" not in facts.subject


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        (b"Subject: plain\r\n", "plain"),
        (b"From: a@b\r\nSUBJECT:folded\r\n  twice\r\n\tover\r\nTo: c@d\r\n", "folded  twice\tover"),
        (b"Subject: =?utf-8?B?R3LDvMOfZQ==?= =?utf-8?Q?_an_alle?=\r\n", "Grüße an alle"),
        (b"Subject: =?nosuch?Q?x?=\r\n", "x"),
        (b"Subject: =?utf-7?Q?+2AA-?=\r\n", "+2AA-"),
        (b"Subject: =?utf-16?B?ANg=?=\r\n", "\ufffd"),
        (b"Subject: =?utf-8?B?nonsense\r\n", "=?utf-8?B?nonsense"),
        ("Subject: Grüße\r\n".encode(), "Grüße"),
        (b"X-Subject: no\r\n", ""),
        (b"\xef\xbb\xbfSubject: marked\r\n", "marked"),
        (b"From ann Mon Jan  1 00:00:00 2026\r\nSubject: of a mailbox\r\n", "of a mailbox"),
        (b"To: c@d\r\nno header at all\r\nSubject: still read\r\n", "still read"),
        (b"", ""),
        (b"To: c@d\r\n\r\nSubject: in the body\r\n", ""),
    ],
)
def test_the_subject_is_read_from_the_header_block(header: bytes, subject: str):
    facts = examine(RepairedContent(header + b"\r\nbody\r\n"), RULES, sevenbit=False)
    assert isinstance(facts, Message)
    assert facts.subject == subject


def test_received_headers_of_the_body_are_no_loop():
    raw = b"Subject: x\r\n\r\n" + b"Received: by me\r\n" * 10
    assert isinstance(examine(RepairedContent(raw), RULES, sevenbit=False), Message)
    raw = b"Received: by me\r\n" * 5 + raw
    refusal = examine(RepairedContent(raw), RULES, sevenbit=False)
    assert isinstance(refusal, Reply)
    assert refusal.enhanced == "5.4.6"


def test_the_advice_for_a_long_header_line_is_to_fold_it():
    refusal = examine(RepairedContent(b"X: " + b"x" * 999 + b"\r\n\r\n"), RULES, sevenbit=False)
    assert isinstance(refusal, Reply)
    assert refusal.text.endswith("fold it")
    refusal = examine(RepairedContent(b"X: x\r\n\r\n" + b"x" * 999), RULES, sevenbit=False)
    assert isinstance(refusal, Reply)
    assert "quoted-printable" in refusal.text
