"""The octets of one connection: lines out of a buffer, or everything that has arrived.

Knows neither commands nor replies. The stock reader of aiosmtpd holds one line of 1,001 octets and
pauses the transport in between; this one takes what the socket gives.
"""

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

BUFFER = 32 * 1024
"""Octets; reading from the socket pauses when twice as many lie unread."""

LINE_LIMIT = 12_288
"""Octets of the longest line, that of an AUTH exchange (RFC 4954 section 4)."""


class LineTooLongError(Exception):
    """A line was longer than `LINE_LIMIT`. All of it has been read and dropped."""


class LineEndError(Exception):
    """A line with a bare LF, a bare CR or a NUL. It has been read and dropped."""


class ClientGoneError(Exception):
    """The client closed the connection, or its side of it, before what was asked for came."""


class SmtpStream(asyncio.StreamReader):
    """The unread octets of a connection, with back-pressure."""

    if TYPE_CHECKING:  # what asyncio.StreamReader has but typeshed does not tell
        _buffer: bytearray
        _eof: bool
        _paused: bool
        _transport: asyncio.Transport | None

        async def _wait_for_data(self, func_name: str) -> None: ...
        def _maybe_resume_transport(self) -> None: ...

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=BUFFER, loop=loop)
        self.received = 0
        """Octets that ever arrived; the watchdog reads it to tell slow from stalled."""

    @override
    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # what transports give
        """Take what the transport read."""
        self.received += len(data)
        super().feed_data(data)

    @property
    def has_line(self) -> bool:
        """Return whether `line` would return without waiting."""
        return b"\n" in self._buffer

    @property
    def at_end(self) -> bool:
        """Return whether nothing is left and nothing will come."""
        return self._eof and not self._buffer

    def drop(self) -> None:
        """Forget what is unread.

        What came before TLS must not be read as if it had come after it (RFC 3207 section 4.2,
        CVE-2011-0411). The caller has paused the transport, so nothing can follow.
        """
        self._buffer.clear()
        self._paused = False

    def move(self, transport: asyncio.Transport) -> None:
        """Read from `transport` from now on.

        What is unread stays: it came through the new transport, after the handshake.
        """
        if self._paused and self._transport is not None:
            self._transport.resume_reading()
            self._paused = False
        self._transport = transport

    async def _more(self) -> None:
        if self._eof:
            raise ClientGoneError
        error = self.exception()
        if error is not None:
            raise ClientGoneError from error
        try:
            await self._wait_for_data("read")
        except OSError as error:  # what the transport gave as the reason of its end
            raise ClientGoneError from error

    async def line(self) -> bytes:
        """Return the next line without its CRLF.

        Raises:
            LineTooLongError: longer than `LINE_LIMIT`.
            LineEndError: its end or its content is not what RFC 5321 section 2.3.8 allows.
            ClientGoneError: no more lines will come.
        """
        start = 0
        too_long = False
        while True:
            buffer = self._buffer
            end = buffer.find(b"\n", start)
            if end >= 0:
                break
            if len(buffer) > LINE_LIMIT:
                too_long = True
                buffer.clear()
                self._maybe_resume_transport()
            start = len(buffer)
            await self._more()
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        self._maybe_resume_transport()
        if too_long or end > LINE_LIMIT:
            raise LineTooLongError
        if not line.endswith(b"\r") or b"\r" in line[:-1] or b"\0" in line:
            raise LineEndError
        return line[:-1]

    async def take(self) -> bytearray:
        """Return everything that has arrived, at least one octet.

        Raises:
            ClientGoneError: nothing more will come.
        """
        while not self._buffer:
            await self._more()
        taken = self._buffer
        self._buffer = bytearray()
        self._maybe_resume_transport()
        return taken

    async def take_up_to(self, size: int) -> bytearray:
        """Return at least one and at most `size` octets. Raises as `take`."""
        while not self._buffer:
            await self._more()
        taken = self._buffer[:size]
        del self._buffer[:size]
        self._maybe_resume_transport()
        return taken

    def put_back(self, octets: bytearray) -> None:
        """Take back octets that `take` gave and that belong to what is read next.

        To be called before anything is awaited, so that no later octet is in front of them.
        """
        self._buffer = octets
