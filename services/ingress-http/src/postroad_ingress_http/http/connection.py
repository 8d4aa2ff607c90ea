"""The HTTP connection with bounds that uvicorn leaves to whatever stands in front of it.

Bounds on the octets and the time a request head may take, on the requests that are sent before
others are answered, and on the number of connections, of which those that wait (`waiting`) go
first; what is no HTTP is answered in the shape of every other error. Bodies are bounded in `guard`,
and clients that do not read are cut off by `postroad_common.slowreaders`.
"""

import asyncio
import json
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from uvicorn.server import ServerState

from postroad_common.mail.identifiers import new_id
from postroad_common.slowreaders import ReadersWatched
from postroad_ingress_http.http.places import network_of, shows_credentials
from postroad_ingress_http.http.waiting import WaitingConnections

MAX_HEAD = 65_536  # octets of request line and headers, and of what frames a body in chunks
MAX_PIPELINED = 100  # requests that wait for the answer to one before them
_waiting: "WeakKeyDictionary[ServerState, WaitingConnections[GuardedHttp]]" = WeakKeyDictionary()

_log = structlog.get_logger(__name__)


class _RefusedError(Exception):
    """Stops the parser: the connection is being closed."""


class GuardedHttp(ReadersWatched):
    """One connection."""

    head_seconds = 10.0
    max_connections = 4096
    max_waiting_per_address = 512

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._header_octets = 0
        self._barren_octets = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._address = ""
        waiting = _waiting.get(self.server_state)
        if waiting is None:
            waiting = _waiting[self.server_state] = WaitingConnections(self.max_waiting_per_address)
        self._waiting = waiting

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn; if there are too many, the one that has waited longest goes."""
        super().connection_made(transport)
        self._address = network_of(self.client[0] if self.client else "")
        self._begin_head()
        self._wait()
        if len(self.connections) > self.max_connections:
            (self._waiting.longest() or self).make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn."""
        self._end_head()
        self._waiting.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn, and counts what belongs neither to a complete head nor to a body.

        This is a head without end, or the chunk extensions and trailers of a body.
        """
        if self.transport.is_closing():
            return
        self._barren_octets += len(data)
        super().data_received(data)
        if self._barren_octets > MAX_HEAD:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """Begin a request."""
        if len(self.pipeline) >= MAX_PIPELINED:
            # Without a word: it would be taken for the answer to the first of them.
            _log.info("connection closed", reason="too many requests before their answers")
            self.transport.close()
            raise _RefusedError
        if not self._in_head:
            self._begin_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer, which comes after the body, is dropped."""
        self._header_octets += len(name) + len(value) + len(b":\r\n")
        if self._header_octets > MAX_HEAD:
            self._refuse_headers()
            raise _RefusedError
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._barren_octets = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._barren_octets = 0
        self._end_head()
        query = bytes(self.url).partition(b"?")[2]
        if shows_credentials(self.headers, query):
            self._waiting.discard(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait no longer: the whole request is there."""
        self._barren_octets = 0
        self._waiting.discard(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Rest until the next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_busy():
            self._wait()

    def make_room(self) -> None:
        """Close, because there are too many connections; say so unless nothing was asked."""
        if not self._in_head and not self._is_busy():
            self._waiting.discard(self)
            self.transport.close()
            return
        self._refuse(503, "unavailable", "Too many connections; try again soon.")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as in uvicorn
        """Refuse what is no HTTP."""
        self._refuse(400, "bad_request", "This is not a valid HTTP request.")

    def _is_busy(self) -> bool:
        """Whether another request is in work, which came behind the last one."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        longest = self._waiting.add(self, self._address)
        if longest is not None:
            longest.make_room()

    def _begin_head(self) -> None:
        self._in_head = True
        self._header_octets = 0
        self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _end_head(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_headers(self) -> None:
        self._refuse(431, "headers_too_large", "The headers of the request are too large.")

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
        self._waiting.discard(self)
        self.transport.close()
