"""flufl.bounce, asked last: it knows many formats' addresses, but no reasons."""

import logging
import re
from email import message_from_bytes
from email.message import Message

from flufl.bounce import all_failures

# It logs each exception of a detector with a traceback, before it raises it to us.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)

MAX_FALLBACK_BYTES = 32 * 1024
MAX_FALLBACK_LINE = 1000

# A dot-atom and a host name. Some of its patterns take lines of uuencoded data for addresses.
_MAILBOX = re.compile(
    r"[a-z0-9.!#$%&*+/=?^_{|}~'-]{1,64}@(?:[a-z0-9_-]{1,63}\.){1,20}[a-z0-9-]{2,63}"
)


def ask_fallback(raw: bytes) -> tuple[set[str], set[str]]:
    """Return the (temporary, permanent) addresses that flufl.bounce finds, in lower case.

    Only the beginning of the mail is given to it, with its lines cut, because its patterns were
    not made for hostile input; whatever it raises counts as "nothing found", and what is no
    mailbox is left out.
    """
    lines = raw[:MAX_FALLBACK_BYTES].split(b"\n")
    shortened = b"\n".join(line[:MAX_FALLBACK_LINE] for line in lines)
    try:
        mail: Message = message_from_bytes(shortened)
        if "@" not in str(mail.get("from", "")):  # one of its detectors relies on an author
            del mail["from"]
            mail["From"] = "unknown@invalid"
        temporary, permanent = all_failures(mail)
    except Exception:  # noqa: BLE001 - a foreign parser over hostile bytes: any failure is its own
        return set(), set()
    return mailboxes(temporary), mailboxes(permanent)


def mailboxes(addresses: object) -> set[str]:
    """Return those of `addresses`, a set of text or octets, that are mailboxes, in lower case."""
    found: set[str] = set()
    for address in list(addresses)[:100] if isinstance(addresses, frozenset | set) else []:
        text = address.decode("utf-8", "replace") if isinstance(address, bytes) else str(address)
        text = text.strip("<>").lower()
        if _MAILBOX.fullmatch(text):
            found.add(text)
    return found
