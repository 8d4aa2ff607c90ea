"""The outermost layer of the application: what holds for every request whatever its path.

A request id, a bound on the body while it is read and on all bodies in memory, a bound on the
requests in work, the security headers, the log line and the metrics, and the last resort for
unexpected errors.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postroad_common.mail.identifiers import new_id
from postroad_common.metrics import counter, gauge, histogram
from postroad_common.store.audit import nobody_acts
from postroad_ingress_http.http import patience
from postroad_ingress_http.http.compression import Inflated, is_gzip, without_encoding
from postroad_ingress_http.http.errors import ApiError, from_exception, unavailable
from postroad_ingress_http.http.patience import Patience
from postroad_ingress_http.http.places import Places, RequestPlace
from postroad_ingress_http.http.rates import RateState

HUNG_UP = 499
"""What metrics show for a client that went before its answer, as nginx does."""
_AREAS = ("send", "api", "dashboard", "livez", "readyz", "metrics", "docs", "other")
_STATUSES = (200, 201, 204, 303, 400, 401, 403, 404, 409, 413, 422, 429, HUNG_UP, 500, 503, 504)
_REQUESTS = counter(
    "postroad_ingress_http_requests_total",
    "Requests answered",
    {"area": _AREAS, "status": map(str, _STATUSES)},
)
_SECONDS = histogram(
    "postroad_ingress_http_request_seconds",
    "From the last header of a request to the end of its answer",
    (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    {"area": _AREAS},
)
_IN_WORK = gauge("postroad_ingress_http_requests_in_work", "Requests being worked on")

_MAIL = frozenset({"/v1/send", "/v1/send/batch", "/v1/preview"})
"""Paths whose bodies are mails: several together are bounded as one of the largest is."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds. Sizes in octets, times in seconds."""

    send_body: int
    other_body: int = 1 << 20
    bodies_in_memory: int = 256 << 20
    requests: int = 1000
    body_seconds: float = 60.0
    idle_seconds: float = 20.0
    unknown_requests: int = 200
    """Requests without a token or session in work at once."""
    unknown_per_address: int = 50
    """The same of one address, those included whose body is still on its way."""
    unknown_body: int = 8192
    unknown_seconds: float = 10.0


def area_of(path: str) -> str:
    """Return the part of the service a path belongs to: a label with few values."""
    first, _, rest = path.lstrip("/").partition("/")
    if first == "v1":
        return "send" if rest == "send" else "api"
    return first if first in _AREAS[2:] else "other"


class RequestGuard:
    """ASGI middleware; see the module."""

    def __init__(
        self, app: ASGIApp, limits: RequestLimits, render: Callable[[Scope, ApiError], ASGIApp]
    ) -> None:
        self._app = app
        self._limits = limits
        self._render = render
        self._places = Places(limits.requests, limits.unknown_requests, limits.unknown_per_address)
        self._octets = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        area = area_of(scope["path"])
        request_id = new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        waiting = patience.begin()
        answer = _Answer(send, scope["state"], bare=scope["method"] == "HEAD")
        body = _Body(receive, self, self._limits, self._size_limit(scope["path"]), waiting)
        _IN_WORK.inc()
        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id), nobody_acts():
                await self._run(_as_get(scope), body, answer)
        except ClientDisconnect:
            answer.status = answer.status or HUNG_UP
            _log.info("client hung up", path=scope["path"], request_id=request_id)
        finally:
            body.close()
            _IN_WORK.dec()
            self._octets -= body.counted + body.inflated
            _REQUESTS.labels(area, str(answer.status)).inc()
            _SECONDS.labels(area).observe(time.perf_counter() - started)

    def _size_limit(self, path: str) -> int:
        return self._limits.send_body if path in _MAIL else self._limits.other_body

    async def _run(self, scope: Scope, body: "_Body", answer: "_Answer") -> None:
        try:
            body.begin(scope, self._places)
            _check_characters(scope)
            body.check_announced(scope)
            if is_gzip(scope):
                await self._app(without_encoding(scope), Inflated(body, body.inflate), answer)
            else:
                await self._app(scope, body, answer)
        except ClientDisconnect:
            raise
        except Exception as error:  # the one place where a request may not take the service along
            refusal = from_exception(error)
            if refusal is None:
                _log.exception("request failed", path=scope["path"])
                refusal = ApiError(500, "Something went wrong here; it has been logged.")
            if answer.status:  # the answer has begun: it can only be cut off
                raise
            if not body.complete:
                refusal.headers["Connection"] = "close"
            await self._render(scope, refusal)(scope, body, answer)

    def count(self, octets: int) -> None:
        """Add to the octets of all bodies in memory.

        Raises:
            ApiError: 503, there is no room for more.
        """
        if self._octets + octets > self._limits.bodies_in_memory:
            raise unavailable("Too much is being uploaded at once; try again soon.")
        self._octets += octets


