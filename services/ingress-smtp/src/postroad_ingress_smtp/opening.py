"""The commands that open a session: HELO, EHLO, STARTTLS and AUTH.

Those of the transaction are in `protocol`.
"""

import asyncio
import ssl
from typing import cast

import structlog
from typing_extensions import override

from postroad_common.mail.reply import Reply
from postroad_ingress_smtp import metrics, replies
from postroad_ingress_smtp.connection import SmtpConnection
from postroad_smtp.server import sasl
from postroad_smtp.server.stream import ClientGoneError, LineEndError, LineTooLongError

_log = structlog.get_logger(__name__)


class OpeningCommands(SmtpConnection):
    """A connection, and the commands that say who is there.

    The `smtp_*` methods are called by their names: aiosmtpd collects them when it is constructed,
    and `SmtpConnection` looks commands up among them.
    """

    # Greeting, TLS

    @override
    async def smtp_HELO(self, hostname: str) -> None:
        if self._greeted(hostname, extended=False):
            self.reply(Reply(250, "", self.hostname))

    @override
    async def smtp_EHLO(self, hostname: str) -> None:
        if not self._greeted(hostname, extended=True):
            return
        lines = [
            self.hostname,
            "PIPELINING",
            f"SIZE {self._shared.max_message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
        ]
        if not self._tls and self._shared.tls() is not None:
            lines.append("STARTTLS")
        if self._tls:
            lines.append("REQUIRETLS")
            if self._backend.needs_login:
                lines.append("AUTH PLAIN LOGIN")
        self.reply(Reply(250, "", "\n".join(lines)))

    def _greeted(self, hostname: str, *, extended: bool) -> bool:
        name = hostname.split(" ", 1)[0]
        if not name or len(name) > 255 or not name.isprintable():
            self.reply(replies.HELO_SYNTAX)
            return False
        self._reset()
        self.session.extended_smtp = extended
        self.session.host_name = name
        self.session.forget_client()
        return True

    @override
    async def smtp_STARTTLS(self, arg: str) -> None:
        context = self._shared.tls()
        if arg:
            self.reply(replies.NO_ARGUMENT)
        elif self._tls:
            self.reply(replies.HAS_TLS)
        elif context is None:
            self.reply(replies.NO_TLS)
        else:
            self.reply(replies.START_TLS)
            await self._start_tls(context)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        transport = self.transport
        if transport is None:
            raise ClientGoneError
        # Nothing may be read between dropping what came in plain text and the handshake.
        transport.pause_reading()
        await self._flush()
        self._watchdog.expect(self._limits.handshake_seconds + 1)
        self._stream.drop()
        try:
            await self._writer.start_tls(
                context, ssl_handshake_timeout=self._limits.handshake_seconds
            )
        except (OSError, EOFError) as error:  # ssl.SSLError and ConnectionError are OSErrors
            _log.debug("TLS handshake failed", ip=self._address, error=str(error))
            transport.abort()
            self.transport = None  # its end is told to the TLS layer only
            raise ClientGoneError from error
        secure = cast("asyncio.Transport", self._writer.transport)
        self.transport = secure
        self._stream.move(secure)
        # RFC 3207 section 4.2: nothing the client said before counts.
        self.session = self._create_session()
        self._note_tls()
        self._reset()

    # AUTH

    @override
    async def smtp_AUTH(self, arg: str) -> None:
        refusal = self._auth_refusal()
        if refusal is not None:
            self.reply(refusal)
            return
        words = arg.split()
        if not 1 <= len(words) <= 2:
            self.reply(replies.AUTH_SYNTAX)
            return
        initial = words[1].encode() if len(words) == 2 else None
        self._watchdog.expect(self._limits.command_seconds)
        try:
            match words[0].upper():
                case "PLAIN":
                    credentials = await self._ask_plain(initial)
                case "LOGIN":
                    credentials = await self._ask_login(initial)
                case _:
                    self.reply(replies.AUTH_MECHANISM)
                    return
        except sasl.NotBase64Error:
            self.reply(replies.AUTH_NOT_BASE64)
            return
        except LineTooLongError:
            self.reply(replies.AUTH_LINE_TOO_LONG)
            return
        except LineEndError:
            self.reply(replies.LINE_ENDS)
            return
        except sasl.NoCredentialsError:
            self._watchdog.rest()
            await self._flush()
            self._failed(await self._shared.authentication.refuse_malformed(self._address))
            return
        if credentials is None:
            self.reply(replies.AUTH_CANCELLED)
            return
        await self._log_in(credentials)

    def _auth_refusal(self) -> Reply | None:
        if not self._backend.needs_login:
            return replies.NOT_IMPLEMENTED
        if not self.session.extended_smtp:
            return replies.NEED_EHLO
        if self.session.authenticated:
            return replies.AUTH_AGAIN
        if self.envelope.open:
            return replies.AUTH_IN_MAIL
        return None

    async def _ask(self, prompt: bytes) -> bytes | None:
        """Return the decoded response; None when the client cancels."""
        self._out.append(prompt)
        await self._flush()
        response = await self._stream.line()
        return None if response == sasl.CANCEL else sasl.decode(response)

    async def _ask_plain(self, initial: bytes | None) -> sasl.SaslCredentials | None:
        if initial is not None:
            message: bytes | None = sasl.decode(initial)
        else:
            message = await self._ask(sasl.EMPTY_PROMPT)
        return None if message is None else sasl.plain(message)

    async def _ask_login(self, initial: bytes | None) -> sasl.SaslCredentials | None:
        if initial is not None:
            username: bytes | None = sasl.decode(initial)
        else:
            username = await self._ask(sasl.USERNAME_PROMPT)
        if username is None:
            return None
        password = await self._ask(sasl.PASSWORD_PROMPT)
        return None if password is None else sasl.login(username, password)

    async def _log_in(self, credentials: sasl.SaslCredentials) -> None:
        self._watchdog.rest()
        await self._flush()
        result = await self._shared.authentication.check(credentials, self._address)
        if isinstance(result, Reply):
            self._failed(result)
            return
        if not self._shared.login_connections.take(result.username):
            metrics.AUTH_FAILURES.labels("connections").inc()
            self._end(replies.AUTH_CONNECTIONS)
            return
        self._counted_login = result.username
        self.session.authenticated = True
        self.session.credential = result
        self.session.forget_client()
        self._watchdog.uncap()
        self._logged_in()
        self.reply(replies.WELCOME)

    def _failed(self, refusal: Reply) -> None:
        self.reply(refusal)
        self._auth_failures += 1
        if self._auth_failures >= self._limits.auth_failures_per_connection and not self._ending:
            self._end(replies.AUTH_TOO_OFTEN)
