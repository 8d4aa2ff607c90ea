"""A receiving server that is quick, or slow in one of several ways, and notes how long mail took.

It understands just what the sender says. `X-Sent` in the header tells when a message was handed in
(the monotonic clock of this machine).
"""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, cast

_EHLO = b"250-bench.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
_TARPIT_SECONDS = 20.0
_MOST = 64 * 1024 * 1024  # octets of a message


class Manner(StrEnum):
    """How a receiver behaves."""

    QUICK = "quick"
    TARPIT = "tarpit"  # takes everything, and answers the final dot after 20 seconds
    LIMITED = "limited"  # one message per second, 450 4.7.1 to the others
    DEAD = "dead"  # its connections are never accepted
    CLOSED = "closed"  # quick, but an operator has paused its lane


class Receiver:
    """Counts what it took by domain; `waits` are the seconds that messages took to get here."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.port = 0
        self.taken: Counter[str] = Counter()
        self.total = 0
        self.refused = 0
        self.connections = 0
        self.waits: list[float] = []
        self.messages: Counter[str] = Counter()  # by their subject, if `keeps`
        self.keeps = False
        self.next_at = 0.0

    def note(self, recipient: str, head: bytes, now: float) -> None:
        """Note that a message was taken."""
        self.taken[recipient.rpartition("@")[2]] += 1
        self.total += 1
        if self.keeps:
            self.messages[_field(head, b"Subject: ")] += 1
        self.waits.append(now - float(_field(head, b"X-Sent: ")))


def _field(head: bytes, name: bytes) -> str:
    return head.partition(name)[2].partition(b"\r\n")[0].decode("ascii")


class _Client(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._in_data = False
        self._recipient = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._receiver.connections += 1
        self._transport.write(b"220 bench.test\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        replies: list[bytes] = []
        while True:
            if self._in_data:
                end = self._buffer.find(b"\r\n.\r\n")
                if end < 0:
                    if len(self._buffer) > _MOST:
                        self._transport.abort()
                    break
                head = bytes(self._buffer[: min(end, 2000)])
                del self._buffer[: end + 5]
                self._in_data = False
                self._take(head, replies)
            else:
                line, found, _ = self._buffer.partition(b"\r\n")
                if not found:
                    break
                del self._buffer[: len(line) + 2]
                self._answer(bytes(line), replies)
        if replies:
            self._transport.write(b"".join(replies))

    def _take(self, head: bytes, replies: list[bytes]) -> None:
        receiver, now = self._receiver, self._loop.time()
        if receiver.manner is Manner.TARPIT:
            self._loop.call_later(_TARPIT_SECONDS, self._transport.write, b"250 2.0.0 ok\r\n")
            return
        receiver.note(self._recipient, head, now)
        replies.append(b"250 2.0.0 ok\r\n")

    def _answer(self, line: bytes, replies: list[bytes]) -> None:
        match line[:4].upper():
            case b"EHLO":
                replies.append(_EHLO)
            case b"RCPT":
                self._recipient = line.partition(b"<")[2].partition(b">")[0].decode("ascii")
                replies.append(b"250 2.1.5 ok\r\n")
            case b"MAIL" if self._receiver.manner is Manner.LIMITED and self._is_early():
                self._receiver.refused += 1
                replies.append(b"450 4.7.1 too many messages, slow down\r\n")
                self._recipient = ""
            case b"DATA":
                if self._recipient:
                    self._in_data = True
                    replies.append(b"354 go\r\n")
                else:
                    replies.append(b"503 5.5.1 no recipients\r\n")
            case b"QUIT":
                self._transport.write(b"".join(replies))
                replies.clear()
                self._transport.close()
            case _:
                replies.append(b"250 2.0.0 ok\r\n")

    def _is_early(self) -> bool:
        receiver, now = self._receiver, self._loop.time()
        if now < receiver.next_at:
            return True
        receiver.next_at = now + 1.0
        return False


@asynccontextmanager
async def receiving(manner: Manner) -> AsyncIterator[Receiver]:
    """Run a receiver on a free port of 127.0.0.1."""
    receiver = Receiver(manner)
    if manner is Manner.DEAD:
        async with _silence() as port:
            receiver.port = port
            yield receiver
        return
    async with receiving_with(receiver):
        yield receiver


@asynccontextmanager
async def receiving_with(receiver: Receiver) -> AsyncIterator[None]:
    """Let a receiver take mail on a free port of 127.0.0.1."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(receiver), "127.0.0.1", 0, backlog=2048)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()


@asynccontextmanager
async def _silence() -> AsyncIterator[int]:
    """Yield a port where the kernel answers no client: its queue of connections is full."""
    listening = socket.socket()
    callers: list[Any] = []
    try:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            caller = socket.socket()
            caller.settimeout(0)
            caller.connect_ex(listening.getsockname())
            callers.append(caller)
        yield listening.getsockname()[1]
    finally:
        for one in [*callers, listening]:
            one.close()
