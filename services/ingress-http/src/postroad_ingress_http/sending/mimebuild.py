"""A MIME message from the fields of a REST request.

Written directly as octets: the parts are few and known, and the standard library's generator costs
milliseconds per message. Field names, addresses and encodings of headers are in `headers` and
`mailboxes`; what is checked against the account is in `submission`.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from postroad_common.mail.dates import date_text
from postroad_ingress_http.sending.headers import address_header, parameter, raw_header, text_header
from postroad_ingress_http.sending.mailboxes import NamedMailbox

_PIECE = 65_536  # octets that are encoded at once
_MAX_LINE = 998  # octets without CRLF, RFC 5322 section 2.1.1
_BASE64_LINE = 57  # octets that make one line of 76 characters
_NEWLINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file: its octets, the name shown to the reader, and its media type.

    One with a `cid` is shown inside the HTML that names it so (RFC 2392).
    """

    data: bytes
    name: str
    media_type: str
    cid: str | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """What List-Unsubscribe offers (RFC 2369); `one_click` adds RFC 8058."""

    email: str | None = None
    url: str | None = None
    one_click: bool = False


@dataclass(frozen=True, slots=True)
class Composition:
    """What a message is built from; everything here has been checked."""

    sender: NamedMailbox
    to: Sequence[NamedMailbox] = ()
    cc: Sequence[NamedMailbox] = ()
    reply_to: Sequence[NamedMailbox] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: Sequence[Attachment] = ()
    extra: Sequence[tuple[str, str]] = ()
    unsubscribe: Unsubscribe | None = None


def build(mail: Composition, *, message_id: str, now: float) -> bytes:
    """Build the message; `message_id` has no angle brackets, `now` is in Unix seconds."""
    lines = [
        raw_header("Date", [date_text(now)]),
        address_header("From", [mail.sender]),
    ]
    for name, mailboxes in (("To", mail.to), ("Cc", mail.cc), ("Reply-To", mail.reply_to)):
        if mailboxes:
            lines.append(address_header(name, mailboxes))
    lines.append(text_header("Subject", mail.subject))
    lines.append(raw_header("Message-ID", [f"<{message_id}>"]))
    if mail.unsubscribe:
        lines.extend(_unsubscribe_headers(mail.unsubscribe))
    lines.extend(text_header(name, value) for name, value in mail.extra)
    lines.append(b"MIME-Version: 1.0\r\n")
    lines.append(_content(mail))
    return b"".join(lines)


def _unsubscribe_headers(unsubscribe: Unsubscribe) -> list[bytes]:
    ways = []
    if unsubscribe.email:
        ways.append(f"<mailto:{unsubscribe.email}>")
    if unsubscribe.url:
        ways.append(f"<{unsubscribe.url}>")
    words = [f"{way}," for way in ways[:-1]] + ways[-1:]
    headers = [raw_header("List-Unsubscribe", words)]
    if unsubscribe.one_click:
        headers.append(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
    return headers


def _content(mail: Composition) -> bytes:
    """Return the header fields and the body of the outermost part."""
    bodies = []
    if mail.text is not None or mail.html is None:
        bodies.append(_text_part("plain", mail.text or ""))
    if mail.html is not None:
        page = _text_part("html", mail.html)
        shown = [_attachment_part(one) for one in mail.attachments if one.cid]
        bodies.append(_multipart("related", [page, *shown]) if shown else page)
    content = bodies[0] if len(bodies) == 1 else _multipart("alternative", bodies)
    beside = [one for one in mail.attachments if not one.cid or mail.html is None]
    if beside:
        content = _multipart("mixed", [content, *map(_attachment_part, beside)])
    return content


def _multipart(kind: str, parts: Sequence[bytes]) -> bytes:
    boundary = f"=_{secrets.token_hex(16)}".encode()
    opening = b"--" + boundary + b"\r\n"
    return b"".join(
        (
            b"Content-Type: multipart/%s;\r\n" % kind.encode(),
            b' boundary="' + boundary + b'"\r\n\r\n',
            opening,
            (b"\r\n" + opening).join(parts),
            b"\r\n--" + boundary + b"--\r\n",
        )
    )


def _text_part(subtype: str, text: str) -> bytes:
    charset = "us-ascii" if text.isascii() else "utf-8"
    encoding, encoded = encode_text(text)
    head = (
        f"Content-Type: text/{subtype}; charset={charset}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + encoded


def encode_text(text: str) -> tuple[str, bytes]:
    """Return the transfer encoding that suits `text` best, and the text in it, in UTF-8."""
    text = _NEWLINE.sub("\r\n", text)
    if not text.endswith("\r\n"):
        text += "\r\n"  # also what makes b2a_qp break its lines with CRLF
    return _encode(text.encode())


def _encode(octets: bytes) -> tuple[str, bytes]:
    if b"\0" in octets:
        return "base64", _base64(octets)
    if octets.isascii() and max(map(len, octets.split(b"\r\n"))) <= _MAX_LINE:
        return "7bit", octets
    ascii_size = sum(octets.count(chunk) for chunk in (b" ", b"e", b"a", b"<", b"="))
    if not octets.isascii() and ascii_size * 20 < len(octets):
        return "base64", _base64(octets)  # hardly any ASCII: quoted-printable would triple it
    return "quoted-printable", _quoted_printable(octets)


def _quoted_printable(octets: bytes) -> bytes:
    """Encode text that ends with CRLF: piece by piece, so that other threads get their turns."""
    pieces: list[bytes] = []
    start = 0
    while start < len(octets):
        end = start + _PIECE
        if end < len(octets):
            line_end = octets.rfind(b"\r\n", start, end)
            end = line_end + 2 if line_end >= 0 else end - (octets[end - 1] == 13)
        piece = octets[start:end]
        start = end
        if piece.endswith(b"\r\n"):
            pieces.append(binascii.b2a_qp(piece, istext=True))
        else:  # within a line: a soft line break
            pieces.append(binascii.b2a_qp(piece + b"\r\n", istext=True)[:-2] + b"=\r\n")
    return b"".join(pieces)


def _attachment_part(attachment: Attachment) -> bytes:
    named = parameter("name", attachment.name)
    filename = parameter("filename", attachment.name)
    shown = f"Content-ID: <{attachment.cid}>\r\n" if attachment.cid else ""
    head = (
        f"Content-Type: {attachment.media_type}{named}\r\n"
        f"Content-Disposition: {'inline' if attachment.cid else 'attachment'}{filename}\r\n"
        f"{shown}"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return head.encode() + _base64(attachment.data)


def _base64(octets: bytes) -> bytes:
    encoded = base64.b64encode(octets)
    line = _BASE64_LINE * 4 // 3
    return b"\r\n".join(encoded[start : start + line] for start in range(0, len(encoded), line))
