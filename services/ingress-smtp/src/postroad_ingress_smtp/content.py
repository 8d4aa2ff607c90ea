"""What may stand in a message. Each check is one pass in C over octets, not a loop over lines.

Which features its headers switch is in `postroad_common.mail.control`.
"""

import re
from dataclasses import dataclass

from postroad_common.mail.control import header_end
from postroad_common.mail.decoding import decode_words
from postroad_common.mail.reply import Reply
from postroad_ingress_smtp import replies
from postroad_smtp.server.lineends import LineEnds, RepairedContent

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UNFOLD = re.compile(rb"\r\n(?=[ \t])")
_SUBJECT_LIMIT = 2000  # octets of the raw header that are looked at


@dataclass(frozen=True, slots=True)
class ContentRules:
    """The bounds that a listener sets; sizes in octets, 0 for any."""

    line_length: int
    header_size: int
    received_headers: int
    line_ends: LineEnds = LineEnds.REPAIR
    believes_seven_bit: bool = True
    """Whether 8-bit octets are refused where BODY=7BIT was declared."""


@dataclass(frozen=True, slots=True)
class Message:
    """An acceptable message, and what is known of it after one look."""

    octets: bytes
    eightbit: bool
    subject: str
    line_ends_repaired: int


def examine(content: RepairedContent, rules: ContentRules, *, sevenbit: bool) -> Message | Reply:
    """Return the message with its facts, or the refusal it deserves.

    `sevenbit`: the client declared BODY=7BIT. Without any BODY parameter octets above 127 are
    taken, because widespread clients (Python's smtplib, PHPMailer) send them so.
    """
    raw = content.octets
    eightbit = not raw.isascii()
    if eightbit and sevenbit and rules.believes_seven_bit:
        return replies.EIGHT_BIT
    end = header_end(raw)
    if rules.line_length and has_long_line(raw, rules.line_length):
        in_header = has_long_line(raw[:end], rules.line_length)
        return replies.long_line(rules.line_length, in_header=in_header)
    if rules.header_size and end > rules.header_size:
        return replies.long_header(rules.header_size)
    header = raw[:end].lower()
    hops = _hops(header)
    if rules.received_headers and hops >= rules.received_headers:
        return replies.mail_loop(hops)
    return Message(raw, eightbit, read_subject(raw, header), content.repaired)


def count_hops(raw: bytes) -> int:
    """Return how many servers a message has passed, by its Received fields."""
    return _hops(raw[: header_end(raw)].lower())


def _hops(header: bytes) -> int:
    return header.count(b"\nreceived:") + header.startswith(b"received:")


def has_long_line(raw: bytes, limit: int) -> bool:
    """Return whether a line has more than `limit` octets, CRLF not counted.

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
    """Return the decoded Subject; empty without one. `header` is the header block in lower case."""
    first = len(_BYTE_ORDER_MARK) if header.startswith(_BYTE_ORDER_MARK) else 0
    at = first if header.startswith(b"subject:", first) else header.find(b"\nsubject:") + 1
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
    return decode_words(value)
