"""A connection as the rest of the service sees it, and what a listener must be able to decide.

The commands are in `protocol`; the two kinds of backend in `backends`.
"""

import asyncio
from typing import Protocol

from aiosmtpd.smtp import Session as StockSession

from postroad_common.mail.address import Mailbox
from postroad_common.mail.parameters import RcptParameters
from postroad_common.mail.reply import Reply
from postroad_common.schemas.submission import Client
from postroad_common.store.credentials import Credential
from postroad_ingress_smtp.content import ContentRules, Message
from postroad_ingress_smtp.envelope import Envelope, EnvelopeRecipient


class Session(StockSession):
    """Who is connected, and how."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str) -> None:
        super().__init__(loop)
        self.address = address
        """The client's IP address, by the PROXY protocol if there is one in front."""
        self.tls: str | None = None
        """Version and cipher, as in `TLSv1.3 TLS_AES_256_GCM_SHA384`."""
        self.credential: Credential | None = None
        self._client: Client | None = None

    def client(self, *, smtputf8: bool) -> Client:
        """Return the facts for the Received header, `with` a protocol of RFC 3848 and RFC 6531."""
        protocol = "UTF8SMTP" if smtputf8 else "ESMTP" if self.extended_smtp else "SMTP"
        if protocol != "SMTP":
            protocol += ("S" if self.tls else "") + ("A" if self.credential else "")
        if self._client is None or self._client.protocol != protocol:
            self._client = Client(
                ip=self.address, helo=self.host_name or "", tls=self.tls, protocol=protocol
            )
        return self._client

    def forget_client(self) -> None:
        """Make the facts anew: they have changed."""
        self._client = None


class Backend(Protocol):
    """What a listener takes, and what becomes of it."""

    name: str
    """For metrics and logs."""
    needs_login: bool
    """Whether there is nothing to be had without TLS and AUTH."""
    forgiving: bool
    """Whether command lines count for what they mean, not for how they are written."""
    rules: ContentRules

    def read_sender(self, text: str, *, smtputf8: bool) -> str | Reply:
        """Return the address of MAIL (not empty) as it is kept, or its refusal."""
        ...

    async def begin(self, session: Session, sender: str) -> Reply | None:
        """Return the refusal of a sender (empty for the null sender), if any.

        A 421 ends the connection.
        """
        ...

    def recipient(
        self, session: Session, mailbox: Mailbox, parameters: RcptParameters
    ) -> EnvelopeRecipient | Reply:
        """Return the recipient as it is kept, or its refusal."""
        ...

    def ready(self) -> Reply | None:
        """Return the refusal to read a message that could not be handed on now, if any."""
        ...

    async def accept(self, session: Session, envelope: Envelope, message: Message) -> Reply:
        """Make the message safe, then reply; or refuse it."""
        ...
