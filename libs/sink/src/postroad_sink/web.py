"""The HTTP side of the sink: JSON for tests, and the page for people.

| request | answer |
|---|---|
| `GET /messages` | a list, oldest first, newest last; `recipient=` and `envelope=` are shell patterns, `subject=` a part of it, `since=` a number that the wanted ones are above, `limit=` only the newest so many; `wait=` seconds at most until there are `at_least=` (default 1) of them |
| `GET /messages/{n}` | one, with headers, text, HTML and parts; also `/raw`, `/html`, `/text`, `/parts/{k}` |
| `DELETE /messages` | forgets all; the numbers go on |
| `GET`, `DELETE /counts` | what was counted; count anew |
| `POST /behaviour` | puts a rule or a list of rules in force (see `rules`); `PUT` puts them in place of all |
| `GET`, `DELETE /behaviour` | the rules in force; no rules any more; `DELETE /behaviour/{n}`: one less |
| `GET /livez`, `/readyz` | is it alive; does it take mail |

Errors are `{"error": {"code", "message", "field"}}`. The requests about messages are answered in
`messages_api`, the others in `behaviour_api`.
"""  # noqa: E501 -- a table has long lines

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from postroad_sink import behaviour_api, messages_api, view
from postroad_sink.server import SinkServer

_CODES = {400: "bad_request", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_GRACE_SECONDS = 2


def web_application(server: SinkServer) -> Starlette:
    """Return the application that shows and steers one sink."""
    application = Starlette(
        routes=[
            Route("/", view.page),
            Route("/page/{name}", view.page_file),
            *messages_api.routes(),
            *behaviour_api.routes(),
            Route("/livez", _alive),
            Route("/readyz", _ready),
        ],
        middleware=[Middleware(_SameOrigin)],
        exception_handlers={HTTPException: _error},
    )
    application.state.server = server
    application.state.sink = server.sink
    return application


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _ready(request: Request) -> Response:
    server: SinkServer = request.app.state.server
    if server.listening:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "not ready", "smtp": "not listening"}, status_code=503)


async def _error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail: object = error.detail
    said = detail if isinstance(detail, dict) else {"message": str(detail), "field": None}
    code = _CODES.get(error.status_code, "invalid")
    return JSONResponse(
        {"error": {"code": code, **said}}, status_code=error.status_code, headers=error.headers
    )


class _SameOrigin:
    """Refuses changes that a page of another origin asks a visitor's browser for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                refusal = {"error": {"code": "forbidden", "message": "of another origin"}}
                await JSONResponse(refusal, status_code=403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    """A uvicorn that leaves the signals to the program it runs in."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """Serves the application in the running loop."""

    def __init__(self, application: ASGIApp) -> None:
        self._server = _Server(
            uvicorn.Config(
                application,
                lifespan="off",
                ws="none",
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, on a free port if it is 0, and return the port.

        Raises:
            OSError: the address or the port cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=256)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="sink-web")
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening and let requests end, two seconds at most."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
