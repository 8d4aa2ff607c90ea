"""A MIME message submitted whole: brought to CRLF, refused where no server would take it."""

import re

from postroad_common.mail.control import header_end
from postroad_common.mail.decoding import decode_words
from postroad_ingress_http.http.errors import bad_field

MAX_LINE = 998  # octets without CRLF, RFC 5321 section 4.5.3.1.6
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)*+(?:>?From [^\r\n]*+\r\n)?")
_CRS_BEFORE_LF = re.compile(rb"(?<!\r)\r{2,}+\n")
_FROM = re.compile(rb"^from[ \t]*:", re.IGNORECASE | re.MULTILINE)
_SUBJECT = re.compile(rb"^subject[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


def normalise(message: bytes) -> bytes:
    """Return `message` with CRLF line ends, and one at its end.

    What is before the header in files, a byte order mark and the line of a mailbox, is left out.
    Bare CR and bare LF become line ends: text fields of clients rarely carry CRLF, and nothing
    that comes out of here can smuggle a second message.

    Raises:
        ApiError: 400, with the reason.
    """
    if not message.strip():
        raise bad_field("mime", "The message is empty.")
    if b"\0" in message:
        raise bad_field("mime", "The message holds a NUL octet.")
    message = to_crlf(message)
    message = message[_beginning(message) :]
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    if not _FIELD.match(message):
        raise bad_field("mime", "The message does not begin with a header field.")
    senders = len(_FROM.findall(message, 0, header_end(message)))
    if senders != 1:
        found = "no From field" if senders == 0 else f"{senders} From fields"
        raise bad_field("mime", f"The message has {found}; it needs one (RFC 5322 section 3.6).")
    if _has_long_line(message):
        raise bad_field(
            "mime", f"A line is longer than {MAX_LINE} octets; encode the part that holds it."
        )
    return message


def _beginning(message: bytes) -> int:
    match = _BEGINNING.match(message)
    return match.end() if match else 0


def to_crlf(message: bytes) -> bytes:
    """Return `message` with every line end as CRLF; CR CR LF is one that was written as text."""
    if b"\r\r\n" in message:
        message = _CRS_BEFORE_LF.sub(b"\n", message)
    if not message.count(b"\r\n") == message.count(b"\n") == message.count(b"\r"):
        lines = message.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        message = lines.replace(b"\n", b"\r\n")
    return message


def _has_long_line(message: bytes) -> bool:
    start = 0
    while start < len(message):
        end = message.rfind(b"\n", start, start + MAX_LINE + 2)
        if end < 0:
            return True
        start = end + 1
    return False


def subject_of(message: bytes) -> str:
    """Return the subject as a reader sees it, on one line, at most 500 characters."""
    found = _SUBJECT.search(message, 0, header_end(message))
    if not found:
        return ""
    text = decode_words(found[1].decode("utf-8", "replace").replace("\r\n", ""))
    return " ".join(text.split())[:500]
