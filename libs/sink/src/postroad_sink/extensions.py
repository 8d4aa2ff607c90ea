"""The SMTP service extensions that the sink can offer, and its answer to EHLO.

Which ones a connection is offered can be changed by a rule (`rules`); the order is fixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from postroad_common.mail.reply import Reply

DEFAULT_SIZE = 64 * 1024 * 1024  # bytes

# AUTH and REQUIRETLS are off until asked for: a server on the open Internet rarely has the first,
# and the second changes what a client may do.
SWITCHES = {
    "PIPELINING": True,
    "8BITMIME": True,
    "SMTPUTF8": True,
    "DSN": True,
    "CHUNKING": True,
    "ENHANCEDSTATUSCODES": True,
    "STARTTLS": True,
    "SIZE": True,
    "AUTH": False,
    "REQUIRETLS": False,
}


@dataclass(frozen=True, slots=True)
class Offer:
    """What one connection is offered. `size` is the largest message taken, in bytes."""

    names: frozenset[str] = field(
        default_factory=lambda: frozenset(name for name, on in SWITCHES.items() if on)
    )
    size: int = DEFAULT_SIZE

    def changed(self, changes: Mapping[str, bool | int]) -> "Offer":
        """Return this offer with extensions switched on or off; a number for SIZE is the limit."""
        names = set(self.names)
        size = self.size
        for name, value in changes.items():
            if name == "SIZE" and not isinstance(value, bool):
                size = value
            if value is False:
                names.discard(name)
            else:
                names.add(name)
        return replace(self, names=frozenset(names), size=size)


@lru_cache(maxsize=64)
def ehlo_reply(offer: Offer, hostname: str, *, tls: bool, tls_possible: bool) -> bytes:
    """Return the reply to EHLO: STARTTLS only before TLS, REQUIRETLS only after (RFC 8689)."""
    lines = [hostname]
    for name in SWITCHES:
        if name not in offer.names:
            continue
        if name == "STARTTLS" and (tls or not tls_possible):
            continue
        if name == "REQUIRETLS" and not tls:
            continue
        match name:
            case "SIZE":
                lines.append(f"SIZE {offer.size}")
            case "AUTH":
                lines.append("AUTH PLAIN LOGIN")
            case _:
                lines.append(name)
    return Reply(250, "", "\n".join(lines)).wire()
