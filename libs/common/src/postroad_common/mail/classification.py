"""Why a delivery failed or was put off: one list for the sender's deferrals and for bounces.

The values are written to events, REST and dashboards, and must not change. How a reply is
classified is decided where replies are read: the sender for its own attempts, and the
bounce-processor for returned mail and for failures for good.
"""

from enum import StrEnum


class Classification(StrEnum):
    """The reason of a failure or a deferral."""

    NO_SUCH_USER = "no-such-user"
    """The address does not exist at the receiving server."""
    NO_SUCH_DOMAIN = "no-such-domain"
    """The domain does not exist, or states that it accepts no mail (RFC 7505)."""
    DISABLED = "disabled"
    """The mailbox was closed for good, or has moved."""
    UNAVAILABLE = "unavailable"
    """The mailbox is switched off at the moment."""
    MAILBOX_FULL = "mailbox-full"
    """The mailbox has no space left."""
    QUOTA = "quota"
    """The recipient or its organisation has received as much as its plan allows for now."""
    POLICY = "policy"
    """A rule of the receiving organisation does not allow this mail."""
    CONTENT = "content"
    """The text, a link or an attachment was refused."""
    VIRUS = "virus"
    """The mail is believed to carry malicious software."""
    REPUTATION = "reputation"
    """The sending address or domain is not trusted: block lists, missing reverse names."""
    AUTH_FAILURE = "auth-failure"
    """SPF, DKIM or DMARC of the mail did not hold."""
    RATE_LIMIT = "rate-limit"
    """Too much mail, or too many connections, within a short time."""
    GREYLISTED = "greylisted"
    """First contacts are asked to come back later."""
    DNS = "dns"
    """The name servers of the domain gave no usable answer."""
    ROUTING = "routing"
    """Mail servers refer to each other, or one on the way is missing."""
    CONNECTION = "connection"
    """No server was reached, or the connection was lost."""
    TLS = "tls"
    """No connection of the required security could be made."""
    RELAY_DENIED = "relay-denied"
    """The server says that it is not responsible for the domain."""
    SENDER_REFUSED = "sender-refused"
    """The sender address is not accepted."""
    SIZE = "size"
    """The mail is larger than the server allows."""
    PROTOCOL = "protocol"
    """The two servers did not understand each other."""
    SERVER_ERROR = "server-error"
    """The receiving server is at fault, busy, or out of resources."""
    EXPIRED = "expired"
    """It was tried until its time was over, and nothing says why it failed."""
    UNDETERMINED = "undetermined"
    """No reason could be recognised."""

    @property
    def hard(self) -> bool:
        """Whether a permanent failure of this class means that the address itself is dead."""
        return self in _HARD

    @property
    def counts(self) -> bool:
        """Whether the mailbox is ill: an address is suppressed when this repeats over days."""
        return self in _COUNTS


_HARD = frozenset(
    {Classification.NO_SUCH_USER, Classification.NO_SUCH_DOMAIN, Classification.DISABLED}
)
_COUNTS = frozenset({Classification.UNAVAILABLE, Classification.MAILBOX_FULL})
