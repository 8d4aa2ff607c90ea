"""A small, fast SMTP client: TLS, AUTH PLAIN, pipelined transactions, one message after another.

It trusts the server to answer in order and looks only at the codes; it is made for measuring.
"""

import asyncio
import base64
import ssl
import time
from dataclasses import dataclass
from typing import cast

from typing_extensions import override

from bench.mails import Mail

_REPLY_SECONDS = 60.0
_LONGEST_REPLY = 64 * 1024  # bytes


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


class _Connection(asyncio.Protocol):
    """Bytes and replies; what they mean is in `Client`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._part = b""
        self._replies: list[bytes] = []
        self._wanted = 0
        self._waiting: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost: Exception | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or ConnectionError("the server closed the connection")
        self._writable.set()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(self._lost)

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()

    @override
    def data_received(self, data: bytes) -> None:
        lines = (self._part + data).split(b"\r\n")
        self._part = lines.pop()
        self._replies += [line for line in lines if line[3:4] != b"-"]
        enough = len(self._replies) >= self._wanted
        if enough and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def exchange(self, data: bytes, count: int) -> list[bytes]:
        """Send `data` and return the last lines of the next `count` replies."""
        if self._lost is not None or self.transport is None:
            raise SmtpError("not connected") from self._lost
        self.transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()
        return await self.replies(count)

    async def replies(self, count: int) -> list[bytes]:
        if len(self._replies) < count:
            if self._lost is not None:
                raise SmtpError(str(self._lost)) from self._lost
            self._wanted = count
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_REPLY_SECONDS):
                    await self._waiting
            except OSError as error:  # a lost connection or a time-out
                raise SmtpError(str(error) or type(error).__name__) from error
            finally:
                self._waiting = None
        replies, self._replies = self._replies[:count], self._replies[count:]
        return replies


class Client:
    """One connection to a server, ready for messages."""

    def __init__(self, connection: _Connection) -> None:
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
                _, connection = await loop.create_connection(_Connection, server.host, server.port)
                client = cls(connection)
                await client._begin(server)
        except OSError as error:
            raise SmtpError(f"{server.host}:{server.port}: {error}") from error
        return client

    async def _begin(self, server: Server) -> None:
        _expect(2, await self._connection.replies(1))
        hello = b"EHLO generator.bench.test\r\n"
        _expect(2, await self._connection.exchange(hello, 1))
        if server.tls is not None:
            _expect(2, await self._connection.exchange(b"STARTTLS\r\n", 1))
            plain = self._connection.transport
            if plain is None:
                raise SmtpError("not connected")
            self._connection.transport = await asyncio.get_running_loop().start_tls(
                plain, self._connection, server.tls, server_hostname=server.host
            )
            _expect(2, await self._connection.exchange(hello, 1))
        if server.username:
            token = base64.b64encode(f"\0{server.username}\0{server.password}".encode())
            _expect(2, await self._connection.exchange(b"AUTH PLAIN " + token + b"\r\n", 1))

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
        if pipelined:
            replies = await self._connection.exchange(b"".join(commands), 3)
        else:
            replies = [(await self._connection.exchange(one, 1))[0] for one in commands]
        sender, recipient, data = replies
        _expect(2, [sender, recipient])
        _expect(3, [data])
        began = time.perf_counter()
        (reply,) = await self._connection.exchange(mail.wire, 1)
        seconds = time.perf_counter() - began
        return Answer(int(reply[:3]), reply[4:].decode("utf-8", "replace"), seconds)

    async def quit(self) -> None:
        """Say goodbye; it does not matter whether the server still listens."""
        try:
            await self._connection.exchange(b"QUIT\r\n", 1)
        except SmtpError:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection."""
        if self._connection.transport is not None:
            self._connection.transport.close()


def _expect(kind: int, replies: list[bytes]) -> None:
    for reply in replies:
        if reply[:1] != b"%d" % kind:
            raise SmtpError(reply.decode("utf-8", "replace"))
