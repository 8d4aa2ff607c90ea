"""One SMTP session of the sink: what each command does and what it answers.

Every stage asks `behaviour` first. The bytes are handled in `wire`, lines are parsed in `commands`,
and what becomes of a message is in `server`.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from postroad_common.mail.reply import Reply
from postroad_sink.behaviour import Verdict
from postroad_sink.certificate import requested_name
from postroad_sink.commands import (
    CommandError,
    read_base64,
    read_chunk,
    read_mail,
    read_rcpt,
)
from postroad_sink.counts import MOST_DOMAINS
from postroad_sink.extensions import ehlo_reply
from postroad_sink.mailbox import Origin, TlsFacts
from postroad_sink.rules import Drop, Scope, Stage
from postroad_sink.wire import Wire

if TYPE_CHECKING:
    from postroad_sink.server import Sink

_OK = b"250 2.0.0 Ok\r\n"
_MAIL_OK = b"250 2.1.0 Sender ok\r\n"
_RCPT_OK = b"250 2.1.5 Recipient ok\r\n"
_GO_AHEAD = b"354 End with <CR><LF>.<CR><LF>\r\n"
_COUNTED = b"250 2.0.0 Ok, counted and thrown away\r\n"
_NO_MAIL = Reply(503, "5.5.1", "MAIL first")
_TOO_LARGE = Reply(552, "5.3.4", "Message too large")
_NO_ROOM = Reply(452, "4.3.1", "Too much is coming in at once")
_BUSY = Reply(421, "4.3.2", "Too many connections for this sink")
_NOT_PIPELINED = Reply(503, "5.5.0", "Commands sent ahead, but PIPELINING was not offered")
_DOT = 3  # octets of the dot and CRLF that end the content
_CLOSING = 421  # RFC 5321 section 3.8: the connection ends with this reply

_Accept = Callable[[Reply | None], None]


class SinkSession(Wire):
    """What one client is doing."""

    def __init__(self, sink: "Sink", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._sink = sink
        self._offer = sink.offer
        self._admitted = False
        self._number = 0
        self._client_port = 0
        self._helo = ""
        self._protocol = "SMTP"
        self._tls: TlsFacts | None = None
        self._login: str | None = None
        self._auth_step: Callable[[bytes], None] | None = None
        self._origin: Origin | None = None
        self._transactions = 0
        self.client = ""
        self.server = ""
        self.domains: set[str] = set()
        self._clear_transaction()

    def _clear_transaction(self) -> None:
        self._has_mail = False
        self._smtputf8 = False
        self._parameters: dict[str, str] = {}
        self._recipient_parameters: list[dict[str, str]] = []
        self.sender = ""
        self.recipients: list[str] = []
        self._content: list[bytes] = []
        self._size = 0
        self._chunked = False
        self._last_chunk = False
        self._content_refused: Reply | None = None

    @property
    def under_tls(self) -> bool:
        """Whether the connection is protected."""
        return self._tls is not None

    @property
    def authenticated(self) -> bool:
        """Whether the client has logged in."""
        return self._login is not None

    # The connection

    @override
    def opened(self, transport: asyncio.Transport) -> None:
        sink = self._sink
        sink.counts.connections_total += 1
        self._number = sink.counts.connections_total
        # A client that is gone again has no name any more.
        self.client, self._client_port = (transport.get_extra_info("peername") or ("", 0))[:2]
        self.server = (transport.get_extra_info("sockname") or ("",))[0]
        sink.sessions.add(self)
        if len(sink.sessions) > sink.limits.connections:
            self._refuse(Stage.CONNECT, _BUSY)
            self.finish()
            return
        line = sink.behaviour.line(self, sink.offer, self.heard)
        self.latency, self._offer = line.latency, line.offer
        self._decide(Stage.CONNECT, self._greet)

    def _greet(self, reply: Reply | None) -> None:
        self._admitted = True
        counts, presence = self._sink.counts, self._sink.presence
        counts.connections_max = max(counts.connections_max, presence.enter(Scope.ALL, ""))
        presence.enter(Scope.CLIENT, self.client)
        presence.enter(Scope.SERVER, self.server)
        self._answer(reply, f"220 {self._sink.hostname} ESMTP Postroad mail sink\r\n".encode())

    def _meet_domain(self, domain: str) -> None:
        """Count this connection as one to that domain, from its first recipient on."""
        if len(self.domains) < MOST_DOMAINS:
            self.domains.add(domain)
            now = self._sink.presence.enter(Scope.DOMAIN, domain)
            count = self._sink.counts.domain(domain)
            count.connections_max = max(count.connections_max, now)

    @override
    def closed(self) -> None:
        sink = self._sink
        sink.sessions.discard(self)
        if self.in_content:
            sink.counts.interrupted += 1
        self._let_content_go()
        if not self._admitted:
            return
        sink.presence.leave(Scope.ALL, "")
        sink.presence.leave(Scope.CLIENT, self.client)
        sink.presence.leave(Scope.SERVER, self.server)
        for domain in self.domains:
            sink.presence.leave(Scope.DOMAIN, domain)

    def close_if_silent(self, since: float) -> None:
        """Close the connection if it is the client's turn and nothing came after `since`."""
        if self.heard < since and self.silent:
            self.shut_down(Reply(421, "4.4.2", "Nothing heard for too long"))

    def shut_down(self, reply: Reply) -> None:
        """Say why and close the connection."""
        self._write(reply)
        self.finish()

    # Replies and rules

    def _write(self, reply: Reply) -> None:
        self.send(reply.wire())

    def _answer(self, reply: Reply | None, usual: bytes) -> None:
        self.send(usual if reply is None else reply.wire())

    def _refuse(self, stage: Stage, reply: Reply, recipient: str = "") -> None:
        """Answer no, count it, and forget what can no longer be done."""
        counts = self._sink.counts
        counts.refused[stage] += 1
        concerned = self.recipients if stage in {Stage.DATA, Stage.MESSAGE} else [recipient]
        for address in filter(None, concerned):
            counts.domain(address.rpartition("@")[2].lower()).refused += 1
        if stage is Stage.MESSAGE:
            self._clear_transaction()
        self._write(reply)

    def _decide(self, stage: Stage, accept: _Accept, recipient: str = "") -> None:
        """Do what the rules say at this stage, by default `accept(None)`."""
        verdict = self._sink.behaviour.judge(stage, self, self.heard, recipient)
        if verdict is None:
            accept(None)
        elif verdict.delay:
            go_on = partial(self._carry_out, stage, verdict, accept, recipient)
            self.hold(verdict.delay, go_on)
        else:
            self._carry_out(stage, verdict, accept, recipient)

    def _carry_out(self, stage: Stage, verdict: Verdict, accept: _Accept, recipient: str) -> None:
        if verdict.drop is Drop.BEFORE:
            self.flush()
            self.muted = True
        reply = verdict.reply
        ends = verdict.drop is not None
        if reply is None or reply.is_positive:
            accept(reply)
        else:
            ends = ends or reply.code == _CLOSING or stage is Stage.CONNECT
            if stage is Stage.DATA and self._chunked:
                # The chunk comes all the same and must not be taken for commands (RFC 3030).
                self._content_refused = reply
                accept(None)
            else:
                self._refuse(stage, reply, recipient)
        if ends:
            self.finish()

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

        self._decide(Stage.EHLO, greet)

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

        self._decide(Stage.STARTTLS, begin)

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
                step, challenge = self._auth_plain, b"334 \r\n"
            case b"LOGIN":
                step, challenge = self._auth_login, b"334 VXNlcm5hbWU6\r\n"
            case _:
                raise CommandError(Reply(504, "5.5.4", "PLAIN or LOGIN"))
        if initial:
            step(initial.strip())
        else:
            self._auth_step = step
            self.send(challenge)

    def _auth_plain(self, answer: bytes) -> None:
        parts = read_base64(answer).split(b"\0")
        if len(parts) != 3:  # identity, name, password (RFC 4616)
            raise CommandError(Reply(501, "5.5.2", "PLAIN needs two NULs"))
        self._log_in(parts[1])

    def _auth_login(self, answer: bytes) -> None:
        name = read_base64(answer)

        def with_password(password: bytes) -> None:
            read_base64(password)
            self._log_in(name)

        self._auth_step = with_password
        self.send(b"334 UGFzc3dvcmQ6\r\n")

    def _log_in(self, name: bytes) -> None:
        def succeed(reply: Reply | None) -> None:
            self._login = name.decode("utf-8", "replace")
            self._origin = None
            self._answer(reply, b"235 2.7.0 Authenticated\r\n")

        self._decide(Stage.AUTH, succeed)

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
        self._decide(Stage.MAIL, begin)

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

        self._decide(Stage.RCPT, add, address)

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

        self._decide(Stage.DATA, begin)

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
            self._decide(Stage.DATA, begin)
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

    def _let_content_go(self) -> None:
        self._sink.incoming_bytes -= sum(map(len, self._content))
        self._content.clear()

    @override
    def content_ended(self) -> None:
        if self._chunked and not self._last_chunk:
            self._answer(self._content_refused, _OK)
            return
        raw = b"".join(self._content)
        if not self._chunked:
            self._size -= _DOT
            raw = raw[:-_DOT].removeprefix(b".").replace(b"\r\n.", b"\r\n")
        self._let_content_go()
        if self._size > self._offer.size:
            self._content_refused = _TOO_LARGE
        if self._content_refused is not None:
            self._refuse(Stage.MESSAGE, self._content_refused)
            return
        self._decide(Stage.MESSAGE, partial(self._accept_message, raw))

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

    def _describe_origin(self) -> Origin:
        protocol = self._protocol
        if protocol == "ESMTP":  # RFC 3848: what it is called with TLS and with AUTH
            protocol += "S" * self.under_tls + "A" * self.authenticated
        self._origin = Origin(
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
