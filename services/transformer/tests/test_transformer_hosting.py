"""Hosted images: which leave the mail, and that the rest of it stays as it was."""

import base64
import email
import hashlib
import re
from collections.abc import Callable
from email.policy import SMTP

import pytest

from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_common.tokens import LinkKind, LinkSigner
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import Template, make_template

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
Make = Callable[..., Submission]
Made = Callable[..., tuple[Template, str]]


def part(data: bytes, cid: str, kind: str = "image/png", more: str = "") -> bytes:
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <{cid}>\r\n"
    return (head + more + "\r\n").encode() + base64.encodebytes(data).replace(b"\n", b"\r\n")


def mail(html: str, *parts: bytes) -> bytes:
    text = f"Content-Type: text/html; charset=us-ascii\r\n\r\n{html}\r\n".encode()
    body = b"".join(b"--b\r\n" + each + b"\r\n" for each in (text, *parts))
    head = b"From: a@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
    return (
        head
        + b"Content-Type: multipart/related; boundary=b\r\n\r\npre\r\n"
        + body
        + b"--b--\r\npost"
    )


@pytest.fixture
def made(make_submission: Make, rules: Rules, links: LinkSigner) -> Made:
    def make(raw: bytes, *, counted: bool = False) -> tuple[Template, str]:
        features = Features(openstracking=counted)
        submission = make_submission(features=features, images_hosted=True)
        template = make_template(raw, submission, rules)
        composer = Composer(template, links, (), 0.0)
        content = composer.content(submission.recipients[0].id)
        return template, (content.head + composer.body(content)).decode("latin-1")

    return make


@pytest.mark.parametrize("counted", [True, False])
def test_an_embedded_image_leaves_the_mail_and_is_shown_by_the_tracker(
    made: Made, links: LinkSigner, *, counted: bool
):
    raw = mail('<img alt="x" src="cid:logo%40a"><img src=CID:logo@a>', part(PNG, "logo@a"))
    template, text = made(raw, counted=counted)
    (image,) = template.images
    assert (image.media_type, image.data) == ("image/png", PNG)
    paths = re.findall(r"https://track\.example\.com(/[\w/-]+)", text)
    tokens = [links.read_path(path) for path in paths]
    kind = LinkKind.HOSTED if counted else LinkKind.PICTURE
    assert [token and (token.kind, token.target) for token in tokens] == [
        (kind, hashlib.sha256(PNG).digest())
    ] * 2
    assert "image/png" not in text
    assert ".gif" not in text  # a hosted image measures openings as well as a pixel
    assert template.facts["images"] == {"hosted": 2}
    parsed = email.message_from_string(text, policy=SMTP)
    assert [each.get_content_type() for each in parsed.walk()] == ["multipart/related", "text/html"]
    assert not parsed.defects
    assert text.endswith("--b--\r\npost")
    assert "\r\n\r\npre\r\n--b\r\n" in text


@pytest.mark.parametrize(
    ("html", "image"),
    [
        ("<img src='cid:a'>", part(SVG, "a", "image/svg+xml")),
        ("<img src='cid:a'>", part(SVG, "a", "image/png")),
        ("<img src='cid:a'>", part(b"<html><script>", "a", "image/gif")),
        ("<img src='cid:a'>", part(PNG + bytes(6_000_000), "a")),
        ("<img src='cid:a'>", part(PNG, "a", more="Content-Disposition: attachment\r\n")),
        ("<img src='cid:a'>", part(PNG, "a", "application/octet-stream")),
        ("<img src='cid:b'>", part(PNG, "a")),
        ("<img src='cid:a' data-track=off>", part(PNG, "a")),
        ("<td background='cid:a'>", part(PNG, "a")),
        ("<img src='cid:a'>", part(PNG, "a").replace(b"base64", b"x-uue")),
    ],
)  # fmt: skip
def test_what_cannot_be_hosted_stays_embedded(made: Made, html: str, image: bytes):
    raw = mail(html, image)
    template, text = made(raw)
    assert template.images == ()
    assert text.encode("latin-1").endswith(raw[raw.index(b"\r\n\r\n") :])


def test_an_image_that_is_used_in_another_way_too_stays_in_the_mail(
    made: Made,
):
    raw = mail("<img src='cid:a'><td background='cid:a'>", part(PNG, "a"))
    template, text = made(raw)
    assert len(template.images) == 1
    assert "image/png" in text
    assert "background='cid:a'" in text


def test_of_several_images_only_the_hosted_leave(made: Made):
    kept = part(SVG, "s", "image/svg+xml")
    raw = mail("<img src=cid:a><img src=cid:s><img src=cid:g>",
               part(PNG, "a"), kept, part(b"GIF89a...", "g", "image/gif"))  # fmt: skip
    template, text = made(raw)
    assert [image.media_type for image in template.images] == ["image/png", "image/gif"]
    assert text.encode("latin-1").endswith(b"\r\n--b\r\n" + kept + b"\r\n--b--\r\npost")
    assert "cid:s" in text
    assert "cid:a" not in text


def test_in_a_signed_mail_images_stay(made: Made):
    inner = mail("<img src=cid:a>", part(PNG, "a"))
    raw = (
        b"From: a@example.com\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n"
        + inner + b"\r\n--s\r\n\r\nsignature\r\n--s--\r\n"
    )  # fmt: skip
    template, text = made(raw)
    assert template.images == ()
    assert text.encode("latin-1").endswith(raw[raw.index(b"\r\n\r\n") :])
