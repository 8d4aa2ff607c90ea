"""The HTTP listener: uvicorn with the bounds that a server open to strangers needs.

uvicorn's httptools protocol neither limits the size of a request head nor the time it takes to
arrive; here both are limited, and the number of connections.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from postroad_tracker.asgi import Application

MAX_HEAD = 32 * 1024
REQUEST_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 30
MAX_CONNECTIONS = 10_000
_BACKLOG = 2048


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


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the service's own drain decides when to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when connections are taken."""
        await super().startup(sockets)
        self.listening.set()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class Listener:
    """Serves `handler` at `host`:`port` from `start` until `stop`."""

    def __init__(self, handler: Application, host: str, port: int, *, reuse_port: bool) -> None:
        self._host = host
        self._port = port
        self._reuse_port = reuse_port

        self._server = _Server(
            uvicorn.Config(
                handler,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                loop="none",
                interface="asgi3",
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=5,
            )
        )
        self._task: asyncio.Task[Any] | None = None

    @property
    def port(self) -> int:
        """The port in use, also where 0 was asked for."""
        return self._port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listening.bind((self._host, self._port))
        except OSError:
            listening.close()
            raise
        listening.listen(_BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 - a positional argument of the socket module
        self._port = listening.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="listener")
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Take no more connections and let running requests end."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
