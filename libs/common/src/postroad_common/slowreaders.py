"""HTTP connections whose clients do not read: what is written stays in memory until they do.

uvicorn waits for them for ever, also where an answer is complete and the connection is to close.
"""

import asyncio
from typing import ClassVar

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class ReadersWatched(HttpToolsProtocol):
    """Cuts off a client that has not read `least_read` octets in `reading_seconds`.

    Only while more is unread than the transport likes to hold (64 KiB).
    """

    reading_seconds: ClassVar[float] = 30.0
    least_read: ClassVar[int] = 16_384
    _unread = 0
    _reading_timer: asyncio.TimerHandle | None = None

    @override
    def pause_writing(self) -> None:
        """Begin to look whether the client reads."""
        super().pause_writing()
        self._look_at_reader()

    @override
    def resume_writing(self) -> None:
        """Look no more: it has read."""
        self._forget_reader()
        super().resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more: it has gone."""
        self._forget_reader()
        super().connection_lost(exc)

    def _look_at_reader(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._reading_timer = self.loop.call_later(self.reading_seconds, self._check_reader)

    def _check_reader(self) -> None:
        if self.transport.get_write_buffer_size() > self._unread - self.least_read:
            self.transport.abort()
        else:
            self._look_at_reader()

    def _forget_reader(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None
