"""A connection: its life, its command lines and its replies, on top of aiosmtpd's protocol.

Taken from aiosmtpd: the life of the connection, the table of `smtp_*` methods, session and
envelope. Ours: reading (`stream`), replies that leave together where commands came together, and
time-outs by phase (`watchdog`). The commands are in `protocol`.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog
from aiosmtpd.smtp import SMTP
from typing_extensions import override

from postroad_common.mail.reply import Reply
from postroad_ingress_smtp import metrics, replies
from postroad_ingress_smtp.admission import Admissions, ConnectionLimiter, Lease, Memory
from postroad_ingress_smtp.authentication import Authentication
from postroad_ingress_smtp.envelope import Envelope
from postroad_ingress_smtp.limits import SmtpLimits
from postroad_ingress_smtp.session import Backend, Session
from postroad_ingress_smtp.watchdog import Watchdog
from postroad_smtp.server.chunking import Chunks
from postroad_smtp.server.stream import (
    ClientGoneError,
    LineEndError,
    LineTooLongError,
    SmtpStream,
)

_log = structlog.get_logger(__name__)

_PATIENCE = 10  # times as many errors are taken from who has logged in: lists have bad addresses
_PARTING_SECONDS = 1.0  # for QUIT after the last transaction of a process that is being stopped
_COMMAND_LIMIT = 4096  # octets; MAIL with all its parameters stays below, but for odd senders
_IDLE = frozenset({"NOOP", "RSET", "HELP", "VRFY", "EXPN", "EHLO", "HELO"})
_HTTP = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "PATCH", "DELETE"})


@dataclass(slots=True)
class Shared:
    """What all connections of the process share.

    `kept_size`: how many octets of a message are kept; None for all.
    """

    hostname: str
    max_message_size: int
    max_recipients: int
    limits: SmtpLimits
    memory: Memory
    tls: Callable[[], ssl.SSLContext | None]
    authentication: Authentication
    admissions: Admissions
    login_connections: ConnectionLimiter
    kept_size: int | None = None
    draining: bool = False


class SmtpConnection(SMTP):
    """One connection, with everything but the commands."""

    session: Session
    envelope: Envelope
    transport: asyncio.Transport | None

    if TYPE_CHECKING:  # what asyncio.StreamReaderProtocol has but typeshed does not tell
        _paused: bool

        _client_connected_cb: object

        async def _drain_helper(self) -> None: ...

    def __init__(
        self,
        shared: Shared,
        backend: Backend,
        address: str,
        *,
        logged_in: Callable[[], None],
        released: Callable[["SmtpConnection"], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Call `logged_in` once the client is, and `released` when nothing is held any more."""
        super().__init__(None, hostname=shared.hostname, enable_SMTPUTF8=True, loop=loop)
        self._shared = shared
        self._limits = shared.limits
        self._backend = backend
        self._address = address
        self._logged_in = logged_in
        self._released = released
        self._stream = SmtpStream(loop)
        # The stock reader holds one line; ours takes its place.
        asyncio.StreamReaderProtocol.__init__(
            self, self._stream, client_connected_cb=self._cb_client_connected, loop=loop
        )
        self._watchdog = Watchdog(loop, self._stream, shared.limits, self._expired)
        self._out: list[bytes] = []
        self._ending = False
        self._lease: Lease = shared.memory.lease()
        self._chunks: Chunks | None = None
        self._errors = 0
        self._idle_commands = 0
        self._auth_failures = 0
        self._counted_login: str | None = None
        self._aborting: asyncio.TimerHandle | None = None
        self.idle = False
        """Whether the connection waits for a command, outside of a transaction."""

    # The life of the connection

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        asyncio.StreamReaderProtocol.connection_made(self, transport)
        self.transport = cast("asyncio.Transport", transport)
        self.session = self._create_session()
        self.envelope = self._create_envelope()
        self._note_tls()
        if not self._backend.needs_login:
            self._watchdog.uncap()
        self._handler_coroutine = self.loop.create_task(self._handle_client())

    @override
    def connection_lost(self, error: Exception | None) -> None:
        # The task is not cancelled: it may be waiting for a confirm. It ends at its next read.
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self._watchdog.stop()
        if self._aborting is not None:
            self._aborting.cancel()
        self.transport = None

    @override
    def data_received(self, data: bytes) -> None:
        self._stream.feed_data(data)

    @override
    def eof_received(self) -> bool:
        self._stream.feed_eof()
        return not self._tls  # a TLS transport cannot stay half open

    @override
    def _create_session(self) -> Session:
        return Session(self.loop, self._address)

    @override
    def _create_envelope(self) -> Envelope:
        return Envelope()

    @property
    def _tls(self) -> bool:
        return self.session.tls is not None

    def _note_tls(self) -> None:
        connection = self._writer.get_extra_info("ssl_object")
        if connection is not None:
            cipher = connection.cipher()
            self.session.tls = f"{connection.version()} {cipher[0] if cipher else ''}".strip()

    def drain_idle(self) -> None:
        """Close now if nothing is in progress, because the process is being stopped.

        A command that has arrived is answered first, so that a QUIT gets its 221.
        """
        if self.idle and not self._stream.has_line:
            self._end(replies.DRAINING)
            self._flush_out()
            self._close()

    def give_way(self) -> None:
        """Close, because the client has not logged in and another waits for its place."""
        if not self._ending:
            self._end(replies.TOO_MANY_CONNECTIONS)
        self._flush_out()
        self._close()

    @property
    def begun(self) -> bool:
        """Whether the conversation has started; from then on `released` will be called."""
        return self._handler_coroutine is not None

    def abort(self) -> None:
        """Close whatever is in progress."""
        if self.transport is not None:
            self.transport.abort()

    def _expired(self, slow: bool) -> None:  # noqa: FBT001 - the one argument of a call-back
        if not self._ending:
            if self._shared.draining and not self.envelope.open:
                self._end(replies.DRAINING)
            else:
                self._end(replies.TOO_SLOW if slow else replies.TIMED_OUT)
        self._flush_out()
        self._close()

    def _close(self) -> None:
        """Close when the last reply is out, and at the latest after `close_seconds`."""
        transport = self.transport
        self._watchdog.stop()
        if transport is not None and self._aborting is None:
            transport.close()
            self._aborting = self.loop.call_later(self._limits.close_seconds, transport.abort)
        self._stream.feed_eof()  # wakes the task, which ends

    # Replies

    def reply(self, reply: Reply) -> None:
        """Answer a command; the octets leave with `_flush`."""
        self._out.append(reply.wire())
        if reply.code >= 400:
            metrics.REFUSED.labels(self._backend.name, str(reply.code)).inc()
            if reply.code >= 500:
                self._errors += 1
                allowed = self._limits.errors * (_PATIENCE if self.session.authenticated else 1)
                if self._errors >= allowed and not self._ending:
                    self._end(replies.TOO_MANY_ERRORS)
            elif reply.code == 421:
                self._ending = True

    def _end(self, reply: Reply) -> None:
        """Answer, and close the connection when the answer is out."""
        self._ending = True
        self._out.append(reply.wire())
        metrics.REFUSED.labels(self._backend.name, str(reply.code)).inc()

    def _flush_out(self) -> None:
        if self._out and self.transport is not None:
            self.transport.write(b"".join(self._out))
        self._out.clear()

    async def _flush(self) -> None:
        self._flush_out()
        if self._paused:
            await self._drain_helper()

    # The conversation

    @override
    async def _handle_client(self) -> None:
        try:
            await self._converse()
        except (ClientGoneError, ConnectionError):
            pass
        except Exception:  # noqa: BLE001 - a connection's fault must not become the process's
            _log.exception("session failed", ip=self._address, listener=self._backend.name)
            self._end(replies.BROKEN)
            self._flush_out()
        finally:
            self._release()

    def _release(self) -> None:
        self._lease.release()
        self._close()
        if self._counted_login is not None:
            self._shared.login_connections.release(self._counted_login)
            self._counted_login = None
        self._released(self)
        # Without these circles the connection's memory is free at once, not at some collection.
        self._smtp_methods.clear()
        self._auth_methods.clear()
        self._client_connected_cb = None
        del self._writer

    async def _converse(self) -> None:
        self._out.append(b"220 %s ESMTP Postroad\r\n" % self.hostname.encode())
        while not self._ending:
            if not self._stream.has_line:
                await self._flush()
                if self._stream.at_end:
                    return
            idle = self.idle = not self.envelope.open
            parting = idle and self._shared.draining
            self._watchdog.expect(_PARTING_SECONDS if parting else self._limits.command_seconds)
            try:
                line = await self._stream.line()
            except LineTooLongError:
                self.reply(replies.LINE_TOO_LONG)
                continue
            except LineEndError:
                self.reply(replies.LINE_ENDS)
                continue
            finally:
                self.idle = False
            if not self._ending:  # it may have expired while the line came in
                if idle and self._shared.draining and line.strip().upper() != b"QUIT":
                    self._end(replies.DRAINING)
                else:
                    await self._command(line)
        await self._flush()

    async def _command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        try:
            name = verb.decode("ascii").upper()
            argument = self._text(rest).strip(" ")
        except UnicodeDecodeError:
            self.reply(replies.NOT_TEXT)
            return
        if len(line) > _COMMAND_LIMIT and name != "AUTH" and not self._backend.forgiving:
            self.reply(replies.LINE_TOO_LONG)
            return
        if name in _HTTP:
            self._end(replies.NOT_HTTP)
            return
        if await self._barred(name, argument):
            return
        method = self._smtp_methods.get(name)
        if method is None:
            self.reply(replies.UNKNOWN)
            return
        if name in _IDLE:
            self._idle_commands += 1
            if self._idle_commands > self._limits.idle_commands:
                self._end(replies.TOO_MANY_IDLE)
                return
        await method(argument)

    def _text(self, octets: bytes) -> str:
        try:
            return octets.decode()
        except UnicodeDecodeError:
            if not self._backend.forgiving:
                raise
            return octets.decode("latin-1")

    async def _barred(self, name: str, argument: str) -> bool:
        """Whether the command was refused because of what has not happened yet."""
        raise NotImplementedError

    def _reset(self) -> None:
        """Forget the transaction."""
        self.envelope = self._create_envelope()
        self._chunks = None
        self._lease.release()
