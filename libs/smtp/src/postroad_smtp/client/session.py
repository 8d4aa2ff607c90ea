"""Opening a conversation: greeting, EHLO, STARTTLS, AUTH; and what the server offers.

STARTTLS and AUTH are never sent together with anything else. Which host to connect to, and what
to do when TLS fails, is for `dialer`.
"""

import base64
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from postroad_common.mail.reply import Reply
from postroad_smtp.client.connection import Connection, ConnectionFault, Garbled, Late
from postroad_smtp.client.conversation import Conversation, clean, moment, of_server
from postroad_smtp.client.evidence import UNCHECKED, DaneState, TlsEvidence
from postroad_smtp.client.stage import Fault, Stage, WireError

CLOSING = 421
NOT_OFFERED = "TLS is required and not offered"


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
    transaction: float = 600.0  # from MAIL to the final dot, however slowly it goes on


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
        """Return the capabilities that the lines after the first one name."""
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

    def without(self, extensions: Collection[str]) -> "Capabilities":
        """Return the same without those of `extensions` that mail can do without."""
        return replace(
            self,
            size=None if "SIZE" in extensions else self.size,
            eightbitmime=self.eightbitmime and "8BITMIME" not in extensions,
            dsn=self.dsn and "DSN" not in extensions,
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
class SmarthostLogin:
    """Credentials of a smart host."""

    username: str
    password: str = field(repr=False)


Check = Callable[[ssl.SSLObject], TlsEvidence]
"""Looks at what a server presented in the handshake; raises WireError if that is not enough."""


@dataclass(slots=True)
class ClientSession:
    """An open conversation. Read-only for all but `transaction`.

    `policy` is the verdict on what the message it carries now demands (`judged`), out of `verdicts`
    (the caller puts them there). `place` is what counts the connection, if the caller counts.
    """

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
    out_of_step: bool = False  # its replies to pipelined commands were not those to the commands
    opening: str = ""  # the conversation up to here, and those with other hosts before
    since: str = ""  # the same in few words, for all messages but the first
    conversation: Conversation | None = None  # the last one
    evidence: TlsEvidence = UNCHECKED
    verdicts: dict[Any, Mapping[str, Any]] = field(default_factory=dict)
    policy: Mapping[str, Any] | None = None
    judged: object = None
    place: Any = None

    @property
    def usable(self) -> bool:
        """Whether another message may be sent: one only where the server writes odd replies."""
        if self.closing or (self.messages and self.connection.is_odd):
            return False
        return self.connection.usable

    def told(self, recipient: int) -> str:
        """Return the conversation about the last message, for its recipient number `recipient`."""
        said = self.conversation
        if said is None:
            return ""
        if self.messages > 1 and said.commands:
            return said.of(recipient, f"# message {self.messages} {self.since}")
        return said.of(recipient, self.opening)

    def leave_out(self, extensions: Collection[str]) -> None:
        """Use `extensions` no more: the server offers them, and refuses their parameters."""
        if extensions:
            self.capabilities = self.capabilities.without(extensions)
            text = f"refused before and left out: {', '.join(sorted(extensions))}"
            self.opening = f"{self.opening}\n# {text}"
            self.since = f"{self.since}, {text}"

    def quit(self) -> None:
        """Say goodbye without waiting for the answer."""
        if self.usable:
            self.connection.write(b"QUIT\r\n")
        self.connection.close()
        if self.place is not None:
            self.place.give_back()


async def open_session(
    connection: Connection,
    *,
    host: str,
    hostname: str,
    tls: TlsWish,
    context: ssl.SSLContext | None,
    login: SmarthostLogin | None,
    timeouts: Timeouts,
    pipelining: bool = True,
    check: Check | None = None,
) -> ClientSession:
    """Greet the server at the other end of `connection` and get ready to send.

    `host` is the name the server is known by, `hostname` ours. `context` is used if TLS is,
    and `check` looks at the certificate then.

    Raises:
        WireError: with the stage and the server's reply, or the fault. The connection is closed.
    """
    opening = _Opening(connection, host, hostname, timeouts, check)
    try:
        capabilities, facts = await opening.open(tls, context, login)
    except BaseException as error:
        if isinstance(error, WireError):
            error.said = opening.told(error)
        connection.abort()
        raise
    return ClientSession(
        connection=connection,
        host=host,
        address=opening.address,
        timeouts=timeouts,
        capabilities=capabilities,
        tls=facts,
        protection=str(facts) if facts else "",
        pipelining=pipelining and capabilities.pipelining,
        opening=opening.told(),
        since=f"on the connection to {opening.peer}",
        evidence=opening.evidence,
    )


def fault_of(error: ConnectionFault) -> Fault:
    """Return the word for what happened to a connection."""
    if isinstance(error, Late):
        return Fault.TIMEOUT
    if isinstance(error, Garbled):
        return Fault.GARBLED
    return Fault.DROPPED


class _Opening:
    def __init__(
        self,
        connection: Connection,
        host: str,
        hostname: str,
        timeouts: Timeouts,
        check: Check | None,
    ) -> None:
        self._check = check
        self.evidence = UNCHECKED
        self._connection = connection
        self._host = host
        self._hostname = hostname
        self._timeouts = timeouts
        self._said: list[str] = []
        self.address = connection.peer_address()
        name = host if host == self.address else f"{host} ({self.address})"
        self.peer = f"{name} since {moment(time.time())}"

    def told(self, error: WireError | None = None) -> str:
        """Return what was said so far, and the `error` that ended it if that was no reply."""
        lines = [f"# connected to {self.peer}", *self._said]
        if error is not None and error.reply is None:
            lines.append(f"# {clean(error.detail)}")
        return "\n".join(lines)

    async def open(
        self, tls: TlsWish, context: ssl.SSLContext | None, login: SmarthostLogin | None
    ) -> tuple[Capabilities, TlsFacts | None]:
        capabilities = await self.greet()
        facts = None
        if context is not None and tls is not TlsWish.NONE:
            if capabilities.starttls:
                facts = await self.start_tls(context)
                capabilities = await self.hello()
            elif tls is TlsWish.REQUIRED:
                raise WireError(Stage.STARTTLS, Fault.TLS, NOT_OFFERED)
        if login is not None:
            if facts is None and tls is not TlsWish.NONE:
                raise WireError(Stage.AUTH, Fault.TLS, "a password is not sent in clear")
            await self.log_in(login, capabilities)
        return capabilities, facts

    async def greet(self) -> Capabilities:
        try:
            (banner,) = await self._connection.greeting
        except ConnectionFault as error:
            raise WireError(Stage.BANNER, fault_of(error), str(error)) from error
        self._said.append(of_server(banner))
        if banner.code // 100 != 2:
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
        if reply.code == CLOSING:
            raise WireError(Stage.STARTTLS, reply)  # that is about the connection, not about TLS
        if reply.code != 220:
            raise WireError(Stage.STARTTLS, Fault.TLS, f"STARTTLS refused: {reply}")
        try:
            found = await self._connection.start_tls(
                context, self._host.rstrip("."), self._timeouts.greeting
            )
        except ConnectionFault as error:
            raise WireError(Stage.STARTTLS, Fault.TLS, str(error)) from error
        except (ssl.SSLError, OSError, ValueError) as error:  # the last: no name for a certificate
            text = f"TLS handshake failed: {getattr(error, 'verify_message', '') or error}"
            raise WireError(Stage.STARTTLS, Fault.TLS, text[:200]) from error
        verified = context.verify_mode is ssl.CERT_REQUIRED
        if self._check is not None:
            self.evidence = self._check(found)
        if verified:
            self.evidence = replace(self.evidence, pkix=True)
        cipher = found.cipher()
        facts = TlsFacts(
            version=found.version() or "",
            cipher=cipher[0] if cipher else "",
            verified=verified or self.evidence.dane is DaneState.MATCHED,
        )
        self._said.append(f"# {facts}")
        return facts

    async def log_in(self, login: SmarthostLogin, capabilities: Capabilities) -> None:
        if "PLAIN" in capabilities.auth:
            token = f"\0{login.username}\0{login.password}"
            line = f"AUTH PLAIN {_base64(token)}\r\n"
            reply = await self._command(Stage.AUTH, line, shown="AUTH PLAIN (credentials)")
        elif "LOGIN" in capabilities.auth:
            reply = await self._command(Stage.AUTH, "AUTH LOGIN\r\n")
            for answer in (login.username, login.password):
                if reply.code != 334:
                    break
                line = f"{_base64(answer)}\r\n"
                reply = await self._command(Stage.AUTH, line, shown="(credentials)")
        else:
            raise WireError(Stage.AUTH, Fault.LOCAL, "the server offers no AUTH we can do")
        if reply.code // 100 != 2:
            raise WireError(Stage.AUTH, reply)

    async def _command(self, stage: Stage, line: str, *, shown: str = "") -> Reply:
        self._said.append(f"C: {shown or line.rstrip()}")
        try:
            (reply,) = await self._connection.exchange(
                line.encode("ascii"), 1, self._timeouts.command
            )
        except ConnectionFault as error:
            raise WireError(stage, fault_of(error), str(error)) from error
        self._said.append(of_server(reply))
        return reply


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
