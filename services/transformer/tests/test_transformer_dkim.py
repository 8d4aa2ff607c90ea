"""Signatures, checked by an independent verifier (dkimpy) and against modified messages."""

import base64
import hashlib
import re
from collections.abc import Callable
from types import SimpleNamespace

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import example, given
from hypothesis import strategies as st

from postroad_common.schemas.submission import Submission
from postroad_common.tokens import LinkKind, LinkSigner
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import make_template
from postroad_transformer.segments import Hole
from postroad_transformer.signing.body import BodyHash
from postroad_transformer.signing.keys import KeyUnusable, SigningKey, load_key
from postroad_transformer.signing.signature import HeaderHash, Signature

HOLE = Hole(LinkKind.CLICK, 0, b"")
FIELDS = [
    b"Received: from a by b; Thu, 1 Jan 1970 00:00:00 +0000\r\n",
    b"From:  A  Person <a@example.com>\r\n",
    b"To: b@destination.test,\r\n\tc@destination.test\r\n",
    b"SUBJECT:   Folded\r\n  subject \r\n",
    b"Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n",
    b"Message-ID: <1@example.com>\r\n",
    b"X-Other: 1\r\n",
]
BODY = b"Hello  world \t \r\n\r\n  indented\ttext\r\nlast\r\n\r\n\r\n"


class VerifyKey:
    """What the verifier wants of PyNaCl, which is not installed: one Ed25519 verification."""

    def __init__(self, key: bytes, encoder: object) -> None:  # noqa: ARG002 - its signature
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))

    def verify(self, digest: bytes, signature: bytes) -> None:
        self._key.verify(signature, digest)


dkim.nacl = SimpleNamespace(  # type: ignore[attr-defined]
    signing=SimpleNamespace(VerifyKey=VerifyKey),
    encoding=SimpleNamespace(Base64Encoder=None),
    exceptions=SimpleNamespace(BadSignatureError=InvalidSignature, ValueError=ValueError),
)


def public_record(key: SigningKey) -> bytes:
    public = key.key.public_key()
    if key.algorithm == "rsa-sha256":
        data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(data)
    data = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(data)


def verifies(message: bytes, key: SigningKey, index: int = 0) -> bool:
    def dns(name: bytes, timeout: int = 5) -> bytes:  # noqa: ARG001 - as the verifier calls it
        expected = f"{key.selector}._domainkey.{key.domain}."
        return public_record(key) if name.decode() == expected else b""

    try:
        return bool(dkim.DKIM(message).verify(idx=index, dnsfunc=dns))
    except dkim.DKIMException:
        return False


def signed(fields: list[bytes], body: bytes, *keys: SigningKey) -> bytes:
    header = HeaderHash(fields)
    digest = BodyHash([body]).digest()
    signatures = [Signature(key, header, 1_780_000_000.9).field(digest) for key in keys]
    return b"".join([*signatures, *fields, b"\r\n", body])


def test_both_signatures_verify_independently(rsa_key: SigningKey, ed25519_key: SigningKey):
    message = signed(FIELDS, BODY, rsa_key, ed25519_key)
    assert verifies(message, rsa_key, 0)
    assert verifies(message, ed25519_key, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"world", b"World"),
        (b"last\r\n", b"last\r\nmore\r\n"),
        (b"A  Person", b"B Person"),
        (b"Folded", b"Fooled"),
        (b"b@dest", b"x@dest"),
        (b"1@example", b"2@example"),
        (b"\r\n\r\nHello", b"\r\nFrom: second@example.com\r\n\r\nHello"),
        (b"\r\n\r\nHello", b"\r\nSubject: second\r\n\r\nHello"),
        (b"\r\n\r\nHello", b"\r\nReply-To: thief@example.org\r\n\r\nHello"),
        (b"\r\n\r\nHello", b"\r\nContent-Type: text/html\r\n\r\nHello"),
        (b"\r\n\r\nHello", b"\r\nCc: more@example.org\r\n\r\nHello"),
    ],
)
def test_a_modified_message_does_not_verify(
    old: bytes, new: bytes, rsa_key: SigningKey, ed25519_key: SigningKey
):
    message = signed(FIELDS, BODY, rsa_key, ed25519_key)
    assert message.count(old) == 1
    changed = message.replace(old, new)
    assert not verifies(changed, rsa_key, 0)
    assert not verifies(changed, ed25519_key, 1)


def test_what_relays_may_do_does_not_break_the_signature(rsa_key: SigningKey):
    message = signed(FIELDS, BODY, rsa_key)
    changed = b"Received: by another\r\nX-Spam: no\r\n" + message.replace(
        b"A  Person", b"A\r\n  Person"
    ).replace(b"Hello  world \t ", b"Hello world")
    assert verifies(changed.rstrip(b"\r\n") + b"\r\n\r\n\r\n\r\n", rsa_key)


