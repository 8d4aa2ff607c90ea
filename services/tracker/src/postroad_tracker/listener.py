"""The HTTP listener: the common one with the bounds that a server open to strangers needs.

uvicorn's httptools protocol neither limits the size of a request head nor the time it takes to
arrive; here both are limited, and the number of connections.
"""

import asyncio

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from postroad_common.listener import HttpListener
from postroad_tracker.asgi import Application

MAX_HEAD = 32 * 1024
REQUEST_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 30
MAX_CONNECTIONS = 10_000


class BoundedProtocol(HttpToolsProtocol):
    """One connection: requests of bounded size that must arrive within bounded time."""

    _fed = 0
    _deadline: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._too_slow)

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
        if self._fed > MAX_HEAD:
            self.transport.close()
            return
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._too_slow)
        super().data_received(data)

    @override
    def on_message_complete(self) -> None:
        """Reset the count and the clock: the request is complete."""
        self._fed = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().on_message_complete()

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()


class TrackerListener(HttpListener):
    """Serves `handler` at `host`:`port` from `start` until `stop`.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(self, handler: Application, host: str, port: int, *, reuse_port: bool) -> None:
        super().__init__(
            handler,
            host,
            port,
            reuse_port=reuse_port,
            grace=5,
            keep_alive=KEEP_ALIVE_SECONDS,
            http=BoundedProtocol,
            max_connections=MAX_CONNECTIONS,
            date_header=False,
        )
