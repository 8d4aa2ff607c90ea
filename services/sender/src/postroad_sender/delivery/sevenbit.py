"""A message in 7 bits, for servers that do not offer 8BITMIME (RFC 6152 section 3).

Text becomes quoted-printable, other content base64, and headers encoded words (RFC 2047) or
extended parameters (RFC 2231). What cannot be said in 7 bits gets a `?` for each octet: a report
that says less is better than none. Costs a few passes over the message, whatever is in it.
"""

import binascii
import re

from postroad_sender.delivery.sevenbit_header import Fields

MOST_NESTED = 10

_LINE_END = re.compile(rb"\r?\n")
_ENCODED = frozenset({b"quoted-printable", b"base64"})
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def to_seven_bit(raw: bytes) -> bytes:
    """Return `raw`, a message with any line ends, as one with CRLF and ASCII only."""
    if raw.isascii():
        return raw
    return _blanked(_entity(_LINE_END.sub(b"\r\n", raw), 0, is_message=True))


def _entity(raw: bytes, depth: int, *, is_message: bool) -> bytes:
    """Convert one body part with its header, or a message."""
    if raw.isascii():
        return raw
    if raw.startswith(b"\r\n"):
        head, blank, body = b"", b"\r\n", raw[2:]
    else:
        head, blank, body = raw.partition(b"\r\n\r\n")
    fields = Fields.parse(head)
    if not body.isascii():
        body = _body(fields, body, depth)
        if is_message and b"mime-version" not in fields:
            fields.set(b"MIME-Version", b"1.0")
    made = fields.to_ascii()
    return made + (b"\r\n\r\n" if made and blank else blank) + body


def _body(fields: Fields, body: bytes, depth: int) -> bytes:
    kind, parameters = fields.content_type()
    encoding = fields.encoding()
    if depth < MOST_NESTED and kind.startswith(b"multipart/") and parameters.get(b"boundary"):
        fields.set_encoding(b"7bit")
        return _multipart(parameters[b"boundary"], body, depth)
    if depth < MOST_NESTED and kind in {b"message/rfc822", b"message/global"}:
        fields.set_encoding(b"7bit")
        fields.rename_type(b"message/global", b"message/rfc822")
        return _entity(body, depth + 1, is_message=True)
    if kind in {b"text/rfc822-headers", b"message/global-headers"}:
        fields.set_encoding(b"7bit")
        fields.rename_type(b"message/global-headers", b"text/rfc822-headers")
        return _headers_only(body)
    if kind.startswith((b"multipart/", b"message/")):
        fields.set_encoding(b"7bit")
        fields.rename_type(b"message/global-delivery-status", b"message/delivery-status")
        return _blanked(body)
    if encoding in _ENCODED:
        return _encoded_badly(encoding, body)
    if kind.startswith(b"text/"):
        fields.name_charset(body)
        fields.set_encoding(b"quoted-printable")
        return _LINE_END.sub(b"\r\n", binascii.b2a_qp(body, istext=True))
    fields.set_encoding(b"base64")
    lines = [binascii.b2a_base64(body[at : at + 57])[:-1] for at in range(0, len(body), 57)]
    return b"\r\n".join(lines) + b"\r\n"


def _multipart(boundary: bytes, body: bytes, depth: int) -> bytes:
    delimiter = re.compile(rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*\r?$", re.MULTILINE)
    made: list[bytes] = []
    done = 0
    inside = False
    for found in delimiter.finditer(body):
        piece = body[done : found.start()]
        if inside:
            content = piece.removesuffix(b"\r\n")
            made += [_entity(content, depth + 1, is_message=False), piece[len(content) :]]
        else:
            made.append(_blanked(piece))
        end = min(found.end() + 1, len(body))
        made.append(body[found.start() : end])
        done, inside = end, found[1] is None
    rest = body[done:]
    made.append(_entity(rest, depth + 1, is_message=False) if inside else _blanked(rest))
    return b"".join(made)


def _headers_only(body: bytes) -> bytes:
    head, blank, rest = body.partition(b"\r\n\r\n")
    return Fields.parse(head).to_ascii() + blank + _blanked(rest)


def _encoded_badly(encoding: bytes, body: bytes) -> bytes:
    """Mend content that says it is encoded, and has 8-bit octets all the same."""
    if encoding == b"base64":
        return _NOT_ASCII.sub(b"", body)  # as decoders do (RFC 2045 section 6.8)
    return _NOT_ASCII.sub(lambda octet: b"=%02X" % octet[0][0], body)


def _blanked(octets: bytes) -> bytes:
    return octets if octets.isascii() else _NOT_ASCII.sub(b"?", octets)
