"""The commands of a transaction: MAIL, RCPT, DATA, BDAT, and those that have no effect.

The connection they are spoken on is in `connection`, HELO to AUTH in `opening`, every reply text in
`replies`, and how message data is read in `postroad_smtp.server`. What a message means, and who
may send it, is decided by the `Backend`.
"""

from typing_extensions import override

from postroad_common.mail.parameters import Body
from postroad_common.mail.reply import Reply
from postroad_ingress_smtp import metrics, replies
from postroad_ingress_smtp.content import examine
from postroad_ingress_smtp.envelope_commands import read_mail, read_rcpt
from postroad_ingress_smtp.opening import OpeningCommands
from postroad_smtp.server.chunking import Chunks, parse_bdat, skip
from postroad_smtp.server.data import read_data
from postroad_smtp.server.errors import (
    BareCrError,
    DataError,
    DesyncError,
    LoneDotError,
    NoMemoryError,
    NulError,
    UncleanEndError,
)
from postroad_smtp.server.lineends import RepairedContent

_WITHOUT_TLS = frozenset({"EHLO", "HELO", "NOOP", "RSET", "QUIT", "STARTTLS"})


class SmtpProtocol(OpeningCommands):
    """One connection and the commands that it understands.

    The `smtp_*` methods are called by their names: aiosmtpd collects them when it is constructed,
    and `SmtpConnection` looks commands up among them.
    """

    @override
    async def _barred(self, name: str, argument: str) -> bool:
        if not self._backend.needs_login or self._tls or name in _WITHOUT_TLS:
            return False
        if name == "BDAT":
            await self._skip_chunk(argument, replies.NEED_TLS)
        else:
            self.reply(replies.NEED_TLS)
        return True

    # The transaction

    def _not_yet(self) -> Reply | None:
        if not self.session.host_name:
            return replies.NEED_EHLO
        if self._backend.needs_login and not self.session.authenticated:
            return replies.NEED_LOGIN
        return None

    @override
    async def smtp_MAIL(self, arg: str) -> None:
        refusal = self._not_yet()
        if refusal is None and self.envelope.open:
            refusal = replies.NESTED_MAIL
        if refusal is not None:
            self.reply(refusal)
            return
        command = read_mail(
            arg,
            extended=self.session.extended_smtp,
            tls=self._tls,
            size_limit=self._shared.max_message_size,
            forgiving=self._backend.forgiving,
        )
        if isinstance(command, Reply):
            self.reply(command)
            return
        sender: str | Reply = ""
        if command.address:
            smtputf8 = command.parameters.smtputf8
            sender = self._backend.read_sender(command.address, smtputf8=smtputf8)
        if isinstance(sender, Reply):
            self.reply(sender)
            return
        refusal = await self._backend.begin(self.session, sender)
        if refusal is not None:
            self.reply(refusal)
            return
        envelope = self.envelope
        envelope.open = True
        envelope.sender = sender
        envelope.parameters = command.parameters
        self.reply(replies.SENDER_OK)

    @override
    async def smtp_RCPT(self, arg: str) -> None:
        refusal = self._not_yet()
        if refusal is None:
            refusal = self._add_recipient(arg)
        if refusal is None:
            self.reply(replies.RECIPIENT_OK)
        else:
            self.envelope.refused += self.envelope.open
            self.reply(refusal)

    def _add_recipient(self, arg: str) -> Reply | None:
        envelope = self.envelope
        if not envelope.open:
            return replies.NEED_MAIL
        if self._chunks is not None:
            return replies.DATA_IN_CHUNKS
        extended = self.session.extended_smtp
        command = read_rcpt(
            arg,
            extended=extended,
            smtputf8=envelope.parameters.smtputf8,
            home=self._shared.hostname,
            forgiving=self._backend.forgiving,
        )
        if isinstance(command, Reply):
            return command
        if envelope.has(command.mailbox):
            envelope.unite(command.mailbox, command.parameters)
            return None
        if envelope.size >= self._shared.max_recipients:
            return replies.TOO_MANY_RECIPIENTS
        recipient = self._backend.recipient(self.session, command.mailbox, command.parameters)
        if isinstance(recipient, Reply):
            return recipient
        envelope.add(recipient)
        return None

    def _data_refusal(self) -> Reply | None:
        refusal = self._not_yet()
        if refusal is not None:
            return refusal
        envelope = self.envelope
        if not envelope.open:
            return replies.NEED_MAIL
        if not envelope.size:
            return replies.NO_VALID_RECIPIENTS if envelope.refused else replies.NEED_RCPT
        refusal = self._backend.ready()
        if refusal is not None:
            self._idle_commands = 0  # there would have been a message, and it is not the client
            return refusal
        size = envelope.parameters.size or 1
        if not self._lease.could_grow(min(size, self._shared.kept_size or size)):
            return replies.NO_MEMORY
        return None

    @override
    async def smtp_DATA(self, arg: str) -> None:
        refusal = replies.NO_ARGUMENT if arg else self._data_refusal()
        if refusal is None and self._chunks is not None:
            refusal = replies.DATA_IN_CHUNKS
        if refusal is not None:
            self.reply(refusal)
            return
        self._out.append(b"354 End data with <CR><LF>.<CR><LF>\r\n")
        await self._flush()
        self._watchdog.expect_data()
        try:
            content = await read_data(
                self._stream,
                self._shared.max_message_size,
                self._lease,
                self._backend.rules.line_ends,
                self._shared.kept_size,
            )
        except DataError as error:
            self._reset()
            self.reply(self._explain(error))
        except DesyncError as error:
            await self._leave(error)
        else:
            await self._accept(content)

    async def smtp_BDAT(self, arg: str) -> None:  # noqa: N802 - aiosmtpd finds it by this name
        """Read a chunk of the message, its size in octets, and whether it is the last."""
        parsed = parse_bdat(arg)
        if parsed is None:
            # How many octets follow is not known, so nothing behind can be understood.
            self.reply(replies.BDAT_SYNTAX)
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
        content = None
        try:
            await chunks.read(
                self._stream,
                size,
                self._shared.max_message_size,
                self._lease,
                self._shared.kept_size,
            )
            if last:
                content = chunks.message(self._backend.rules.line_ends)
        except DataError as error:
            if last:
                self._reset()
            self.reply(self._explain(error))
        except DesyncError as error:
            await self._leave(error)
        else:
            if content is None:
                self.reply(Reply(250, "2.0.0", f"{size} octets received"))
            else:
                await self._accept(content)

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
        match error:
            case NoMemoryError():
                return replies.NO_MEMORY
            case NulError():
                return replies.HAS_NUL
            case BareCrError():
                return replies.BARE_CR
            case LoneDotError():
                return replies.LONE_DOT
            case _:
                return replies.too_large(self._shared.max_message_size)

    async def _leave(self, error: DesyncError) -> None:
        """Refuse, and read on for a moment so that the client gets to see why."""
        if isinstance(error, UncleanEndError):
            self._end(replies.UNCLEAN_END)
        else:
            self._end(replies.too_large(self._shared.max_message_size))
        await self._flush()
        self._watchdog.expect(1.0)
        while True:
            await self._stream.take()

    async def _accept(self, content: RepairedContent) -> None:
        envelope = self.envelope
        self._idle_commands = 0
        self._watchdog.rest()
        try:
            message = examine(
                content,
                self._backend.rules,
                sevenbit=envelope.parameters.body is Body.SEVENBIT,
            )
            if isinstance(message, Reply):
                answer = message
            else:
                answer = await self._backend.accept(self.session, envelope, message)
            self.reply(answer)
            if not self._stream.has_line:
                self._flush_out()  # the client waits for it, and for nothing that follows
        finally:
            self._reset()
        if answer.is_positive:
            metrics.count_accepted(
                self._backend.name, self.session.tls, envelope.size, content.sent_size
            )
            self._errors = 0

    # Everything else

    @override
    async def smtp_RSET(self, arg: str) -> None:
        if arg:
            self.reply(replies.NO_ARGUMENT)
            return
        self._reset()
        self.reply(replies.OK)

    @override
    async def smtp_NOOP(self, arg: str) -> None:
        self.reply(replies.OK)

    @override
    async def smtp_QUIT(self, arg: str) -> None:
        if arg:
            self.reply(replies.NO_ARGUMENT)
            return
        self._ending = True
        self.reply(replies.BYE)

    @override
    async def smtp_HELP(self, arg: str) -> None:
        self.reply(replies.HELP)

    @override
    async def smtp_VRFY(self, arg: str) -> None:
        self.reply(self._not_yet() or replies.CANNOT_VERIFY)

    @override
    async def smtp_EXPN(self, arg: str) -> None:
        self.reply(replies.NOT_IMPLEMENTED)
