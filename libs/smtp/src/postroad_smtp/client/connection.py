"""Octets to replies: one connection, without any knowledge of what the commands mean.

A caller announces how many replies it expects, writes, and awaits them together. The replies come
in the order of the commands (RFC 2920), so a FIFO of expectations is all that pipelining needs.
Everything that arrives is hostile: octets (`replies`) and time are bounded, and a reply that nobody
asked for makes the connection unusable.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any

from postroad_common.mail.reply import Reply
from postroad_smtp.client.replies import ReplyFloodError, ReplyReader


class ConnectionFault(Exception):  # noqa: N818 - what happened, not whose error it is
    """The connection cannot be used any more.

    `replies`: those of the expected ones that came before.
    """

    def __init__(self, detail: str, replies: Sequence[Reply] = ()) -> None:
        super().__init__(detail)
        self.replies = replies


class Lost(ConnectionFault):
    """The other side closed or reset it."""


class Late(ConnectionFault):
    """A reply did not come in time, or the other side stopped reading."""


class Garbled(ConnectionFault):
    """What came is not a reply, without an end, or not asked for."""


class OutOfStep(Garbled):
    """The replies are not those to the commands, so none of them can be trusted."""


MOST_UNASKED = 20  # replies until a server that talks on and on is left


def _end(future: "asyncio.Future[Any]", fault: ConnectionFault) -> None:
    """Fail `future`; one that nobody awaits any more is no error."""
    future.set_exception(fault)
    future.exception()


class _Group:
    """Replies that one caller waits for together; of a `final` one 3yz is not the answer."""

    __slots__ = ("count", "deadline", "final", "future", "replies")

    def __init__(
        self,
        count: int,
        deadline: float,
        future: "asyncio.Future[list[Reply]]",
        *,
        final: bool = False,
    ) -> None:
        self.final = final
        self.count = count
        self.deadline = deadline
        self.future = future
        self.replies: list[Reply] = []


class Connection(asyncio.Protocol):
    """One connection. The greeting is expected from the start: `await connection.greeting`."""

    def __init__(self, greeting_timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._groups: deque[_Group] = deque()
        self._reader = ReplyReader()
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._lost: ConnectionFault | None = None
        self._excess = 0
        self.unasked: Reply | None = None
        self.greeting = self.expect(1, greeting_timeout)

    # -- for the caller

    @property
    def usable(self) -> bool:
        """Open, with nothing outstanding and nothing unexpected received."""
        return (
            self._lost is None
            and not self._groups
            and self._reader.is_between
            and self.unasked is None
        )

    @property
    def is_odd(self) -> bool:
        """Whether the server has said something in a way that is not SMTP's."""
        return self._reader.odd

    def expect(
        self, count: int, timeout: float, *, final: bool = False
    ) -> "asyncio.Future[list[Reply]]":
        """Return a future of the next `count` replies, all within `timeout` seconds from now.

        Fails with ConnectionFault. Call it before writing what the replies answer. `final`: not
        3yz, which some servers say twice.
        """
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self._lost is not None:
            _end(future, self._lost)
            return future
        deadline = self._loop.time() + timeout
        self._groups.append(_Group(count, deadline, future, final=final))
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()  # of an earlier reply that could take longer
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_later(timeout, self._check_time)
        return future

    def allow(self, timeout: float) -> None:
        """Give the last expected replies `timeout` seconds from now on."""
        if self._groups:
            self._groups[-1].deadline = self._loop.time() + timeout

    async def exchange(self, octets: bytes, count: int, seconds: float) -> list[Reply]:
        """Write `octets` (whole command lines) and return their `count` replies."""
        future = self.expect(count, seconds)
        self.write(octets)
        return await future

    def pardon(self) -> None:
        """Forget the reply that nobody asked for."""
        self.unasked = None
        self._reader.odd = True

    def write(self, octets: bytes) -> None:
        """Send; never waits. Does nothing on a connection that is gone: `expect` tells."""
        if self._lost is None and self._transport is not None:
            self._transport.write(octets)

    async def drain(self) -> None:
        """Wait until the other side has read enough, or has answered.

        Raises:
            ConnectionFault: it is gone.
        """
        if self._room is not None:
            await self._room
        if self._transport is None or self._transport.is_closing():
            await asyncio.sleep(0)  # lets connection_lost say what happened
            raise self._lost or Lost("connection closed")

    async def start_tls(
        self, context: ssl.SSLContext, server_hostname: str, seconds: float
    ) -> ssl.SSLObject:
        """Go on under TLS. Raises ConnectionFault, ssl.SSLError or OSError.

        Octets that came in clear behind the reply would be taken for the server's own once under
        TLS, so they end the connection.
        """
        if not self._reader.is_clear or self._groups or self.unasked is not None:
            self._fail(Garbled("octets in clear behind the reply to STARTTLS"))
        if self._lost is not None:
            raise self._lost
        transport = self._transport
        if transport is None:
            raise Lost("not connected")
        upgraded = await self._loop.start_tls(
            transport,
            self,
            context,
            server_hostname=server_hostname,
            ssl_handshake_timeout=seconds,
            ssl_shutdown_timeout=1.0,
        )
        if upgraded is None:
            raise Lost("closed during the TLS handshake")
        self._transport = upgraded
        found: ssl.SSLObject = upgraded.get_extra_info("ssl_object")
        return found

    def peer_address(self) -> str:
        """Return the IP address of the other side, or the empty string."""
        if self._transport is None:
            return ""
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    def close(self) -> None:
        """Close, sending what is written so far."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = transport  # type: ignore[assignment]  # a stream transport, always

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol: takes replies out of the octets."""
        try:
            for reply in self._reader.feed(data):
                self._take(reply)
        except ReplyFloodError:
            self._fail(Garbled("octets without end instead of a reply"))

    def eof_received(self) -> bool:
        """Part of asyncio.Protocol: closes this side, too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self._end_reply()
        self._fail(Lost(f"connection lost: {exc}" if exc else "connection closed by the server"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        """Part of asyncio.Protocol."""
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    # -- inside

    def _take(self, reply: Reply) -> None:
        if self._lost is not None:
            return
        if not self._groups:
            self.unasked = reply
            self._count_excess()
            return
        group = self._groups[0]
        if group.final and reply.code // 100 == 3:
            self._reader.odd = True
            self._count_excess()
            return
        group.replies.append(reply)
        if len(group.replies) == group.count:
            self._groups.popleft()
            if not group.future.done():
                group.future.set_result(group.replies)
            self.resume_writing()  # whoever waits to write more may not need to

    def _count_excess(self) -> None:
        self._excess += 1
        if self._excess > MOST_UNASKED:
            self._fail(Garbled("replies without end that nobody asked for"))

    def _end_reply(self) -> None:
        """Take what came of a reply for all of it: nothing more will come."""
        reply = self._reader.finish()
        if reply is not None:
            self._take(reply)
        elif self._groups and self._reader.rubbish:
            self._fail(Garbled(f"no reply, but {self._reader.rubbish!r}"))

    def _check_time(self) -> None:
        """One timer for all replies: it looks at the deadline only when it fires."""
        self._timer = None
        if not self._groups:
            return
        left = min(group.deadline for group in self._groups) - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_time)
        else:
            self._end_reply()
            self._fail(Late("no reply in time"))

    def _fail(self, fault: ConnectionFault) -> None:
        if self._lost is not None:
            return
        self._lost = fault
        groups, self._groups = self._groups, deque()
        for group in groups:
            if not group.future.done():
                _end(group.future, type(fault)(str(fault), group.replies))
        room, self._room = self._room, None
        if room is not None and not room.done():
            _end(room, fault)
        self.abort()
