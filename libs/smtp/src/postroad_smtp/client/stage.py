"""The words for where an attempt was and what, other than a reply, went wrong there."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from postroad_common.mail.reply import Reply


class Stage(StrEnum):
    """How far an attempt came; the order is that of a conversation."""

    ROUTE = "route"
    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"  # the reply to the whole message

    @property
    def opens(self) -> bool:
        """Whether it belongs to opening a session: no message has been offered yet."""
        return self in _OPENING


_OPENING = frozenset(
    {Stage.ROUTE, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH}
)


class Fault(StrEnum):
    """What went wrong when no usable reply came."""

    DNS = "dns"  # no answer, or one that names no host
    REFUSED = "refused"  # connection refused
    UNREACHABLE = "unreachable"  # no route, network down, address not allowed
    TIMEOUT = "timeout"
    DROPPED = "dropped"  # closed or reset by the other side
    GARBLED = "garbled"  # octets that are not SMTP
    TLS = "tls"  # not offered where required, handshake failed, certificate not good
    LOCAL = "local"  # our own decision: the server lacks what the message needs


class WireError(Exception):
    """A conversation that cannot go on.

    `reply` is the server's where one ended it, `fault` says what happened where none did. `said`
    is the conversation so far (`conversation`), where there was one. `policy` are the facts of
    the TLS policy that forbids the host, if one does.
    """

    said: str = ""
    policy: Mapping[str, Any] | None = None

    def __init__(self, stage: Stage, cause: Fault | Reply, detail: str = "") -> None:
        self.stage = stage
        self.fault = cause if isinstance(cause, Fault) else None
        self.reply = cause if isinstance(cause, Reply) else None
        self.detail = detail or str(cause)
        super().__init__(f"{stage}: {self.detail}")
