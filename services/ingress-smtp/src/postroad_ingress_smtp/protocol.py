"""The SMTP commands, strict and typed, where aiosmtpd's own fall short.

The connection they are spoken on is in `connection`, every reply text in `policy`, reading of
message data in `data` and `chunking`. What a message means is decided by the `Reception`.
"""

import asyncio
import re
import ssl
from typing import cast

import structlog
from typing_extensions import override

from postroad_common.mail.address import AddressError, Mailbox, parse_mailbox
from postroad_common.mail.parameters import (
    Body,
    MailParameters,
    ParameterError,
    RcptParameters,
)
from postroad_common.mail.reply import Reply
from postroad_ingress_smtp import metrics, policy, sasl
from postroad_ingress_smtp.chunking import Chunks, parse_bdat, skip
from postroad_ingress_smtp.connection import SmtpConnection
from postroad_ingress_smtp.content import examine
from postroad_ingress_smtp.data import (
    DataError,
    DesyncError,
    NoMemoryError,
    UncleanEndError,
    read_data,
)
from postroad_ingress_smtp.stream import ClientGoneError, LineEndError, LineTooLongError

_log = structlog.get_logger(__name__)

_PATH = re.compile(r' ?<((?:"(?:[^"\\]|\\.)*"|[^"<>])*)>(?: (.*))?', re.DOTALL)
_WITHOUT_TLS = frozenset({"EHLO", "HELO", "NOOP", "RSET", "QUIT", "STARTTLS"})


