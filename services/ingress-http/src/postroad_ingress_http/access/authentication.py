"""Who sends a request: REST tokens, looked up seldom and remembered for a while.

A token is looked up again every few seconds, so that revoking it works at once for people and
costs nothing per message; when the database is away, tokens seen within the last hour still work.
Sessions of the dashboard are in `dashboard.sessions`.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from postroad_common.errors import StoreAway
from postroad_common.secrets import hash_token
from postroad_common.store.tokens import Token
from postroad_ingress_http.access.scopes import allows
from postroad_ingress_http.http.buckets import Buckets
from postroad_ingress_http.http.errors import ApiError, unavailable
from postroad_ingress_http.http.rates import too_many

FRESH_SECONDS = 5.0
STALE_SECONDS = 3600.0
PATIENCE_SECONDS = 0.5  # how long a request with a remembered token waits for a new look-up
REMEMBERED = 10_000
_LONGEST_TOKEN = 256

Lookup = Callable[[str], Awaitable[Token | None]]


@dataclass(slots=True)
class _Remembered:
    token: Token
    seen: float


class Authenticator:
    """Turns the token of a request into what it may do."""

    def __init__(
        self,
        lookup: Lookup,
        *,
        requests: Buckets,
        failures: Buckets,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup = lookup
        self._requests = requests
        self._failures = failures
        self._clock = clock
        self._known: OrderedDict[str, _Remembered] = OrderedDict()
        self._running: dict[str, asyncio.Task[Token | None]] = {}

    async def authenticate(self, request: Request, needed: str) -> Token:
        """The token of `request`, which allows the scope `needed`.

        Raises:
            ApiError: 401 without a valid token, 403 without the scope, 429 beyond the rate, 503
                when the database is away and the token was not seen lately.
        """
        address = request.client.host if request.client else ""
        secret = _secret_of(request)
        if not self._failures.look(address, self._clock()).allowed:
            raise too_many(self._failures.look(address, self._clock()), "failed log-ins")
        token = await self._find(secret)
        if token is None:
            self._failures.take(address, self._clock())
            raise _unauthorized("This token is not valid.", "invalid_token")
        verdict = self._requests.take(token.id, self._clock())
        request.state.rate = verdict
        if not verdict.allowed:
            raise too_many(verdict, "requests with this token")
        if not allows(token.scopes, needed):
            raise ApiError(
                403, f"This token lacks the scope `{needed}`.", code="insufficient_scope"
            )
        return token

    def forget(self, token_id: str) -> None:
        """Looks the token up anew at its next use: it was changed by this process."""
        for key, known in list(self._known.items()):
            if known.token.id == token_id:
                del self._known[key]

    async def _find(self, secret: str) -> Token | None:
        key = hash_token(secret)
        known = self._known.get(key)
        now = self._clock()
        if known is not None and now - known.seen < FRESH_SECONDS:
            self._known.move_to_end(key)
            return known.token
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._look_up(key))
            task.add_done_callback(_retrieve)
            self._running[key] = task
        remembered = known.token if known and now - known.seen < STALE_SECONDS else None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if remembered else None):
                return await asyncio.shield(task)
        except (TimeoutError, StoreAway):
            if remembered is not None:
                return remembered
            raise unavailable("The database is away; this token cannot be checked.") from None

    async def _look_up(self, key: str) -> Token | None:
        try:
            token = await self._lookup(key)
            if token is None:
                # Not remembered: made-up tokens must not push out those that are in use.
                self._known.pop(key, None)
                return None
            self._known[key] = _Remembered(token, self._clock())
            self._known.move_to_end(key)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return token
        finally:
            self._running.pop(key, None)


def _retrieve(task: asyncio.Task[Token | None]) -> None:
    """Marks the error of a look-up as seen when nobody waited for it to the end."""
    if not task.cancelled():
        task.exception()


def _secret_of(request: Request) -> str:
    header = request.headers.get("authorization", "")
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    if header and scheme.lower() != "bearer":
        raise _unauthorized("Use `Authorization: Bearer TOKEN`.", "unauthorized")
    if not header:
        secret = request.query_params.get("access_token", "")
    if not secret:
        raise _unauthorized(
            "Give a token as `Authorization: Bearer TOKEN` or `?access_token=TOKEN`.",
            "unauthorized",
        )
    if len(secret) > _LONGEST_TOKEN or not secret.isascii():
        raise _unauthorized("This token is not valid.", "invalid_token")
    return secret


def _unauthorized(message: str, code: str) -> ApiError:
    return ApiError(401, message, code=code, headers={"WWW-Authenticate": "Bearer"})
