"""Opening a conversation: greeting, EHLO, STARTTLS, AUTH; and what the server offers.

STARTTLS and AUTH are never sent together with anything else. Which host to connect to, and what
to do when TLS fails, is for `dialer`.
"""

import base64
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from postroad_common.mail.reply import Reply
from postroad_sender.stage import Stage, Trouble, WireError
from postroad_sender.wire.connection import Connection, ConnectionTrouble, Garbled, Late


class TlsWish(StrEnum):
    """What a route says about TLS."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. Shorter than RFC 5321 section 4.5.3.2 asks for where that only ties up lanes."""

    connect: float = 20.0
    greeting: float = 60.0
    command: float = 120.0
    block: float = 120.0  # the server takes a chunk of the message
    dot: float = 600.0  # as the RFC: a message retried too early arrives twice


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server offered in reply to EHLO. `size`: 0 for no limit, None if not offered."""

    pipelining: bool = False
    size: int | None = None
    eightbitmime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    requiretls: bool = False
    auth: frozenset[str] = frozenset()

    @classmethod
    def from_reply(cls, reply: Reply) -> Self:
        """The capabilities that the lines behind the first one name."""
        words: dict[str, list[str]] = {}
        for line in reply.text.split("\n")[1:]:
            keyword, *rest = line.upper().replace("AUTH=", "AUTH ").split()[:20] or [""]
            words.setdefault(keyword, []).extend(rest)
        size = words.get("SIZE")
        limit = None
        if size is not None:
            limit = int(size[0]) if size and size[0].isascii() and size[0].isdigit() else 0
        return cls(
            pipelining="PIPELINING" in words,
            size=limit,
            eightbitmime="8BITMIME" in words,
            smtputf8="SMTPUTF8" in words,
            dsn="DSN" in words,
            starttls="STARTTLS" in words,
            requiretls="REQUIRETLS" in words,
            auth=frozenset(words.get("AUTH", ())),
        )


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """How the connection is protected."""

    version: str
    cipher: str
    verified: bool

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}" + ("" if self.verified else " unverified")


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials of a smart host."""

    username: str
    password: str = field(repr=False)


@dataclass(slots=True)
class Session:
    """An open conversation. Read-only for all but `transaction`."""

    connection: Connection
    host: str
    address: str
    timeouts: Timeouts
    capabilities: Capabilities
    tls: TlsFacts | None = None
    protection: str = ""  # `tls` as text, made once for all the messages it carries
    pipelining: bool = True  # the off switch of a destination
    messages: int = 0
    needs_reset: bool = False
    closing: bool = False

    @property
    def usable(self) -> bool:
        """Whether another message may be sent."""
        return not self.closing and self.connection.usable

    def quit(self) -> None:
        """Say goodbye without waiting for the answer."""
        if self.usable:
            self.connection.write(b"QUIT\r\n")
        self.connection.close()


async def open_session(
    connection: Connection,
    *,
    host: str,
    hostname: str,
    tls: TlsWish,
    context: ssl.SSLContext | None,
    login: Login | None,
    timeouts: Timeouts,
    pipelining: bool = True,
) -> Session:
    """Greet the server at the other end of `connection` and get ready to send.

    `host` is the name the server is known by, `hostname` ours. `context` is used if TLS is.

    Raises:
        WireError: with the stage and the server's reply, or the trouble. The connection is closed.
    """
    opening = _Opening(connection, host, hostname, timeouts)
    try:
        capabilities, facts = await opening.open(tls, context, login)
    except BaseException:
        connection.abort()
        raise
    return Session(
        connection=connection,
        host=host,
        address=connection.peer_address(),
        timeouts=timeouts,
        capabilities=capabilities,
        tls=facts,
        protection=str(facts) if facts else "",
        pipelining=pipelining and capabilities.pipelining,
    )


def trouble_of(error: ConnectionTrouble) -> Trouble:
    """The word for what happened to a connection."""
    if isinstance(error, Late):
        return Trouble.TIMEOUT
    if isinstance(error, Garbled):
        return Trouble.GARBLED
    return Trouble.DROPPED


