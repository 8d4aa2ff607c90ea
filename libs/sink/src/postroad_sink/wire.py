"""The bytes of one connection: lines, content up to the final dot, chunks, TLS, slow lines.

It works on the buffers as they arrive: the replies to all pipelined commands of one leave in one
write, and content ends where CRLF.CRLF is found. What the lines mean is in `session`.
"""

import asyncio
import ssl
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from typing_extensions import override

from postroad_smtp.server.data import EndOfData

MAX_LINE = 4096  # octets; RFC 5321 asks for 512, extensions add to it
_MOST_AHEAD = 64 * 1024  # bytes taken in while an answer is delayed
_HANDSHAKE_SECONDS = 30.0

# What the next bytes are.
_LINES: Final = 0
_CONTENT: Final = 1
_CHUNK: Final = 2
_HELD: Final = 3  # an answer is delayed on purpose; the bytes wait
_TLS: Final = 4  # the handshake runs; the bytes wait
_CLOSED: Final = 5


class Wire(asyncio.Protocol):
    """One connection; the subclass says what it means.

    `heard` is the loop time at which something came last, `latency` delays everything sent, in
    seconds, without delaying what is done.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.heard = loop.time()
        self.latency = 0.0
        self.muted = False
        self._transport: asyncio.Transport | None = None
        self._mode = _LINES
        self._part = b""
        self._end_of_data = EndOfData()
        self._chunk_left = 0
        self._ahead: list[bytes] = []
        self._ahead_size = 0
        self._writing_paused = False
        self._out: list[bytes] = []
        self._late: deque[Callable[[], None]] = deque()
        self._hold: asyncio.TimerHandle | None = None
        self._handshake: asyncio.Task[None] | None = None

    # What the subclass makes of it

    @abstractmethod
    def opened(self, transport: asyncio.Transport) -> None:
        """Take note that the client has connected."""

    @abstractmethod
    def line_received(self, line: bytes, *, sent_ahead: bool) -> None:
        """Take a line without CRLF; `sent_ahead` if more came with it."""

    @abstractmethod
    def line_too_long(self) -> None:
        """Give up: more than MAX_LINE octets without an end, nothing sensible can follow."""

    @abstractmethod
    def content_received(self, piece: bytes) -> None:
        """Take a piece of what `expect_content` or `expect_chunk` asked for.

        The pieces of content, joined, still are dot-stuffed and end in the dot and CRLF.
        """

    @abstractmethod
    def content_ended(self) -> None:
        """Answer: the final dot, or the last octet of the chunk, has been received."""

    @abstractmethod
    def closed(self) -> None:
        """Clean up: the connection is gone."""

    # What the subclass can do

    def send(self, data: bytes) -> None:
        """Send with everything else that is answered in this turn."""
        if not self.muted:
            self._out.append(data)

    def expect_content(self) -> None:
        """Take the next bytes as content, up to the line that is a single dot."""
        self._mode = _CONTENT
        self._end_of_data = EndOfData()

    def expect_chunk(self, size: int) -> None:
        """Take the next `size` octets as content."""
        self._chunk_left = size
        self._mode = _CHUNK
        if not size:
            self._mode = _LINES
            self.content_ended()

    @property
    def in_content(self) -> bool:
        """Return whether content is still to come."""
        return self._mode in {_CONTENT, _CHUNK}

    @property
    def silent(self) -> bool:
        """Return whether it is the client's turn to say something."""
        return self._mode in {_LINES, _CONTENT, _CHUNK}

    def hold(self, seconds: float, then: Callable[[], None]) -> None:
        """Read on but do nothing for so long, then go on with `then`."""
        self._mode = _HELD
        self._hold = self.loop.call_later(seconds, self._release, then)

    def finish(self) -> None:
        """Close the connection behind what was sent."""
        self.flush()
        self._mode = _CLOSED
        if self._transport is not None:
            self._when_due(self._transport.close)

    def start_tls(
        self, context: ssl.SSLContext, then: Callable[[ssl.SSLObject | None], None]
    ) -> None:
        """Do the handshake behind what was sent; `then` gets None if it fails.

        What the client sent in the clear behind its command is thrown away (CVE-2011-0411).
        """
        self._mode = _TLS
        if self._transport is not None:
            # The client's first handshake record must not arrive here.
            self._transport.pause_reading()
        self.flush()
        self._when_due(partial(self._begin_handshake, context, then))

    def flush(self) -> None:
        """Hand over to the connection what was sent in this turn."""
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._when_due(partial(self._hand_over, data)) if self.latency else self._hand_over(
                data
            )

    # asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.opened(self._transport)
        self.flush()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._hold is not None:
            self._hold.cancel()
        self.closed()
        self._mode = _CLOSED
        self._ahead.clear()

    @override
    def pause_writing(self) -> None:
        # A client that does not read its replies is not heard either.
        self._writing_paused = True
        self._regulate()

    @override
    def resume_writing(self) -> None:
        self._writing_paused = False
        self._regulate()

    @override
    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        if self._mode in {_HELD, _TLS}:
            self._put_aside(data)
            return
        if self._part:
            data = self._part + data
            self._part = b""
        self._feed(data)
        self.flush()

    def _feed(self, data: bytes) -> None:
        position = 0
        size = len(data)
        while position < size:
            mode = self._mode
            if mode == _LINES:
                end = data.find(b"\r\n", position, position + MAX_LINE)
                if end < 0:
                    self._part = data[position:]
                    if len(self._part) >= MAX_LINE:
                        self._part = b""
                        self.line_too_long()
                    return
                line = data[position:end]
                position = end + 2
                self.line_received(line, sent_ahead=position < size)
            elif mode == _CONTENT:
                position = self._feed_content(data, position)
            elif mode == _CHUNK:
                position = self._feed_chunk(data, position)
            elif mode == _HELD:
                self._put_aside(data[position:])
                return
            else:
                return

    def _feed_content(self, data: bytes, position: int) -> int:
        """Return where the content ends in `data`."""
        end = self._end_of_data.find(data, position)
        if end < 0:
            self.content_received(data[position:])
            return len(data)
        self.content_received(data[position:end])
        self._mode = _LINES
        self.content_ended()
        return end

    def _feed_chunk(self, data: bytes, position: int) -> int:
        end = min(len(data), position + self._chunk_left)
        self._chunk_left -= end - position
        self.content_received(data[position:end])
        if not self._chunk_left:
            self._mode = _LINES
            self.content_ended()
        return end

    def _put_aside(self, data: bytes) -> None:
        self._ahead.append(data)
        self._ahead_size += len(data)
        if self._ahead_size > _MOST_AHEAD:
            self._regulate()

    def _release(self, then: Callable[[], None]) -> None:
        self._hold = None
        if self._mode != _HELD:
            return
        self._mode = _LINES
        then()
        self._go_on()

    def _go_on(self) -> None:
        """Look at what came while nothing was done."""
        waiting = b"".join(self._ahead)
        self._ahead.clear()
        self._ahead_size = 0
        self._regulate()
        self._feed(waiting)
        self.flush()

    def _regulate(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or self._mode == _TLS:
            return
        if self._writing_paused or self._ahead_size > _MOST_AHEAD:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _begin_handshake(
        self, context: ssl.SSLContext, then: Callable[[ssl.SSLObject | None], None]
    ) -> None:
        self._handshake = self.loop.create_task(self._shake_hands(context, then))

    async def _shake_hands(
        self, context: ssl.SSLContext, then: Callable[[ssl.SSLObject | None], None]
    ) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            secured = await self.loop.start_tls(
                transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            )
        except OSError:  # ssl.SSLError, time-outs and lost connections are OSErrors
            secured = None
        if self._mode != _TLS:
            return
        if secured is None:
            self._mode = _CLOSED
            then(None)
            transport.abort()
            return
        self._transport = secured
        self._mode = _LINES
        then(secured.get_extra_info("ssl_object"))
        self._go_on()

    def _hand_over(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _when_due(self, action: Callable[[], None]) -> None:
        """Do it one latency from now, behind everything that already waits for that."""
        if not self.latency:
            action()
            return
        self._late.append(action)
        self.loop.call_later(self.latency, self._do_next)

    def _do_next(self) -> None:
        self._late.popleft()()
