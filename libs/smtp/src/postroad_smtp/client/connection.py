"""Octets to replies: one connection, without any knowledge of what the commands mean.

A caller announces how many replies it expects, writes, and awaits them together. The replies come
in the order of the commands (RFC 2920), so a FIFO of expectations is all that pipelining needs.
Everything that arrives is hostile: lines, replies and time are bounded, and a reply that nobody
asked for makes the connection unusable.
"""

import asyncio
import functools
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any

from postroad_common.mail.reply import Reply

MAX_LINE = 2048  # octets; RFC 5321 section 4.5.3.1.5 allows 512
MAX_REPLY = 32768  # octets of all lines of one reply


class ConnectionTrouble(Exception):  # noqa: N818 - what happened, not whose error it is
    """The connection cannot be used any more.

    `replies`: those of the expected ones that came before.
    """

    def __init__(self, detail: str, replies: Sequence[Reply] = ()) -> None:
        super().__init__(detail)
        self.replies = replies


class Lost(ConnectionTrouble):
    """The other side closed or reset it."""


class Late(ConnectionTrouble):
    """A reply did not come in time, or the other side stopped reading."""


class Garbled(ConnectionTrouble):
    """What came is not a reply, too long, or not asked for."""


@functools.lru_cache(maxsize=1024)
def _parse_line(line: bytes) -> Reply:
    """One-line replies repeat themselves all day long: parsed once."""
    return _parse((line,))


def _parse(lines: Sequence[bytes]) -> Reply:
    texts = []
    for line in lines:
        text = line.decode("utf-8", "replace")
        if not text.isprintable():
            text = "".join(c if c.isprintable() else " " for c in text)
        texts.append(text.rstrip())
    try:
        return Reply.parse_lines(texts)
    except ValueError as error:
        raise Garbled(f"{error}: {texts[0][:80]!r}") from None


def _end(future: "asyncio.Future[Any]", trouble: ConnectionTrouble) -> None:
    """Fail `future`; one that nobody awaits any more is no error."""
    future.set_exception(trouble)
    future.exception()


class _Group:
    """Replies that one caller waits for together."""

    __slots__ = ("count", "deadline", "future", "replies")

    def __init__(self, count: int, deadline: float, future: "asyncio.Future[list[Reply]]") -> None:
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
        self._buffer = b""
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._lost: ConnectionTrouble | None = None
        self.unasked: Reply | None = None
        self.greeting = self.expect(1, greeting_timeout)

    # -- for the caller

    @property
    def usable(self) -> bool:
        """Open, with nothing outstanding and nothing unexpected received."""
        return self._lost is None and not self._groups and not self._buffer and self.unasked is None

    def expect(self, count: int, timeout: float) -> "asyncio.Future[list[Reply]]":
        """Return a future of the next `count` replies, all within `timeout` seconds from now.

        Fails with ConnectionTrouble. Call it before writing what the replies answer.
        """
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self._lost is not None:
            _end(future, self._lost)
            return future
        self._groups.append(_Group(count, self._loop.time() + timeout, future))
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

    def write(self, octets: bytes) -> None:
        """Send; never waits. Does nothing on a connection that is gone: `expect` tells."""
        if self._lost is None and self._transport is not None:
            self._transport.write(octets)

    async def drain(self) -> None:
        """Wait until the other side has read enough, or has answered.

        Raises:
            ConnectionTrouble: it is gone.
        """
        if self._room is not None:
            await self._room
        if self._transport is None or self._transport.is_closing():
            await asyncio.sleep(0)  # lets connection_lost say what happened
            raise self._lost or Lost("connection closed")

    async def start_tls(
        self, context: ssl.SSLContext, server_hostname: str, seconds: float
    ) -> ssl.SSLObject:
        """Go on under TLS. Raises ConnectionTrouble, ssl.SSLError or OSError.

        Octets that came in clear behind the reply would be taken for the server's own once under
        TLS, so they end the connection.
        """
        if self._buffer or self._lines or self._groups or self.unasked is not None:
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
        if self._buffer:
            data = self._buffer + data
        whole, newline, rest = data.rpartition(b"\n")
        self._buffer = bytes(rest)
        if len(rest) > MAX_LINE:
            self._fail(Garbled("a reply line is too long"))
        if not newline:
            return
        try:
            for line in whole.split(b"\n"):
                self._take(line)
        except Garbled as error:
            self._fail(error)

    def eof_received(self) -> bool:
        """Part of asyncio.Protocol: closes this side, too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
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

    def _take(self, line: bytes) -> None:
        if self._lost is not None:
            return
        line = line.removesuffix(b"\r")
        self._size += len(line)
        if len(line) > MAX_LINE or self._size > MAX_REPLY:
            raise Garbled("a reply is too long")
        if line[3:4] == b"-":
            self._lines.append(line)
            return
        if self._lines:
            reply = _parse((*self._lines, line))
            self._lines.clear()
        else:
            reply = _parse_line(line)
        self._size = 0
        if not self._groups:
            self.unasked = reply
            return
        group = self._groups[0]
        group.replies.append(reply)
        if len(group.replies) == group.count:
            self._groups.popleft()
            if not group.future.done():
                group.future.set_result(group.replies)
            self.resume_writing()  # whoever waits to write more may not need to

    def _check_time(self) -> None:
        """One timer for all replies: it looks at the deadline only when it fires."""
        self._timer = None
        if not self._groups:
            return
        left = min(group.deadline for group in self._groups) - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_time)
        else:
            self._fail(Late("no reply in time"))

    def _fail(self, trouble: ConnectionTrouble) -> None:
        if self._lost is not None:
            return
        self._lost = trouble
        groups, self._groups = self._groups, deque()
        for group in groups:
            if not group.future.done():
                _end(group.future, type(trouble)(str(trouble), group.replies))
        room, self._room = self._room, None
        if room is not None and not room.done():
            _end(room, trouble)
        self.abort()
