"""The HTTP connection with bounds that uvicorn leaves to whatever stands in front of it.

Bounds on the octets and the time a request head may take, and on the number of connections;
what is no HTTP is answered in the shape of every other error. Bodies are bounded in `limits`.
"""

import asyncio
import json
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from postroad_common.mail.identifiers import new_id

MAX_HEAD = 65_536  # octets of request line and headers
HEAD_SECONDS = 15.0
MAX_CONNECTIONS = 4096

_log = structlog.get_logger(__name__)


class GuardedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._head_octets = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn, unless there are too many."""
        super().connection_made(transport)
        self._begin_head()
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, "unavailable", "Too many connections; try again soon.")

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn, and counts what belongs to a head that is not complete."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head:
            self._head_octets += len(data)
            if self._head_octets > MAX_HEAD:
                self._refuse(431, "headers_too_large", "The headers of the request are too large.")

    def on_message_begin(self) -> None:
        """Begin a request."""
        if not self._in_head:
            self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as in uvicorn
        """Refuse what is no HTTP."""
        self._refuse(400, "bad_request", "This is not a valid HTTP request.")

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_octets = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _end_head(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._refuse(408, "timeout", "The request did not arrive in time.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self.transport.is_closing():
            return
        request_id = new_id()
        _log.info("connection refused", status=status, code=code, request_id=request_id)
        body = json.dumps({"error": {"code": code, "message": message, "field": None}}).encode()
        self.transport.write(
            b"HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"X-Request-Id: %b\r\nConnection: close\r\n\r\n%b"
            % (status, len(body), request_id.encode(), body)
        )
        self._end_head()
        self.transport.close()