def _as_get(scope: Scope) -> Scope:
    """Return the scope of a GET for a HEAD: its answer is sent without the body."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _check_characters(scope: Scope) -> None:
    """Refuse NUL in path and query, which the database takes nowhere.

    Raises:
        ApiError: 400, about the field of the query, if it is one.
    """
    if "\0" not in scope["path"] and b"%00" not in scope["query_string"]:
        return
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    field = next((name for name, value in asked if "\0" in value), None)
    message = "There is a NUL character in it, which nothing here has."
    raise ApiError(400, message, code="invalid", field=field)


class _Body:
    """`receive` with a bound on size and time, which takes the place when all is there."""

    def __init__(
        self,
        receive: Receive,
        guard: RequestGuard,
        limits: RequestLimits,
        limit: int,
        waiting: Patience,
    ) -> None:
        self._receive = receive
        self._patience = waiting
        self._guard = guard
        self._limits = limits
        self._limit = limit
        self._seconds = limits.body_seconds
        self._deadline: float | None = None
        self._place: RequestPlace | None = None
        self.counted = 0
        self.inflated = 0
        self.complete = False

    def begin(self, scope: Scope, places: Places) -> None:
        """Find out what the request may use up.

        Raises:
            ApiError: 429, too many come from its address.
        """
        self._place = places.open(scope)
        if not self._place.known:
            self._limit = min(self._limit, self._limits.unknown_body)
            self._seconds = min(self._seconds, self._limits.unknown_seconds)

    def close(self) -> None:
        """Give the place back."""
        if self._place is not None:
            self._place.close()

    def check_announced(self, scope: Scope) -> None:
        """Take the place if there is no body; refuse one too large before any of it is read.

        Raises:
            ApiError: 413, it is too large; 503, there is no place.
        """
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        self.complete = length in {b"", b"0"} and not any(
            name == b"transfer-encoding" for name, _ in scope["headers"]
        )
        if self.complete:
            self._take_place()
        if length.isdigit() and (len(length) > 15 or int(length) > self._limit):
            raise self._too_large()

    def inflate(self, octets: int) -> None:
        """Count octets of the body that it has more when inflated.

        Raises:
            ApiError: 413, they are too many; 503, there is no room for them.
        """
        if self.inflated + octets > self._limit:
            raise self._too_large()
        self._guard.count(octets)
        self.inflated += octets

    def _too_large(self) -> ApiError:
        return ApiError(413, f"The body is larger than {self._limit} bytes, the most taken here.")

    async def __call__(self) -> Message:
        if self.complete:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._seconds
        wait = min(self._limits.idle_seconds, self._deadline - now)
        try:
            async with asyncio.timeout(max(wait, 0)):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "The body did not arrive in time.") from None
        self._patience.add(asyncio.get_running_loop().time() - now)
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            if self.counted + size > self._limit:
                raise self._too_large()
            self._guard.count(size)
            self.counted += size
            self.complete = not message.get("more_body", False)
            if self.complete:
                self._take_place()
        return message

    def _take_place(self) -> None:
        if self._place is not None:
            self._place.take()


class _Answer:
    """`send` that adds the headers which every answer has; a `bare` one has no body."""

    def __init__(self, send: Send, state: dict[str, Any], *, bare: bool) -> None:
        self._send = send
        self._state = state
        self._bare = bare
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message.get("headers", ())
            names = {name for name, _ in given}
            more = [(name, value) for name, value in self._more() if name not in names]
            message = {**message, "headers": [*given, *more]}
        elif self._bare and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _more(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that an answer has unless it brings its own, in lower case."""
        rate: RateState | None = self._state.get("rate")
        told = rate.headers().items() if rate else ()
        return [
            (b"x-request-id", self._state["request_id"].encode()),
            *((name.lower().encode(), value.encode()) for name, value in told),
            *_HEADERS,
        ]