def test_no_line_of_the_signature_is_longer_than_78(rsa_key: SigningKey):
    header = signed(FIELDS, BODY, rsa_key).partition(b"\r\nReceived:")[0]
    assert max(map(len, header.split(b"\r\n"))) <= 78
    assert re.search(rb"h=from:from:", header)


lines = st.lists(
    st.sampled_from([b" ", b"\t", b"a", b"\xff", b"\r\n", b"  \r\n", b"b\r\n\r\n", b"."]),
    max_size=30,
).map(b"".join)


@given(lines)
@example(b"")
@example(b"\r\n\r\n")
@example(b" ")
@example(b"a")
@example(b"a \r\n \r\n")
@example(b"a\r\n\t")
def test_any_body_hashes_as_the_reference_does(body: bytes):
    on_the_wire = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
    policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    expected = policy.canonicalize_body(on_the_wire)
    assert BodyHash([body]).digest() == hashlib.sha256(expected).digest()


@given(st.lists(lines, min_size=1, max_size=4))
def test_a_body_with_holes_hashes_as_the_filled_one(parts: list[bytes]):
    edged = [b"(" * (i > 0) + part + b")" * (i < len(parts) - 1) for i, part in enumerate(parts)]
    fills = [b"x%d" % i for i in range(len(parts) - 1)]
    chunks: list[bytes | Hole] = [edged[0]]
    whole = edged[0]
    for fill, part in zip(fills, edged[1:], strict=True):
        chunks += (HOLE, part)
        whole += fill + part
    assert BodyHash(chunks).digest(fills) == BodyHash([whole]).digest()


def test_a_body_of_many_slices_hashes_as_in_one_piece():
    body = b"a  b\t\r\n" * 400_000 + b"\r\n" * 600_000
    assert BodyHash([body]).digest() == hashlib.sha256(b"a b\r\n" * 400_000).digest()


def test_keys_load_from_pem_and_bad_ones_are_refused_without_showing_them():
    for made, encoding in (
        (generate_private_key(65537, 2048), PrivateFormat.PKCS8),
        (generate_private_key(65537, 1024), PrivateFormat.TraditionalOpenSSL),  # noqa: S505 - still met
        (Ed25519PrivateKey.generate(), PrivateFormat.PKCS8),
    ):
        pem = made.private_bytes(Encoding.PEM, encoding, NoEncryption()).decode()
        assert SigningKey("d", "s", load_key(pem)).sign(bytes(32))
        with pytest.raises(KeyUnusable) as caught:
            load_key(pem[:-60])
        assert pem[60:90] not in str(caught.value)


def test_the_private_key_does_not_show_in_representations(rsa_key: SigningKey):
    assert "RSA" not in repr(rsa_key)


FROM_LINE = b"From shop@a.test Sat Jan  3 01:05:34 2026\r\n"
MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("before", "among"),
    [
        (b"", b""),
        (FROM_LINE, b""),
        (b">" + FROM_LINE, b""),
        (MARK, b""),
        (MARK + FROM_LINE, b""),
        (MARK + b">" + FROM_LINE, b""),
        (b"", b"no field at all\r\n"),
        (FROM_LINE, b"no field at all\r\n"),
        (b"", b">" + FROM_LINE),
        (b"", MARK + b"\r\n"),
        (b"no field at all\r\n", b""),
        (FROM_LINE + FROM_LINE, b""),
        (FROM_LINE.replace(b"\r", b""), b""),
    ],
)
@pytest.mark.parametrize("html", [b"<p>Hi <a href='https://ex.test/'>x</a></p>\r\n", b"Hi\r\n"])
def test_a_header_with_a_line_that_is_none_is_signed_whole_and_bcc_stays_secret(
    before: bytes,
    among: bytes,
    html: bytes,
    make_submission: Callable[..., Submission],
    rules: Rules,
    links: LinkSigner,
    rsa_key: SigningKey,
):
    raw = (
        before + b"From: Shop <shop@example.com>\r\nTo: Ann <ann@dest.test>\r\n" + among
        + b"Bcc: secret@dest.test,\r\n secret2@dest.test\r\nSubject: case\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html
    )  # fmt: skip
    submission = make_submission()
    template = make_template(raw, submission, rules)
    assert template.sender_domain == "example.com"
    composer = Composer(template, links, (rsa_key,), 1_780_000_000.0)
    content = composer.content(submission.recipients[0].id)
    message = content.head + composer.body(content)
    assert verifies(message, rsa_key)
    assert b"secret" not in message
    header, _, body = message.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in header.split(b"\r\n") if line[:1] not in b" \t"]
    assert set(names) >= {b"DKIM-Signature", b"From", b"To", b"Subject", b"Content-Type"}
    assert not [name for name in names if b" " in name], "no line is anything but a field"
    assert body.startswith(html[:6])
