"""What may stand in a message. Each check is one pass in C over octets, not a loop over lines.

Which features its headers switch is in `postroad_common.mail.control`.
"""

import email.errors
import email.header
import re
from dataclasses import dataclass

from postroad_common.mail.control import header_end
from postroad_common.mail.reply import Reply

_UNFOLD = re.compile(rb"\r\n(?=[ \t])")
_SUBJECT_LIMIT = 2000  # octets of the raw header that are looked at


@dataclass(frozen=True, slots=True)
class ContentRules:
    """The bounds that a listener sets; sizes in octets, `line_length` 0 for any."""

    line_length: int
    header_size: int
    received_headers: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an acceptable message after one look."""

    eightbit: bool
    subject: str


def examine(raw: bytes, rules: ContentRules, *, sevenbit: bool) -> Facts | Reply:
    """The facts about the message `raw`, or the refusal it deserves.

    `sevenbit`: the client declared BODY=7BIT. Without any BODY parameter octets above 127 are
    taken, because widespread clients (Python's smtplib, PHPMailer) send them so.
    """
    refusal = check_line_ends(raw)
    if refusal is not None:
        return refusal
    eightbit = not raw.isascii()
    if eightbit and sevenbit:
        return Reply(
            554,
            "5.6.1",
            "The message has 8-bit octets although BODY=7BIT was declared; declare BODY=8BITMIME",
        )
    if rules.line_length and has_long_line(raw, rules.line_length):
        return Reply(
            554,
            "5.6.0",
            f"The message has a line of more than {rules.line_length} octets;"
            " encode that part as quoted-printable or base64",
        )
    end = header_end(raw)
    if end > rules.header_size:
        return Reply(
            554, "5.6.0", f"The header block is larger than {rules.header_size} octets; shorten it"
        )
    header = raw[:end].lower()
    hops = header.count(b"\nreceived:") + header.startswith(b"received:")
    if hops >= rules.received_headers:
        return Reply(
            554, "5.4.6", f"Mail loop: the message has passed {hops} servers; check the forwarding"
        )
    return Facts(eightbit, read_subject(raw, header))


def check_line_ends(raw: bytes) -> Reply | None:
    """The refusal of NUL, and of CR and LF that are not a pair (RFC 5321 section 2.3.8)."""
    if b"\0" in raw:
        return Reply(554, "5.6.0", "The message has a NUL octet; encode that part as base64")
    rest = raw.replace(b"\r\n", b"")  # quicker than counting all three
    if b"\n" in rest:
        return Reply(550, "5.5.2", "The message has a bare LF; end each line with CR LF")
    if b"\r" in rest:
        return Reply(550, "5.5.2", "The message has a bare CR; end each line with CR LF")
    return None


def has_long_line(raw: bytes, limit: int) -> bool:
    """Whether a line has more than `limit` octets, CRLF not counted.

    Looks backwards for a line end once per `limit` octets instead of at each line.
    """
    start = 0
    window = limit + 2
    size = len(raw)
    while start + limit < size:
        end = raw.rfind(b"\n", start, start + window)
        if end < 0:
            return True
        start = end + 1
    return False


def read_subject(raw: bytes, header: bytes) -> str:
    """The decoded Subject; empty without one. `header` is the header block in lower case."""
    at = 0 if header.startswith(b"subject:") else header.find(b"\nsubject:") + 1
    if at == 0 and not header.startswith(b"subject:"):
        return ""
    start = at + len(b"subject:")
    end = start
    while True:
        end = header.find(b"\r\n", end)
        if end < 0 or end - start > _SUBJECT_LIMIT:
            end = min(len(header), start + _SUBJECT_LIMIT)
            break
        if header[end + 2 : end + 3] not in {b" ", b"\t"}:
            break
        end += 2
    value = _UNFOLD.sub(b"", raw[start:end]).strip().decode("utf-8", "replace")
    if "=?" not in value:
        return value
    try:
        return str(email.header.make_header(email.header.decode_header(value)))
    except (ValueError, LookupError, email.errors.MessageError):  # encoded words that are none
        return value
