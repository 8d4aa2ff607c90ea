"""Compressed bodies: those of requests inflated within their bound, answers of the API deflated.

Pages of the dashboard are sent as they are: they hold secrets beside what a stranger may have
written, and their compressed size would tell of both.
"""

import asyncio
import zlib
from collections.abc import Callable

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postroad_ingress_http.http.errors import ApiError

STEP = 1 << 18  # octets that are inflated at once, before others have their turn
SMALLEST = 1000  # octets of an answer that is worth it
_LEVEL = 4
_GZIP_WINDOW = 31  # of zlib: gzip, with its header
_COMPRESSED = ("/v1/", "/openapi.json", "/docs", "/dashboard/static/")


def is_gzip(scope: Scope) -> bool:
    """Whether the body of the request comes as gzip."""
    encodings = [value for name, value in scope["headers"] if name == b"content-encoding"]
    return [value.strip().lower() for value in encodings] in ([b"gzip"], [b"x-gzip"])


def without_encoding(scope: Scope) -> Scope:
    """Return the scope of the request with its body inflated."""
    gone = {b"content-encoding", b"content-length"}
    return {**scope, "headers": [item for item in scope["headers"] if item[0] not in gone]}


class Inflated:
    """`receive` that inflates; `count` is told of the octets and refuses what is too many."""

    def __init__(self, receive: Receive, count: Callable[[int], None]) -> None:
        self._receive = receive
        self._count = count
        self._zlib = zlib.decompressobj(_GZIP_WINDOW)
        self._waiting = b""
        self._ended = False  # the compressed body is here whole
        self._begun = False

    async def __call__(self) -> Message:
        """Return the next part.

        Raises:
            ApiError: 400, it is no gzip, or cut off; 413 and 503, as `count` says.
        """
        while not self._waiting and not self._ended:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._waiting = message.get("body", b"")
            self._ended = not message.get("more_body", False)
        if self._ended and not self._waiting and not self._begun:
            return {"type": "http.request", "body": b"", "more_body": False}
        part = self._inflate()
        await asyncio.sleep(0)
        more = bool(self._waiting) or not self._ended
        if not more and not self._zlib.eof:
            raise ApiError(400, "The gzip body is cut off.", code="invalid_encoding")
        return {"type": "http.request", "body": part, "more_body": more}

    def _inflate(self) -> bytes:
        self._begun = True
        try:
            part = self._zlib.decompress(self._waiting, STEP)
        except zlib.error:
            raise ApiError(400, "The body is no gzip.", code="invalid_encoding") from None
        self._waiting = self._zlib.unconsumed_tail
        if self._zlib.unused_data:
            raise ApiError(400, "Something follows the gzip body.", code="invalid_encoding")
        self._count(len(part))
        return part


class Deflating:
    """ASGI middleware: compresses the answers that may be, for those who take gzip."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._gzip = GZipMiddleware(app, minimum_size=SMALLEST, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        small = scope["type"] == "http" and scope["path"].startswith(_COMPRESSED)
        await (self._gzip if small else self._app)(scope, receive, send)