class _Opening:
    def __init__(
        self, connection: Connection, host: str, hostname: str, timeouts: Timeouts
    ) -> None:
        self._connection = connection
        self._host = host
        self._hostname = hostname
        self._timeouts = timeouts

    async def open(
        self, tls: TlsWish, context: ssl.SSLContext | None, login: Login | None
    ) -> tuple[Capabilities, TlsFacts | None]:
        capabilities = await self.greet()
        facts = None
        if context is not None and tls is not TlsWish.NONE:
            if capabilities.starttls:
                facts = await self.start_tls(context)
                capabilities = await self.hello()
            elif tls is TlsWish.REQUIRED:
                raise WireError(Stage.STARTTLS, Trouble.TLS, "TLS is required and not offered")
        if login is not None:
            if facts is None and tls is not TlsWish.NONE:
                raise WireError(Stage.AUTH, Trouble.TLS, "a password is not sent in clear")
            await self.log_in(login, capabilities)
        return capabilities, facts

    async def greet(self) -> Capabilities:
        try:
            (banner,) = await self._connection.greeting
        except ConnectionTrouble as error:
            raise WireError(Stage.BANNER, trouble_of(error), str(error)) from error
        if banner.code != 220:
            raise WireError(Stage.BANNER, banner)
        return await self.hello()

    async def hello(self) -> Capabilities:
        reply = await self._command(Stage.EHLO, f"EHLO {self._hostname}\r\n")
        if reply.is_positive:
            return Capabilities.from_reply(reply)
        if reply.is_transient:
            raise WireError(Stage.EHLO, reply)
        reply = await self._command(Stage.EHLO, f"HELO {self._hostname}\r\n")
        if not reply.is_positive:
            raise WireError(Stage.EHLO, reply)
        return Capabilities()

    async def start_tls(self, context: ssl.SSLContext) -> TlsFacts:
        reply = await self._command(Stage.STARTTLS, "STARTTLS\r\n")
        if reply.code != 220:
            raise WireError(Stage.STARTTLS, Trouble.TLS, f"STARTTLS refused: {reply}")
        try:
            found = await self._connection.start_tls(
                context, self._host.rstrip("."), self._timeouts.greeting
            )
        except ConnectionTrouble as error:
            raise WireError(Stage.STARTTLS, Trouble.TLS, str(error)) from error
        except (ssl.SSLError, OSError, TimeoutError) as error:
            text = f"TLS handshake failed: {getattr(error, 'verify_message', '') or error}"
            raise WireError(Stage.STARTTLS, Trouble.TLS, text[:200]) from error
        cipher = found.cipher()
        return TlsFacts(
            version=found.version() or "",
            cipher=cipher[0] if cipher else "",
            verified=context.verify_mode is ssl.CERT_REQUIRED,
        )

    async def log_in(self, login: Login, capabilities: Capabilities) -> None:
        if "PLAIN" in capabilities.auth:
            token = f"\0{login.username}\0{login.password}"
            reply = await self._command(Stage.AUTH, f"AUTH PLAIN {_base64(token)}\r\n")
        elif "LOGIN" in capabilities.auth:
            reply = await self._command(Stage.AUTH, "AUTH LOGIN\r\n")
            for answer in (login.username, login.password):
                if reply.code != 334:
                    break
                reply = await self._command(Stage.AUTH, f"{_base64(answer)}\r\n")
        else:
            raise WireError(Stage.AUTH, Trouble.LOCAL, "the server offers no AUTH we can do")
        if reply.code != 235:
            raise WireError(Stage.AUTH, reply)

    async def _command(self, stage: Stage, line: str) -> Reply:
        try:
            (reply,) = await self._connection.exchange(
                line.encode("ascii"), 1, self._timeouts.command
            )
        except ConnectionTrouble as error:
            raise WireError(stage, trouble_of(error), str(error)) from error
        return reply


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
