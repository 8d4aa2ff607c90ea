"""A small, fast SMTP client: TLS, AUTH PLAIN, pipelined transactions, one message after another.

Octets and replies are the library's; this one looks only at the codes, and is made for measuring.
"""

import asyncio
import base64
import ssl
import time
from dataclasses import dataclass

from bench.mails import Mail
from postroad_common.mail.reply import Reply
from postroad_smtp.client.connection import Connection, ConnectionFault

_REPLY_SECONDS = 60.0


class SmtpError(Exception):
    """The server said no where it must not, or the connection broke."""


@dataclass(frozen=True)
class Server:
    """Where mail is handed in. Without `username` there is no AUTH, without `tls` no STARTTLS."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    username: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one message: the reply, and seconds from the last byte sent until it came."""

    code: int
    text: str
    seconds: float


class Client:
    """One connection to a server, ready for messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, server: Server) -> "Client":
        """Connect, secure the connection and log in.

        Raises:
            SmtpError: any of that failed.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_REPLY_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(_REPLY_SECONDS), server.host, server.port
                )
                client = cls(connection)
                await client._begin(server)
        except (OSError, ConnectionFault) as error:
            raise SmtpError(f"{server.host}:{server.port}: {error}") from error
        return client

    async def _begin(self, server: Server) -> None:
        _expect(2, await self._connection.greeting)
        hello = b"EHLO generator.bench.test\r\n"
        _expect(2, await self._ask(hello))
        if server.tls is not None:
            _expect(2, await self._ask(b"STARTTLS\r\n"))
            await self._connection.start_tls(server.tls, server.host, _REPLY_SECONDS)
            _expect(2, await self._ask(hello))
        if server.username:
            token = base64.b64encode(f"\0{server.username}\0{server.password}".encode())
            _expect(2, await self._ask(b"AUTH PLAIN " + token + b"\r\n"))

    async def _ask(self, octets: bytes, count: int = 1) -> list[Reply]:
        return await self._connection.exchange(octets, count, _REPLY_SECONDS)

    async def send(self, mail: Mail, *, pipelined: bool = True) -> Answer:
        """Hand in one message: MAIL, RCPT and DATA in one go or one by one, then the content.

        Raises:
            SmtpError: the connection broke, or MAIL, RCPT or DATA was refused.
        """
        commands = (
            b"MAIL FROM:<%s>\r\n" % mail.sender.encode(),
            b"RCPT TO:<%s>\r\n" % mail.recipient.encode(),
            b"DATA\r\n",
        )
        try:
            if pipelined:
                replies = await self._ask(b"".join(commands), 3)
            else:
                replies = [(await self._ask(one))[0] for one in commands]
            sender, recipient, data = replies
            _expect(2, [sender, recipient])
            _expect(3, [data])
            began = time.perf_counter()
            (reply,) = await self._ask(mail.wire)
        except ConnectionFault as error:
            raise SmtpError(str(error)) from error
        return Answer(reply.code, str(reply)[4:], time.perf_counter() - began)

    async def quit(self) -> None:
        """Say goodbye; it does not matter whether the server still listens."""
        try:
            await self._ask(b"QUIT\r\n")
        except ConnectionFault:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection."""
        self._connection.close()


def _expect(kind: int, replies: list[Reply]) -> None:
    for reply in replies:
        if reply.code // 100 != kind:
            raise SmtpError(str(reply))
