"""One connection of the sink: who is there, the open transaction, and the rules for each stage.

Every stage asks `behaviour` first. What the commands do is in `session`, the bytes are handled in
`wire`, and what becomes of a message is in `server`.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from postroad_common.mail.reply import Reply
from postroad_sink.behaviour import BehaviourVerdict
from postroad_sink.counts import MOST_DOMAINS
from postroad_sink.mailbox import ConnectionOrigin, TlsFacts
from postroad_sink.rules import Drop, RuleStage, Scope
from postroad_sink.wire import Wire

if TYPE_CHECKING:
    from postroad_sink.server import Sink

_BUSY = Reply(421, "4.3.2", "Too many connections for this sink")
_CLOSING = 421  # RFC 5321 section 3.8: the connection ends with this reply

Accept = Callable[[Reply | None], None]


class SinkConnection(Wire):
    """What one client is doing, and what the rules make of it."""

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
        self._origin: ConnectionOrigin | None = None
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
            self._refuse(RuleStage.CONNECT, _BUSY)
            self.finish()
            return
        line = sink.behaviour.line(self, sink.offer, self.heard)
        self.latency, self._offer = line.latency, line.offer
        self._decide(RuleStage.CONNECT, self._greet)

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

    def _refuse(self, stage: RuleStage, reply: Reply, recipient: str = "") -> None:
        """Answer no, count it, and forget what can no longer be done."""
        counts = self._sink.counts
        counts.refused[stage] += 1
        concerned = self.recipients if stage in {RuleStage.DATA, RuleStage.MESSAGE} else [recipient]
        for address in filter(None, concerned):
            counts.domain(address.rpartition("@")[2].lower()).refused += 1
        if stage is RuleStage.MESSAGE:
            self._clear_transaction()
        self._write(reply)

    def _decide(self, stage: RuleStage, accept: Accept, recipient: str = "") -> None:
        """Do what the rules say at this stage, by default `accept(None)`."""
        verdict = self._sink.behaviour.judge(stage, self, self.heard, recipient)
        if verdict is None:
            accept(None)
        elif verdict.delay:
            go_on = partial(self._carry_out, stage, verdict, accept, recipient)
            self.hold(verdict.delay, go_on)
        else:
            self._carry_out(stage, verdict, accept, recipient)

    def _carry_out(
        self, stage: RuleStage, verdict: BehaviourVerdict, accept: Accept, recipient: str
    ) -> None:
        if verdict.drop is Drop.BEFORE:
            self.flush()
            self.muted = True
        reply = verdict.reply
        ends = verdict.drop is not None
        if reply is None or reply.is_positive:
            accept(reply)
        else:
            ends = ends or reply.code == _CLOSING or stage is RuleStage.CONNECT
            if stage is RuleStage.DATA and self._chunked:
                # The chunk comes all the same and must not be taken for commands (RFC 3030).
                self._content_refused = reply
                accept(None)
            else:
                self._refuse(stage, reply, recipient)
        if ends:
            self.finish()

    def _let_content_go(self) -> None:
        self._sink.incoming_bytes -= sum(map(len, self._content))
        self._content.clear()
