"""Messages that are built from fields, read back by an independent parser."""

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.mail.address import Mailbox
from postroad_ingress_http.sending.mailboxes import NamedMailbox
from postroad_ingress_http.sending.mimebuild import Attachment, Composition, Unsubscribe, build

SENDER = NamedMailbox("Jürgen", Mailbox("shop", "shop.example"))


def parse(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def built(**fields: object) -> bytes:
    mail = Composition(sender=SENDER, **fields)  # type: ignore[arg-type]
    return build(mail, message_id="id@mail.example", now=1_700_000_000)


def test_text_alone_is_one_plain_part():
    message = parse(built(subject="Hi", text="hello\nworld"))
    assert message.get_content_type() == "text/plain"
    assert message.get_content() == "hello\r\nworld\r\n"
    assert message["From"].addresses[0].display_name == "Jürgen"
    assert message["Message-ID"] == "<id@mail.example>"
    assert message["Date"].datetime.timestamp() == 1_700_000_000


def test_text_html_and_files_are_nested_as_readers_expect():
    raw = built(
        text="plain",
        html="<p>größer</p>",
        attachments=[Attachment(b"\x00\xff" * 200, "Rechnung ü.pdf", "application/pdf")],
    )
    message = parse(raw)
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/pdf",
    ]
    (file,) = message.iter_attachments()
    assert file.get_filename() == "Rechnung ü.pdf"
    assert file.get_content() == b"\x00\xff" * 200
    body = message.get_body(("html",))
    assert body is not None
    assert body.get_content() == "<p>größer</p>\r\n"
    assert b"\r\n" in raw
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_unsubscribe_offers_both_ways_and_one_click():
    message = parse(
        built(
            text="x",
            unsubscribe=Unsubscribe("leave@shop.example", "https://shop.example/u", one_click=True),
        )
    )
    assert message["List-Unsubscribe"] == "<mailto:leave@shop.example>, <https://shop.example/u>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("text", ["x" * 5000, "é" * 5000, "a\0b", "日本語" * 900, "\r\r\n\n.", ""])
def test_text_that_is_hard_to_carry_arrives_in_short_lines(text: str):
    raw = built(text=text)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.isascii()
    arrived = parse(raw).get_content().replace("\r\n", "\n")
    wanted = text.replace("\r\n", "\n").replace("\r", "\n")
    assert arrived.rstrip("\n") == wanted.rstrip("\n")


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=400))
def test_any_html_arrives_with_only_its_line_ends_changed(html: str):
    raw = built(html=html)
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    payload = parse(raw).get_payload(decode=True)
    assert isinstance(payload, bytes)
    arrived = payload.decode().replace("\r\n", "\n").rstrip("\n")
    assert arrived == html.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


@pytest.mark.parametrize(
    "text",
    [
        "x" * 200_000,
        "é x " * 50_000,
        "a line \r\n" * 20_000 + "y" * 150_000 + " ",
        "=" * 65_535 + "\r\n" + "z" * 65_536 + "\tü",
        "\r\n" * 70_000 + "w" * 2000,
        "q" * 65_535 + "\r\n" + "r" * 65_534 + "\r\n" + "ß" * 40_000,
    ],
)
def test_long_texts_are_encoded_in_pieces_that_read_as_one(text: str):
    raw = built(subject="Hi", text=text)
    assert parse(raw).get_content().removesuffix("\r\n") == text.removesuffix("\r\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 78
