"""The HTTP listener of every service: uvicorn in a loop that handles signals itself."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from postroad_common.boundedhttp import BoundedHttp

_BACKLOG = 4096  # connections that the system keeps until they are accepted


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens, and leaves SIGTERM and SIGINT to the service."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when connections are taken."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the service's own drain decides when to stop."""
        yield


class HttpListener:
    """An ASGI application on one port, from `start` until `stop`.

    `port` 0 means a free one, which the attribute `port` tells. `http` is the protocol class of its
    connections, where requests have bodies. Above `max_connections` requests are answered with
    503. `forwarded` names the proxies whose `X-Forwarded-For` counts. At `stop` requests in
    progress have `grace` seconds.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(
        self,
        app: object,
        host: str,
        port: int,
        *,
        reuse_port: bool = False,
        grace: float = 10.0,
        keep_alive: int = 65,
        forwarded: str | None = None,
        http: type[asyncio.Protocol] = BoundedHttp,
        max_connections: int | None = None,
        date_header: bool = True,
    ) -> None:
        self._socket = _bind(host, port, reuse_port=reuse_port)
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                app,  # type: ignore[arg-type]  # any ASGI application
                http=http,
                ws="none",
                loop="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=date_header,
                timeout_graceful_shutdown=int(grace),
                timeout_keep_alive=keep_alive,
                limit_concurrency=max_connections,
                proxy_headers=forwarded is not None,
                forwarded_allow_ips=forwarded,
                backlog=_BACKLOG,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; returns when connections are taken."""
        serving = asyncio.create_task(
            self._server.serve(sockets=[self._socket]), name=f"http-{self.port}"
        )
        self._task = serving
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            serving.result()
            raise OSError("the HTTP server stopped while starting")

    async def stop(self) -> None:
        """Finish the requests in progress and close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


def _bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        text = f"cannot listen on {host}:{port}: {error.strerror}"
        raise OSError(error.errno, text) from error
    return bound
