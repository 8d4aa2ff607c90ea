"""One SMTP session of the sink: what each command does and what it answers.

Every stage asks the rules first (`connection`). Lines are parsed in `commands`, the bytes handled
in `wire`, and what becomes of a message is in `server`.
"""

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

from typing_extensions import override

from postroad_common.mail.reply import Reply
from postroad_sink.certificate import requested_name
from postroad_sink.commands import (
    CommandError,
    read_chunk,
    read_mail,
    read_rcpt,
    read_response,
)
from postroad_sink.connection import SinkConnection
from postroad_sink.extensions import ehlo_reply
from postroad_sink.mailbox import ConnectionOrigin, TlsFacts
from postroad_sink.rules import RuleStage
from postroad_smtp.server import sasl
from postroad_smtp.server.lineends import unstuff

_OK = b"250 2.0.0 Ok\r\n"
_MAIL_OK = b"250 2.1.0 Sender ok\r\n"
_RCPT_OK = b"250 2.1.5 Recipient ok\r\n"
_GO_AHEAD = b"354 End with <CR><LF>.<CR><LF>\r\n"
_COUNTED = b"250 2.0.0 Ok, counted and thrown away\r\n"
_NO_MAIL = Reply(503, "5.5.1", "MAIL first")
_TOO_LARGE = Reply(552, "5.3.4", "Message too large")
_NO_ROOM = Reply(452, "4.3.1", "Too much is coming in at once")
_NOT_PIPELINED = Reply(503, "5.5.0", "Commands sent ahead, but PIPELINING was not offered")
_DOT = 3  # octets of the dot and CRLF that end the content


