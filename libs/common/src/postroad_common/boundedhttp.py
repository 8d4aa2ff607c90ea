"""One connection of an HTTP listener, with the bounds that a server open to strangers needs.

uvicorn's httptools protocol neither limits the size of a request nor the time it takes to arrive;
here both are limited. For servers whose requests have no body to speak of.
"""

import asyncio
from typing import ClassVar

from typing_extensions import override

from postroad_common.slowreaders import ReadersWatched

MAX_REQUEST = 32 * 1024
"""Octets of a request, its head included."""


class BoundedHttp(ReadersWatched):
    """Closes a connection whose request is too large, or not there after `seconds`."""

    seconds: ClassVar[float] = 10.0
    _fed = 0
    _deadline: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request."""
        super().connection_made(transport)
        self._start_clock()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        """Feed the parser, up to the limit."""
        self._fed += len(data)
        if self._fed > MAX_REQUEST:
            self.transport.close()
            return
        self._start_clock()
        super().data_received(data)

    @override
    def on_message_begin(self) -> None:
        """Start the clock, also for a request whose beginning came with the end of another."""
        self._start_clock()
        super().on_message_begin()

    @override
    def on_message_complete(self) -> None:
        """Reset the count and the clock: the request is complete."""
        self._fed = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().on_message_complete()

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
