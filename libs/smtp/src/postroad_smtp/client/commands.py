"""The command lines of a transaction, written for what the server offers.

A message that a server cannot take as it is (too large, international addresses without the
extension, REQUIRETLS) is refused here, before a command is sent, with the reply that its sender
will see. 8-bit content goes out as it is, declared only where the server offers 8BITMIME.
"""

import re
from dataclasses import dataclass

from postroad_common.mail import xtext
from postroad_common.mail.parameters import OriginalRecipient
from postroad_common.mail.reply import Reply
from postroad_smtp.client.session import Capabilities, ClientSession

_UNFIT = re.compile(r"[\x00-\x20\x7f<>]")
_UNFIT_QUOTED = re.compile(r"[\x00-\x1f\x7f]")  # a quoted local part may have spaces and brackets


@dataclass(frozen=True, slots=True)
class Rcpt:
    """One recipient of an envelope; `notify` in lower case, `orcpt` as `rfc822;address`."""

    address: str
    notify: tuple[str, ...] = ()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What MAIL and RCPT say. `size` in octets; an empty `sender` is the null sender."""

    sender: str
    recipients: tuple[Rcpt, ...]
    size: int
    ret: str | None = None
    envid: str | None = None
    smtputf8: bool = False
    eightbit: bool = False
    requiretls: bool = False


def refusal(envelope: Envelope, session: ClientSession) -> Reply | None:
    """Why this server cannot take the message, or None."""
    offered = session.capabilities
    if offered.size and envelope.size > offered.size:
        text = f"the message has {envelope.size} octets; {session.host} takes {offered.size}"
        return Reply(552, "5.3.4", text)
    if envelope.smtputf8 and not offered.smtputf8:
        return Reply(550, "5.6.7", f"{session.host} does not take international addresses")
    if envelope.requiretls and not (
        offered.requiretls and session.tls is not None and session.tls.verified
    ):
        return Reply(550, "5.7.30", f"{session.host} does not support REQUIRETLS")
    if envelope.sender and not is_sendable(envelope.sender):
        return Reply(553, "5.1.7", "the sender address is not valid")
    return None


def mail_line(envelope: Envelope, offered: Capabilities) -> bytes:
    """MAIL with the parameters that the server knows."""
    line = f"MAIL FROM:<{envelope.sender}>"
    if offered.size is not None:
        line += f" SIZE={envelope.size}"
    if envelope.eightbit and offered.eightbitmime:
        line += " BODY=8BITMIME"
    if envelope.smtputf8 and offered.smtputf8:
        line += " SMTPUTF8"
    if offered.dsn:
        if envelope.ret:
            line += f" RET={envelope.ret.upper()}"
        if envelope.envid:
            line += f" ENVID={xtext.encode(envelope.envid)}"
    if envelope.requiretls:
        line += " REQUIRETLS"
    return f"{line}\r\n".encode()


def rcpt_line(recipient: Rcpt, offered: Capabilities) -> bytes:
    """RCPT with the DSN parameters of this recipient, if the server knows them."""
    if offered.dsn and (recipient.notify or recipient.orcpt):
        line = f"RCPT TO:<{recipient.address}>"
        if recipient.notify:
            line += " NOTIFY=" + ",".join(wish.upper() for wish in recipient.notify)
        if recipient.orcpt:
            kind, _, address = recipient.orcpt.partition(";")
            line += f" ORCPT={OriginalRecipient(kind, address)}"
        return f"{line}\r\n".encode()
    return f"RCPT TO:<{recipient.address}>\r\n".encode()


def is_sendable(address: str) -> bool:
    """Whether `address` can stand in a command line. What is more, the next host decides."""
    unfit = _UNFIT_QUOTED if address.startswith('"') else _UNFIT
    return bool(address) and not unfit.search(address)