class SinkSession(SinkConnection):
    """A connection and the commands that it understands."""

    # Commands

    @override
    def line_received(self, line: bytes, *, sent_ahead: bool) -> None:
        try:
            if self._auth_step is not None:
                step, self._auth_step = self._auth_step, None
                step(line)
            else:
                self._command(line, sent_ahead=sent_ahead)
        except CommandError as error:
            self._write(error.reply)

    def _command(self, line: bytes, *, sent_ahead: bool) -> None:
        verb, _, argument = line.partition(b" ")
        handler = self._COMMANDS.get(verb) or self._COMMANDS.get(verb.upper())
        if handler is None:
            raise CommandError(Reply(500, "5.5.1", "Command not known"))
        if sent_ahead and "PIPELINING" not in self._offer.names and verb.upper() != b"BDAT":
            raise CommandError(_NOT_PIPELINED)
        handler(self, argument)

    @override
    def line_too_long(self) -> None:
        self.shut_down(Reply(500, "5.5.2", "Line too long"))

    def _ehlo(self, argument: bytes) -> None:
        self._hello(argument, "ESMTP")

    def _helo_(self, argument: bytes) -> None:
        self._hello(argument, "SMTP")

    def _hello(self, argument: bytes, protocol: str) -> None:
        name = argument.strip()
        if not name:
            raise CommandError(Reply(501, "5.5.4", "A name is needed"))

        def greet(reply: Reply | None) -> None:
            self._let_content_go()
            self._clear_transaction()
            self._helo = name.decode("utf-8", "replace")
            self._protocol = protocol
            self._origin = None
            hostname = self._sink.hostname
            if protocol == "SMTP":
                self._answer(reply, f"250 {hostname}\r\n".encode())
                return
            tls_possible = self._sink.tls_context is not None
            self._answer(
                reply,
                ehlo_reply(self._offer, hostname, tls=self.under_tls, tls_possible=tls_possible),
            )

        self._decide(RuleStage.EHLO, greet)

    def _starttls(self, argument: bytes) -> None:
        if argument.strip():
            raise CommandError(Reply(501, "5.5.4", "STARTTLS takes no argument"))
        context = self._sink.tls_context
        if context is None or "STARTTLS" not in self._offer.names:
            raise CommandError(Reply(502, "5.5.1", "STARTTLS was not offered"))
        if self._tls is not None:
            raise CommandError(Reply(503, "5.5.1", "TLS is already in use"))

        def begin(reply: Reply | None) -> None:
            self._answer(reply, b"220 2.0.0 Ready to start TLS\r\n")
            self.start_tls(context, self._secured)

        self._decide(RuleStage.STARTTLS, begin)

    def _secured(self, connection: ssl.SSLObject | None) -> None:
        if connection is None:
            self._sink.counts.tls_failed += 1
            return
        self._sink.counts.tls_sessions += 1
        cipher = connection.cipher()
        self._tls = TlsFacts(
            connection.version() or "", cipher[0] if cipher else "", requested_name(connection)
        )
        # RFC 3207 section 4.2: what was learned in the clear is forgotten.
        self._helo = ""
        self._origin = None
        self._let_content_go()
        self._clear_transaction()

    def _auth(self, argument: bytes) -> None:
        if "AUTH" not in self._offer.names:
            raise CommandError(Reply(502, "5.5.1", "AUTH was not offered"))
        if self._login is not None or self._has_mail:
            raise CommandError(Reply(503, "5.5.1", "Not now"))
        mechanism, _, initial = argument.partition(b" ")
        match mechanism.upper():
            case b"PLAIN":
                step, challenge = self._auth_plain, sasl.EMPTY_PROMPT
            case b"LOGIN":
                step, challenge = self._auth_login, sasl.USERNAME_PROMPT
            case _:
                raise CommandError(Reply(504, "5.5.4", "PLAIN or LOGIN"))
        if initial:
            step(initial.strip())
        else:
            self._auth_step = step
            self.send(challenge)

    def _auth_plain(self, answer: bytes) -> None:
        try:
            credentials = sasl.plain(read_response(answer))
        except sasl.NoCredentialsError:
            raise CommandError(Reply(501, "5.5.2", "PLAIN has three parts")) from None
        self._log_in(credentials.username)

    def _auth_login(self, answer: bytes) -> None:
        name = read_response(answer)

        def with_password(password: bytes) -> None:
            try:
                credentials = sasl.login(name, read_response(password))
            except sasl.NoCredentialsError:
                raise CommandError(Reply(501, "5.5.2", "No name or no password")) from None
            self._log_in(credentials.username)

        self._auth_step = with_password
        self.send(sasl.PASSWORD_PROMPT)

    def _log_in(self, name: str) -> None:
        def succeed(reply: Reply | None) -> None:
            self._login = name
            self._origin = None
            self._answer(reply, b"235 2.7.0 Authenticated\r\n")

        self._decide(RuleStage.AUTH, succeed)

    def _mail(self, argument: bytes) -> None:
        if not self._helo:
            raise CommandError(Reply(503, "5.5.1", "EHLO first"))
        if self._has_mail:
            raise CommandError(Reply(503, "5.5.1", "A transaction is already open"))
        command = read_mail(argument, self._offer)

        def begin(reply: Reply | None) -> None:
            self._has_mail = True
            self._parameters = command.words
            self._smtputf8 = command.parameters.smtputf8
            self._answer(reply, _MAIL_OK)

        # Rules look at the sender; if one refuses it, no transaction is open all the same.
        self.sender = command.address
        self._decide(RuleStage.MAIL, begin)

    def _rcpt(self, argument: bytes) -> None:
        if not self._has_mail:
            raise CommandError(_NO_MAIL)
        if len(self.recipients) >= self._sink.limits.recipients:
            raise CommandError(Reply(452, "4.5.3", "Too many recipients"))
        command = read_rcpt(argument, self._offer, smtputf8=self._smtputf8)
        address = command.address
        domain = address.rpartition("@")[2].lower()
        if domain not in self.domains:
            self._meet_domain(domain)

        def add(reply: Reply | None) -> None:
            self.recipients.append(address)
            self._recipient_parameters.append(command.words)
            self._answer(reply, _RCPT_OK)

        self._decide(RuleStage.RCPT, add, address)

    def _check_recipients(self) -> None:
        if not self._has_mail:
            raise CommandError(_NO_MAIL)
        if not self.recipients:
            raise CommandError(Reply(554, "5.5.1", "No valid recipients"))

    def _data(self, argument: bytes) -> None:
        if argument.strip():
            raise CommandError(Reply(501, "5.5.4", "DATA takes no argument"))
        if self._chunked:
            raise CommandError(Reply(503, "5.5.1", "BDAT has begun"))
        self._check_recipients()

        def begin(_: Reply | None) -> None:
            self.expect_content()
            self.send(_GO_AHEAD)

        self._decide(RuleStage.DATA, begin)

    def _bdat(self, argument: bytes) -> None:
        if "CHUNKING" not in self._offer.names:
            raise CommandError(Reply(502, "5.5.1", "CHUNKING was not offered"))
        size, self._last_chunk = read_chunk(argument)
        is_first, self._chunked = not self._chunked, True
        try:
            self._check_recipients()
        except CommandError as error:
            self._content_refused = error.reply

        def begin(_: Reply | None) -> None:
            self.expect_chunk(size)

        if is_first and self._content_refused is None:
            self._decide(RuleStage.DATA, begin)
        else:
            begin(None)

    def _rset(self, _: bytes) -> None:
        self._let_content_go()
        self._clear_transaction()
        self.send(_OK)

    def _noop(self, _: bytes) -> None:
        self.send(_OK)

    def _vrfy(self, _: bytes) -> None:
        self._write(Reply(252, "2.1.5", "Every address is taken"))

    def _help(self, _: bytes) -> None:
        self._write(Reply(214, "2.0.0", "This is a mail sink: it delivers nothing"))

    def _quit(self, _: bytes) -> None:
        self._write(Reply(221, "2.0.0", "Bye"))
        self.finish()

    # Content

    @override
    def content_received(self, piece: bytes) -> None:
        self._size += len(piece)
        sink = self._sink
        if sink.discard or self._content_refused is not None:
            return
        if self._size > self._offer.size + _DOT:
            self._content_refused = _TOO_LARGE
        elif sink.incoming_bytes + len(piece) > sink.limits.incoming_bytes:
            self._content_refused = _NO_ROOM
        else:
            sink.incoming_bytes += len(piece)
            self._content.append(piece)
            return
        self._let_content_go()

    @override
    def content_ended(self) -> None:
        if self._chunked and not self._last_chunk:
            self._answer(self._content_refused, _OK)
            return
        raw = b"".join(self._content)
        if not self._chunked:
            self._size -= _DOT
            raw = unstuff(raw[:-_DOT])
        self._let_content_go()
        if self._size > self._offer.size:
            self._content_refused = _TOO_LARGE
        if self._content_refused is not None:
            self._refuse(RuleStage.MESSAGE, self._content_refused)
            return
        self._decide(RuleStage.MESSAGE, partial(self._accept_message, raw))

    def _accept_message(self, raw: bytes, reply: Reply | None) -> None:
        self._transactions += 1
        number = self._sink.take(
            envelope=self.sender,
            parameters=self._parameters,
            recipients=self.recipients,
            recipient_parameters=self._recipient_parameters,
            origin=None if self._sink.discard else self._origin or self._describe_origin(),
            transaction=self._transactions,
            raw=raw,
            size=self._size,
        )
        self._clear_transaction()
        self._answer(
            reply, _COUNTED if self._sink.discard else b"250 2.0.0 Ok, kept as %d\r\n" % number
        )

    def _describe_origin(self) -> ConnectionOrigin:
        protocol = self._protocol
        if protocol == "ESMTP":  # RFC 3848: what it is called with TLS and with AUTH
            protocol += "S" * self.under_tls + "A" * self.authenticated
        self._origin = ConnectionOrigin(
            client=self.client,
            client_port=self._client_port,
            server=self.server,
            connection=self._number,
            helo=self._helo,
            protocol=protocol,
            tls=self._tls,
            login=self._login,
        )
        return self._origin

    _COMMANDS: ClassVar[Mapping[bytes, Callable[["SinkSession", bytes], None]]] = {
        b"EHLO": _ehlo,
        b"HELO": _helo_,
        b"STARTTLS": _starttls,
        b"AUTH": _auth,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"BDAT": _bdat,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"VRFY": _vrfy,
        b"HELP": _help,
        b"QUIT": _quit,
    }
