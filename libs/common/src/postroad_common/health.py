"""Liveness and readiness, and the small HTTP server that answers for them.

Live: the event loop turns. Ready: every registered check passes. A service that has lost the
broker or the database is live and not ready: restarting it would not help.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from postroad_common.metrics import READY

Check = Callable[[], Awaitable[None]]
CHECK_TIMEOUT = 2.0  # seconds


class Health:
    """The readiness checks of one process."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self.started = False
        self.draining = False

    def add_check(self, name: str, check: Check) -> None:
        """`check` raises while `name` is not ready."""
        self._checks[name] = check

    async def problems(self) -> dict[str, str]:
        """What is not ready, and why; empty when all is well."""
        found: dict[str, str] = {}
        if self.draining:
            found["service"] = "draining"
        elif not self.started:
            found["service"] = "starting"

        async def run(name: str, check: Check) -> None:
            try:
                await asyncio.wait_for(check(), CHECK_TIMEOUT)
            except Exception as error:  # noqa: BLE001 - whatever it is, the check has failed
                found[name] = (str(error) or type(error).__name__)[:200]

        await asyncio.gather(*(run(name, check) for name, check in self._checks.items()))
        for name in self._checks:
            READY.labels(name).set(0 if name in found else 1)
        return found

    def routes(self) -> list[Route]:
        """`/livez`, `/readyz` and `/metrics`, to be mounted in any Starlette application."""

        async def livez(_: Request) -> Response:
            return PlainTextResponse("ok\n")

        async def readyz(_: Request) -> Response:
            problems = await self.problems()
            status = 503 if problems else 200
            return JSONResponse({"ready": not problems, "problems": problems}, status)

        async def metrics(_: Request) -> Response:
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


class _Server(uvicorn.Server):
    """uvicorn inside a loop that handles signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT to the service skeleton."""
        yield


class HttpListener:
    """An ASGI application listening on one port of this process.

    `http` is the protocol class of its connections, when uvicorn's own does not do.
    """

    def __init__(
        self,
        app: object,
        host: str,
        port: int,
        *,
        reuse_port: bool = False,
        grace: float = 10.0,
        forwarded: str | None = None,
        http: type[asyncio.Protocol] | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise OSError(
                error.errno, f"cannot listen on {host}:{port}: {error.strerror}"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                app,  # type: ignore[arg-type]  # any ASGI application
                http=http or "auto",
                access_log=False,
                log_config=None,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=int(grace),
                timeout_keep_alive=65,
                proxy_headers=forwarded is not None,
                forwarded_allow_ips=forwarded,
                backlog=4096,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; returns when connections are taken."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise OSError("the HTTP server stopped while starting")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Finish the requests in progress and close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


def operations_app(health: Health) -> Starlette:
    """The application behind the operations port."""
    return Starlette(routes=health.routes())
