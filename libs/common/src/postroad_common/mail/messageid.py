"""The Message-ID that a client gave its mail, as one number by which that mail is found again.

Providers that redact everything else of a mail that is complained about leave it. It is kept as 47
bits of its hash; the store puts the day in front (`dated`), so that the entries of one day lie
together in the index and cost the write path little.
"""

import hashlib
import re

from postroad_common.mail.control import header_end
from postroad_common.mail.identifiers import is_id

HASH_BITS = 47
_DAY = 86_400.0
_LONGEST = 998  # octets, of a line (RFC 5322 section 2.1.1)
_FIELD = re.compile(
    rb"^message-id[ \t]*:[ \t\r\n]{0,80}(<[^<>\s]{1,%d}>)" % _LONGEST, re.IGNORECASE | re.MULTILINE
)


def message_id_hash(raw: bytes) -> int:
    """Return the hash of the message's own Message-ID; 0 where it has none, or one of ours."""
    found = _FIELD.search(raw, 0, header_end(raw))
    return 0 if found is None else hash_of(found[1].decode("utf-8", "replace"))


def hash_of(message_id: str) -> int:
    """Return the hash of a Message-ID in angle brackets; 0 for none, and for one of ours."""
    text = message_id.strip()
    inside = text.strip("<>")
    if not inside or is_id(inside.partition("@")[0]):
        return 0
    digest = hashlib.sha256(f"<{inside}>".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - HASH_BITS)


def dated(hashed: int, moment: float) -> int:
    """Return the hash with the day of `moment` (Unix seconds) in front; 63 bits at most."""
    return int(moment // _DAY) << HASH_BITS | hashed
