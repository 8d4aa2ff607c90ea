"""The traces of our mail in complaints, whatever the provider left in them."""

import base64
import quopri
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_bounce_processor.understanding.traces import Traces, find_traces, login_of
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.mime import read
from postroad_common.mail.verp import BounceAddresses
from postroad_common.tokens import Keyring, LinkSigner

KEYS = Keyring(("a-secret-of-sixteen",))
ADDRESSES = BounceAddresses(KEYS, "bounces.example")
LINKS = LinkSigner(KEYS, "https://t.sender.example")
MESSAGE = new_id()
OTHER = new_id()
SUBMISSION = new_id()
TRACE = (
    "Received: from app (app [192.0.2.1])\r\n\tby relay.example (Postroad) with ESMTPSA\r\n"
    f"\tid {SUBMISSION};\r\n\tFri, 20 Nov 2026 10:00:00 +0000\r\n"
)


def _complaint(inside: str, report: str = "", kind: str = "message/rfc822") -> bytes:
    return (
        "From: fbl@provider.example\r\nTo: fbl@bounces.example\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n"
        "--b\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: abuse\r\nVersion: 1\r\nUser-Agent: Test/1\r\n{report}\r\n"
        f"--b\r\nContent-Type: {kind}\r\n\r\n{inside}\r\n--b--\r\n"
    ).encode()


def _traces(raw: bytes) -> Traces:
    return find_traces(read(raw), ADDRESSES, LINKS, time.time())


@pytest.mark.parametrize(
    ("inside", "report", "by"),
    [
        (f"Return-Path: <{ADDRESSES.address(MESSAGE)}>\r\n", "", "return path"),
        ("", f"Original-Mail-From: <{ADDRESSES.address(MESSAGE).upper()}>\r\n", "return path"),
        (f"X-Original-Mail-From: {ADDRESSES.address(MESSAGE)}\r\n", "", "return path"),
        (f"List-Unsubscribe: <{LINKS.unsubscribe(MESSAGE)}>\r\n", "", "link in the header"),
        (
            f"\r\nSee {LINKS.click(MESSAGE, 3, b'https://shop.example/')} now",
            "",
            "link in the text",
        ),
        (f'\r\n<img src="{LINKS.open(MESSAGE)}">', "", "link in the text"),
    ],
    ids=["return path", "mail from", "other mail from", "unsubscribe", "click", "open"],
)
@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers"])
def test_a_signature_names_the_message(inside: str, report: str, by: str, kind: str):
    found = _traces(_complaint(f"Subject: x\r\n{inside}", report, kind))
    assert (found.signed, found.signed_by) == (MESSAGE, by)


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64"])
def test_links_are_found_in_encoded_parts(encoding: str):
    link = LINKS.click(MESSAGE, 0, b"https://shop.example/" + b"x" * 100)
    text = f'<a href="{link}">look</a>'.encode()
    coded = quopri.encodestring(text) if encoding[0] == "q" else base64.encodebytes(text)
    inside = (
        "Subject: x\r\nContent-Type: text/html\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n{coded.decode()}"
    )
    assert _traces(_complaint(inside)).signed == MESSAGE


def test_the_return_path_outweighs_links_of_other_mail_quoted_in_the_text():
    inside = (
        f"Return-Path: <{ADDRESSES.address(MESSAGE)}>\r\nSubject: Re: x\r\n\r\n"
        f"> {LINKS.open(OTHER)}\r\n"
    )
    assert _traces(_complaint(inside)).signed == MESSAGE


def test_links_of_two_messages_name_none():
    inside = f"Subject: x\r\n\r\n{LINKS.open(MESSAGE)}\r\n> {LINKS.open(OTHER)}\r\n"
    assert _traces(_complaint(inside)).signed == ""


def test_forged_signatures_name_nothing():
    forger = BounceAddresses(Keyring(("another-secret-here",)), "bounces.example")
    links = LinkSigner(Keyring(("another-secret-here",)), "https://t.sender.example")
    inside = (
        f"Return-Path: <{forger.address(MESSAGE)}>\r\n"
        f"List-Unsubscribe: <{links.unsubscribe(MESSAGE)}>\r\n\r\n{links.open(MESSAGE)}\r\n"
    )
    assert _traces(_complaint(inside)).signed == ""


@pytest.mark.parametrize(
    "header",
    [TRACE, f"Message-ID: <{SUBMISSION}@relay.example>\r\n", TRACE.replace("\r\n\t", " ")],
    ids=["Received", "Message-ID", "Received on one line"],
)
def test_the_submission_is_found_in_our_own_fields(header: str):
    assert _traces(_complaint(f"{header}Subject: x\r\n")).submissions == (SUBMISSION,)


def test_recipients_feedback_id_and_message_id_are_read():
    inside = (
        "Message-ID: <order-1@shop.example>\r\nFeedback-ID: mail:0123456789abcdef:acc:postroad\r\n"
        "X-HmXmrOriginalRecipient: lee@example.org\r\nTo: someone@example.org\r\n"
    )
    found = _traces(_complaint(inside, "Original-Rcpt-To: rfc822; <Kim@Example.net>\r\n"))
    assert found.recipients == ("kim@example.net", "lee@example.org")
    assert found.message_id == "<order-1@shop.example>"
    assert login_of(found.feedback_id) == ("0123456789abcdef", "acc")


def test_redacted_recipients_are_none():
    report = (
        "Original-Rcpt-To: redacted\r\nOriginal-Rcpt-To: <>\r\nRemoval-Recipient: x@redacted\r\n"
    )
    assert _traces(_complaint("Subject: x\r\n", report)).recipients == ()


@given(st.binary(max_size=2000))
def test_nothing_is_found_in_noise(noise: bytes):
    raw = _complaint("Subject: x\r\n\r\n").replace(b"A complaint.", noise)
    assert _traces(raw).signed == ""


@pytest.mark.parametrize("text", ["", "a:b", "a::acc:p", ":::", "a:b:c:d:e"])
def test_other_feedback_ids_name_no_login(text: str):
    assert login_of(text) is None
