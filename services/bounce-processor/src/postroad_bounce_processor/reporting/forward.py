"""Forwards returned mail to the envelope sender of the message it answers, as it came.

The returned mail keeps every octet (its DKIM signature stays valid); two header fields are put in
front, which also break loops. It travels with the null sender, so that nothing can come back.
"""

from dataclasses import dataclass

from postroad_common.mail.dates import date_text
from postroad_common.mail.decoding import decode_words
from postroad_common.mail.mime import Part
from postroad_common.schemas.returns import Return

MARK = "X-Postroad-Forwarded"
_MARK = MARK.lower()
MAX_HOPS = 30
MAX_HEADER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Forward:
    """A returned mail made ready to go on: `head` + the octets of the mail from `skip` on."""

    head: bytes
    skip: int
    subject: str


def is_loop(mail: Part, bounce_domain: str) -> bool:
    """Tell whether this mail was forwarded by us before, or has been around for too long."""
    own = f"@{bounce_domain}"
    if any(value.lower().endswith(own) for value in mail.headers.all(_MARK)):
        return True
    return len(mail.headers.all("received")) > MAX_HOPS


def forward(
    mail: Part, returned: Return, *, forward_id: str, hostname: str, bounce_domain: str
) -> Forward:
    """Return the new header block for ``mail`` and where in its octets the rest begins.

    The time in the trace field is that of the return, so that a second try writes the same.
    """
    client = returned.client
    source = f"from {_word(client.helo)} ([{_word(client.ip)}]) " if client else ""
    trace = (
        f"Received: {source}by {hostname} (Postroad)\r\n"
        f"\tid {forward_id}; {date_text(returned.received)}\r\n"
        f"{MARK}: {returned.message_id}@{bounce_domain}\r\n"
    ).encode("ascii", "replace")
    raw = mail.raw
    start = raw.find(b"\n", 0, 2000) + 1 if raw[:5] == b"From " else 0
    length = _header_length(raw) or start
    subject = decode_words(mail.headers.get("subject"))
    return Forward(trace + raw[start:length], length, subject[:500])


def _header_length(raw: bytes) -> int:
    """Length of the header block with its blank line; 0 if the mail has no header that ends."""
    positions = [
        position + len(end)
        for end in (b"\r\n\r\n", b"\n\n")
        if (position := raw.find(end, 0, MAX_HEADER_BYTES)) >= 0
    ]
    return min(positions, default=0)


def _word(text: str) -> str:
    return "".join(c for c in text[:255] if c.isalnum() or c in ".:-_") or "unknown"
