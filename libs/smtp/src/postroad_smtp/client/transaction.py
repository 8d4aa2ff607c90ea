"""One message through an open session: MAIL, RCPT for each recipient, DATA, and the octets.

Where the server offers PIPELINING the commands go out in one write (RFC 2920); where not, one by
one, by the same code. Each recipient has an answer of its own. Losing the connection behind the
final dot leaves the outcome unknown: the message is tried again and may arrive twice, which is
better than not at all.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from postroad_common.mail.reply import Reply
from postroad_smtp.client.commands import Envelope, is_sendable, mail_line, rcpt_line, refusal
from postroad_smtp.client.connection import ConnectionFault, Garbled, Late, OutOfStep
from postroad_smtp.client.conversation import Conversation
from postroad_smtp.client.dotstuff import Stuffer, stuff
from postroad_smtp.client.session import CLOSING, ClientSession, fault_of
from postroad_smtp.client.stage import Fault, Stage

_SMALL = 262144  # octets that are written at once, without waiting for the other side to read
_DATA = b"DATA\r\n"
_BAD_ADDRESS = Reply(553, "5.1.3", "the recipient address is not valid")


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """What came of one recipient: the `reply` that decided it, or the `fault` instead of one.

    `local`: the reply is our own, not the server's.
    """

    stage: Stage
    reply: Reply | None = None
    fault: Fault | None = None
    detail: str = ""
    local: bool = False

    @property
    def is_delivered(self) -> bool:
        """The server took responsibility."""
        return self.stage is Stage.DOT and self.reply is not None and self.reply.code // 100 == 2


Body = Sequence[bytes | memoryview]


async def transact(session: ClientSession, envelope: Envelope, body: Body) -> list[RecipientResult]:
    """Send the message in the pieces of `body`; one answer for each recipient, in order.

    Never raises for what the server or the network does. Afterwards `session.usable` says whether
    the session can carry another message.
    """
    refused = refusal(envelope, session)
    if refused is not None:
        everybody = list(range(len(envelope.recipients)))
        session.conversation = Conversation(everybody, end=str(refused))
        return [RecipientResult(Stage.MAIL, refused, local=True)] * len(envelope.recipients)
    transaction = _Transaction(session, envelope, body)
    try:
        await transaction.run()
    except ConnectionFault as error:
        transaction.lose(error)
    except BaseException:
        # cancelled: what the server makes of the rest is unknown
        session.closing = True
        session.connection.abort()
        raise
    session.messages += 1
    return [answer for answer in transaction.answers if answer is not None]


def _is_go_ahead(reply: Reply) -> bool:
    """Whether the server waits for the message: 354, or another 3yz."""
    return reply.code // 100 == 3


def _is_misplaced(line: bytes, reply: Reply) -> bool:
    """Whether `reply` cannot be that to `line`: only DATA is answered 3yz, and never 2yz."""
    return reply.code // 100 == (2 if line == _DATA else 3)


class _Transaction:
    """The state of one message on its way."""

    def __init__(self, session: ClientSession, envelope: Envelope, body: Body) -> None:
        self._session = session
        self._connection = session.connection
        self._envelope = envelope
        self._body = body
        self._stage = Stage.MAIL
        self._ends = asyncio.get_running_loop().time() + session.timeouts.transaction
        self.answers: list[RecipientResult | None] = [
            None
            if is_sendable(recipient.address)
            else RecipientResult(Stage.RCPT, _BAD_ADDRESS, local=True)
            for recipient in envelope.recipients
        ]
        self._said = session.conversation = Conversation([])

    async def run(self) -> None:
        """Hold the whole conversation. Raises ConnectionFault; the answers so far are kept."""
        pending = [number for number, answer in enumerate(self.answers) if answer is None]
        if not pending:
            return
        self._said.offered = pending
        send = self._send_grouped if self._session.pipelining else self._send_singly
        ready = await send(pending)
        if ready:
            await self._send_body()

    def lose(self, error: ConnectionFault) -> None:
        """Give every recipient without an answer the fault that ended the connection."""
        self._session.closing = True
        # who loses commands that come together with others answers some of them and then no more
        if isinstance(error, OutOfStep) or (isinstance(error, Late) and error.replies):
            self._session.out_of_step = self._session.pipelining
        if isinstance(error, OutOfStep):
            self._said.end = str(error)
            self._answer_rest(RecipientResult(self._stage, fault=Fault.GARBLED, detail=str(error)))
            return
        unasked = self._connection.unasked
        said = [*error.replies, unasked]
        self._said.replies += error.replies
        if unasked is not None and unasked not in error.replies:
            self._said.replies.append(unasked)
        self._said.end = str(error)
        last = next((reply for reply in reversed(said) if reply and not reply.is_positive), None)
        if last is not None and (last is self._connection.unasked or last.code == CLOSING):
            self._answer_rest(RecipientResult(self._stage, last))
        else:
            self._answer_rest(
                RecipientResult(self._stage, fault=fault_of(error), detail=str(error))
            )

    # -- commands

    async def _send_grouped(self, pending: list[int]) -> bool:
        """MAIL, all RCPT and DATA in one write. True when the server waits for the message."""
        session, envelope = self._session, self._envelope
        offered = session.capabilities
        lines = [b"RSET\r\n"] if session.needs_reset else []
        lines.append(mail_line(envelope, offered))
        lines += [rcpt_line(envelope.recipients[number], offered) for number in pending]
        lines.append(_DATA)
        reset = session.needs_reset
        try:
            replies = await self._exchange(*lines)
        except ConnectionFault as error:
            self._keep_partial(pending, error.replies[1:] if reset else error.replies)
            raise
        if reset:
            session.needs_reset = False
            if not replies[0].is_positive:
                self._leave_unforgotten(replies[0])
                return False
            replies = replies[1:]
        mail, data = replies[0], replies[-1]
        if mail.is_positive:
            self._take_recipients(pending, replies[1:-1])
        else:
            self._answer_rest(RecipientResult(Stage.MAIL, mail))
        if not _is_go_ahead(data):
            self._answer_rest(RecipientResult(Stage.DATA, data))
            session.needs_reset = True
            return False
        if any(answer is None for answer in self.answers):
            return True
        # nobody is left, yet the server waits for a message: give it an empty one
        await self._exchange(b".\r\n")
        session.needs_reset = True
        return False

    async def _send_singly(self, pending: list[int]) -> bool:
        """Do the same, each command after the reply to the one before."""
        session, envelope = self._session, self._envelope
        offered = session.capabilities
        if session.needs_reset:
            session.needs_reset = False
            (reply,) = await self._exchange(b"RSET\r\n")
            if not reply.is_positive:
                self._leave_unforgotten(reply)
                return False
        (mail,) = await self._exchange(mail_line(envelope, offered))
        if not mail.is_positive:
            self._answer_rest(RecipientResult(Stage.MAIL, mail))
            return False
        session.needs_reset = True
        self._stage = Stage.RCPT
        for number in pending:
            line = rcpt_line(envelope.recipients[number], offered)
            self._take_recipients([number], await self._exchange(line))
            if session.closing:
                return False
        if all(answer is not None for answer in self.answers):
            return False
        self._stage = Stage.DATA
        (data,) = await self._exchange(_DATA)
        if not _is_go_ahead(data):
            self._answer_rest(RecipientResult(Stage.DATA, data))
            return False
        session.needs_reset = False
        return True

    def _leave_unforgotten(self, reply: Reply) -> None:
        """End the session: its server has answered RSET with `reply`.

        So it cannot forget the last message. That is not about this one, yet to be offered.
        """
        self._session.closing = True
        if reply.is_permanent:
            text = f"RSET was refused: {reply}"
            self._answer_rest(RecipientResult(Stage.MAIL, fault=Fault.DROPPED, detail=text))
        else:
            self._answer_rest(RecipientResult(Stage.MAIL, reply))

    async def _send_body(self) -> None:
        connection, timeouts = self._connection, self._session.timeouts
        body = self._body
        self._stage = Stage.DATA
        early = connection.unasked
        if early is not None:  # behind the 354
            if not _is_go_ahead(early):  # the server has changed its mind
                raise Garbled("a reply that nobody asked for", [early])
            connection.pardon()
        self._said.commands.append(b"(message, %d octets)\r\n" % self._envelope.size)
        if len(body) == 1 and len(body[0]) <= _SMALL:
            self._stage = Stage.DOT
            future = connection.expect(1, timeouts.dot, final=True)
            stuffer = Stuffer()
            connection.write(stuffer.feed(bytes(body[0])) + stuffer.finish())
        else:
            future = connection.expect(1, self._within(timeouts.block), final=True)
            for chunk in stuff(body):
                connection.write(chunk)
                await connection.drain()
                connection.allow(self._within(timeouts.block))
                if future.done():
                    self._session.closing = True  # answered in the middle of the message
                    break
            self._stage = Stage.DOT
            connection.allow(timeouts.dot)
        (reply,) = await future
        self._said.replies.append(reply)
        if reply.code == CLOSING:
            self._session.closing = True
        self._answer_rest(RecipientResult(Stage.DOT, reply))

    # -- replies

    async def _exchange(self, *lines: bytes) -> list[Reply]:
        """Send command `lines` and return the replies to them.

        Raises:
            OutOfStep: there is one too many or one is missing, so that they may be about other
                recipients than it seems.
            ConnectionFault: the connection is gone.
        """
        self._said.commands += lines
        replies = await self._connection.exchange(
            b"".join(lines), len(lines), self._within(self._session.timeouts.command)
        )
        self._said.replies += replies
        for reply in replies:
            if reply.code == CLOSING:
                self._session.closing = True
        early = self._connection.unasked
        if any(map(_is_misplaced, lines, replies)) or (
            early is not None and early.code != CLOSING and not _is_go_ahead(replies[-1])
        ):
            raise OutOfStep("the replies do not belong to the commands")
        return replies

    def _within(self, seconds: float) -> float:
        """Return `seconds`, or what is left of the time for the transaction if that is less."""
        return max(0.0, min(seconds, self._ends - asyncio.get_running_loop().time()))

    def _keep_partial(self, pending: list[int], replies: Sequence[Reply]) -> None:
        """Return what was answered before the connection went, in the order of the commands."""
        if not replies or not replies[0].is_positive:
            return
        self._stage = Stage.RCPT
        answered = replies[1 : len(pending) + 1]
        known = list(takewhile(lambda reply: reply.code != CLOSING, answered))
        self._take_recipients(pending[: len(known)], known)

    def _take_recipients(self, pending: list[int], replies: Sequence[Reply]) -> None:
        for number, reply in zip(pending, replies, strict=True):
            if not reply.is_positive:
                self.answers[number] = RecipientResult(Stage.RCPT, reply)

    def _answer_rest(self, answer: RecipientResult) -> None:
        for number, known in enumerate(self.answers):
            if known is None:
                self.answers[number] = answer