class SmtpProtocol(SmtpConnection):
    """One connection and the commands that it understands."""

    @override
    async def _barred(self, name: str, argument: str) -> bool:
        if not self._reception.needs_login or self._tls or name in _WITHOUT_TLS:
            return False
        if name == "BDAT":
            await self._skip_chunk(argument, policy.NEED_TLS)
        else:
            self.reply(policy.NEED_TLS)
        return True

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
            if self._reception.needs_login:
                lines.append("AUTH PLAIN LOGIN")
        self.reply(Reply(250, "", "\n".join(lines)))

    def _greeted(self, hostname: str, *, extended: bool) -> bool:
        name = hostname.split(" ", 1)[0]
        if not name or len(name) > 255 or not name.isprintable():
            self.reply(policy.HELO_SYNTAX)
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
            self.reply(policy.NO_ARGUMENT)
        elif self._tls:
            self.reply(policy.HAS_TLS)
        elif context is None:
            self.reply(policy.NO_TLS)
        else:
            self.reply(policy.START_TLS)
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
            self.reply(policy.AUTH_SYNTAX)
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
                    self.reply(policy.AUTH_MECHANISM)
                    return
        except sasl.NotBase64Error:
            self.reply(policy.AUTH_NOT_BASE64)
            return
        except LineTooLongError:
            self.reply(policy.AUTH_LINE_TOO_LONG)
            return
        except LineEndError:
            self.reply(policy.LINE_ENDS)
            return
        except sasl.NoCredentialsError:
            self._watchdog.rest()
            await self._flush()
            self._failed(await self._shared.authentication.refuse_malformed(self._address))
            return
        if credentials is None:
            self.reply(policy.AUTH_CANCELLED)
            return
        await self._log_in(credentials)

    def _auth_refusal(self) -> Reply | None:
        if not self._reception.needs_login:
            return policy.NOT_IMPLEMENTED
        if not self.session.extended_smtp:
            return policy.NEED_EHLO
        if self.session.authenticated:
            return policy.AUTH_AGAIN
        if self.envelope.open:
            return policy.AUTH_IN_MAIL
        return None

    async def _ask(self, prompt: bytes) -> bytes | None:
        """The decoded response; None when the client cancels."""
        self._out.append(prompt)
        await self._flush()
        response = await self._stream.line()
        return None if response == sasl.CANCEL else sasl.decode(response)

    async def _ask_plain(self, initial: bytes | None) -> sasl.Credentials | None:
        if initial is not None:
            message: bytes | None = sasl.decode(initial)
        else:
            message = await self._ask(sasl.EMPTY_PROMPT)
        return None if message is None else sasl.plain(message)

    async def _ask_login(self, initial: bytes | None) -> sasl.Credentials | None:
        if initial is not None:
            username: bytes | None = sasl.decode(initial)
        else:
            username = await self._ask(sasl.USERNAME_PROMPT)
        if username is None:
            return None
        password = await self._ask(sasl.PASSWORD_PROMPT)
        return None if password is None else sasl.login(username, password)

    async def _log_in(self, credentials: sasl.Credentials) -> None:
        self._watchdog.rest()
        await self._flush()
        result = await self._shared.authentication.check(credentials, self._address)
        if isinstance(result, Reply):
            self._failed(result)
            return
        if not self._shared.login_seats.take(result.username):
            metrics.AUTH_FAILURES.labels("connections").inc()
            self._end(policy.AUTH_CONNECTIONS)
            return
        self._seat = result.username
        self.session.authenticated = True
        self.session.credential = result
        self.session.forget_client()
        self._watchdog.uncap()
        self.reply(policy.WELCOME)

    def _failed(self, refusal: Reply) -> None:
        self.reply(refusal)
        self._auth_failures += 1
        if self._auth_failures >= self._limits.auth_failures_per_connection and not self._ending:
            self._end(policy.AUTH_TOO_OFTEN)

    # The transaction

    def _not_yet(self) -> Reply | None:
        if not self.session.host_name:
            return policy.NEED_EHLO
        if self._reception.needs_login and not self.session.authenticated:
            return policy.NEED_LOGIN
        return None

    @override
    async def smtp_MAIL(self, arg: str) -> None:
        refusal = self._not_yet()
        if refusal is None and self.envelope.open:
            refusal = policy.NESTED_MAIL
        if refusal is not None:
            self.reply(refusal)
            return
        parsed = self._parse_mail(arg)
        if isinstance(parsed, Reply):
            self.reply(parsed)
            return
        sender, parameters = parsed
        refusal = await self._reception.begin(self.session, sender)
        if refusal is not None:
            self.reply(refusal)
            return
        envelope = self.envelope
        envelope.open = True
        envelope.sender = sender
        envelope.parameters = parameters
        self._idle_commands = 0
        self.reply(policy.SENDER_OK)

    def _parse_mail(self, arg: str) -> tuple[Mailbox | None, MailParameters] | Reply:
        match = _PATH.fullmatch(arg, 5) if arg[:5].upper() == "FROM:" else None
        if match is None:
            return policy.MAIL_SYNTAX
        words = (match[2] or "").split()
        if words and not self.session.extended_smtp:
            return policy.PARAMETERS_NEED_EHLO
        try:
            parameters = MailParameters.parse(words)
        except ParameterError as error:
            return error.reply
        if parameters.body is Body.BINARYMIME:
            return policy.NO_BINARY
        if parameters.requiretls and not self._tls:
            return policy.REQUIRETLS_NEEDS_TLS
        if parameters.size is not None and parameters.size > self._shared.max_message_size:
            return policy.too_large(self._shared.max_message_size)
        if not match[1]:
            return None, parameters
        if not match[1].isascii() and not parameters.smtputf8:
            return policy.needs_smtputf8("sender")
        try:
            return parse_mailbox(match[1], smtputf8=parameters.smtputf8), parameters
        except AddressError as error:
            return policy.bad_sender(str(error))

    @override
    async def smtp_RCPT(self, arg: str) -> None:
        refusal = self._not_yet()
        if refusal is None:
            refusal = self._add_recipient(arg)
        if refusal is None:
            self.reply(policy.RECIPIENT_OK)
        else:
            self.envelope.refused += self.envelope.open
            self.reply(refusal)

    def _add_recipient(self, arg: str) -> Reply | None:
        envelope = self.envelope
        if not envelope.open:
            return policy.NEED_MAIL
        if self._chunks is not None:
            return policy.DATA_IN_CHUNKS
        match = _PATH.fullmatch(arg, 3) if arg[:3].upper() == "TO:" else None
        if match is None:
            return policy.RCPT_SYNTAX
        words = (match[2] or "").split()
        if words and not self.session.extended_smtp:
            return policy.PARAMETERS_NEED_EHLO
        try:
            parameters = RcptParameters.parse(words)
        except ParameterError as error:
            return error.reply
        smtputf8 = envelope.parameters.smtputf8
        if not match[1]:
            return policy.NO_RECIPIENT
        if not match[1].isascii() and not smtputf8:
            return policy.needs_smtputf8("recipient")
        try:
            mailbox = parse_mailbox(match[1], smtputf8=smtputf8)
        except AddressError as error:
            return policy.bad_recipient(str(error))
        if len(envelope.recipients) >= self._shared.max_recipients:
            return policy.TOO_MANY_RECIPIENTS
        addressee = self._reception.recipient(self.session, mailbox, parameters)
        if isinstance(addressee, Reply):
            return addressee
        envelope.recipients.append(addressee)
        return None

    def _data_refusal(self) -> Reply | None:
        refusal = self._not_yet()
        if refusal is not None:
            return refusal
        envelope = self.envelope
        if not envelope.open:
            return policy.NEED_MAIL
        if not envelope.recipients:
            return policy.NO_VALID_RECIPIENTS if envelope.refused else policy.NEED_RCPT
        refusal = self._reception.ready()
        if refusal is not None:
            return refusal
        if not self._lease.could_grow(envelope.parameters.size or 1):
            return policy.NO_MEMORY
        return None

    @override
    async def smtp_DATA(self, arg: str) -> None:
        refusal = policy.NO_ARGUMENT if arg else self._data_refusal()
        if refusal is None and self._chunks is not None:
            refusal = policy.DATA_IN_CHUNKS
        if refusal is not None:
            self.reply(refusal)
            return
        self._out.append(b"354 End data with <CR><LF>.<CR><LF>\r\n")
        await self._flush()
        self._watchdog.expect_data()
        try:
            raw = await read_data(self._stream, self._shared.max_message_size, self._lease)
        except DataError as error:
            self._reset()
            self.reply(self._explain(error))
        except DesyncError as error:
            await self._leave(error)
        else:
            await self._accept(raw)

    async def smtp_BDAT(self, arg: str) -> None:  # noqa: N802 - aiosmtpd finds it by this name
        """A chunk of the message, its size in octets, and whether it is the last."""
        parsed = parse_bdat(arg)
        if parsed is None:
            # How many octets follow is not known, so nothing behind can be understood.
            self.reply(policy.BDAT_SYNTAX)
            self._ending = True
            return
        refusal = self._data_refusal()
        if refusal is not None:
            await self._skip_chunk(arg, refusal)
            return
        size, last = parsed
        if self._chunks is None:
            self._chunks = Chunks()
        chunks = self._chunks
        await self._flush()
        self._watchdog.expect_data()
        try:
            await chunks.read(self._stream, size, self._shared.max_message_size, self._lease)
        except DataError as error:
            if last:
                self._reset()
            self.reply(self._explain(error))
        except DesyncError as error:
            await self._leave(error)
        else:
            if last:
                await self._accept(chunks.message())
            else:
                self.reply(Reply(250, "2.0.0", f"{size} octets received"))

    async def _skip_chunk(self, arg: str, refusal: Reply) -> None:
        parsed = parse_bdat(arg)
        if parsed is None:
            self.reply(refusal)
            self._ending = True
            return
        self._watchdog.expect_data()
        try:
            await skip(self._stream, parsed[0], self._shared.max_message_size)
        except DesyncError as error:
            await self._leave(error)
            return
        self.reply(refusal)

    def _explain(self, error: DataError) -> Reply:
        if isinstance(error, NoMemoryError):
            return policy.NO_MEMORY
        return policy.too_large(self._shared.max_message_size)

    async def _leave(self, error: DesyncError) -> None:
        """Refuse, and read on for a moment so that the client gets to see why."""
        if isinstance(error, UncleanEndError):
            self._end(policy.UNCLEAN_END)
        else:
            self._end(policy.too_large(self._shared.max_message_size))
        await self._flush()
        self._watchdog.expect(1.0)
        while True:
            await self._stream.take()

    async def _accept(self, raw: bytes) -> None:
        envelope = self.envelope
        self._watchdog.rest()
        try:
            facts = examine(
                raw,
                self._reception.rules,
                sevenbit=envelope.parameters.body is Body.SEVENBIT,
            )
            if isinstance(facts, Reply):
                answer = facts
            else:
                answer = await self._reception.accept(
                    self.session, envelope, raw, eightbit=facts.eightbit, subject=facts.subject
                )
        finally:
            self._reset()
        if answer.is_positive:
            messages, recipients, octets = metrics.accepted_of(self._reception.name)
            messages.inc()
            recipients.inc(len(envelope.recipients))
            octets.inc(len(raw))
            self._errors = 0
        self.reply(answer)

    # Everything else

    @override
    async def smtp_RSET(self, arg: str) -> None:
        if arg:
            self.reply(policy.NO_ARGUMENT)
            return
        self._reset()
        self.reply(policy.OK)

    @override
    async def smtp_NOOP(self, arg: str) -> None:
        self.reply(policy.OK)

    @override
    async def smtp_QUIT(self, arg: str) -> None:
        if arg:
            self.reply(policy.NO_ARGUMENT)
            return
        self._ending = True
        self.reply(policy.BYE)

    @override
    async def smtp_HELP(self, arg: str) -> None:
        self.reply(policy.HELP)

    @override
    async def smtp_VRFY(self, arg: str) -> None:
        self.reply(self._not_yet() or policy.CANNOT_VERIFY)

    @override
    async def smtp_EXPN(self, arg: str) -> None:
        self.reply(policy.NOT_IMPLEMENTED)
