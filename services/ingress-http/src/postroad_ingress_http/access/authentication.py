"""Who sends a request: REST tokens, looked up seldom and remembered for a while.

A token is looked up again every few seconds, so that revoking it takes effect at once for people
and costs nothing per message; when the database is away, tokens seen within the last hour still
work: the first request waits a moment for it, those of the next seconds do not, and look their
tokens up beside. Sessions of the dashboard are in `dashboard.sessions`.

Failures are counted by address, and only after a look-up has failed: a client that shares an
address with an attacker and has a good token is never refused. Beyond the bound of failures the
look-ups for an address are done a few at a time, so that guesses cannot occupy the database.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from postroad_common.caching import Cache
from postroad_common.errors import StoreAway
from postroad_common.secrets import hash_token
from postroad_common.store.tokens import Token
from postroad_common.tasks import BackgroundTasks
from postroad_common.tokenbucket import TokenBuckets
from postroad_ingress_http.access.rights import is_from
from postroad_ingress_http.access.scopes import require
from postroad_ingress_http.http.errors import ApiError, unavailable
from postroad_ingress_http.http.rates import look, take, too_many

FRESH_SECONDS = 5.0
STALE_SECONDS = 3600.0
PATIENCE_SECONDS = 0.5  # how long a request with a remembered token waits for a new look-up
AWAY_SECONDS = 5.0  # for which the database, once found away, is not waited for
REMEMBERED = 10_000  # tokens
USED_SECONDS = 60.0  # how exactly it is kept when a token was last used
SUSPECTS_AT_ONCE = 2  # look-ups for addresses that have failed too often
_LONGEST_TOKEN = 256

Lookup = Callable[[str], Awaitable[Token | None]]
Used = Callable[[str, float], Awaitable[None]]
"""Notes that the token with this id was used, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    token: Token
    seen: float


class Authenticator:
    """Turns the token of a request into what it may do."""

    def __init__(
        self,
        lookup: Lookup,
        *,
        requests: TokenBuckets[str],
        failures: TokenBuckets[str],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        used: Used | None = None,
    ) -> None:
        """`clock` is steady seconds, `now` Unix seconds."""
        self._lookup = lookup
        self._now = now
        self._used = used
        self._requests = requests
        self._failures = failures
        self._clock = clock
        # Made-up tokens are not remembered: they must not push out those that are in use.
        self._known: Cache[str, _Remembered] = Cache(REMEMBERED, seconds=STALE_SECONDS, clock=clock)
        self._running: dict[str, asyncio.Task[Token | None]] = {}
        self._away_until = clock()
        self._tasks = BackgroundTasks("token look-up", expected=(StoreAway,))
        self._suspects = asyncio.Semaphore(SUSPECTS_AT_ONCE)

    async def authenticate(self, request: Request, needed: str) -> Token:
        """Return the token of `request`, which allows the scope `needed`.

        Raises:
            ApiError: 401 without a valid token, 403 without the scope or from another network, 429
                beyond the rate, 503 when the database is away and the token was not seen lately.
        """
        address = request.client.host if request.client else ""
        token = await self._find(_secret_of(request), address)
        if token is None:
            failures = take(self._failures, address, self._clock())
            if failures.retry_after:
                raise too_many(failures, "failed log-ins")
            raise _unauthorized("This token is not valid.", "invalid_token")
        rate = take(self._requests, token.id, self._clock())
        request.state.rate = rate
        if rate.retry_after:
            raise too_many(rate, "requests with this token")
        if token.expires is not None and token.expires <= self._now():
            raise _unauthorized("This token has expired.", "expired_token")
        if token.networks and not is_from(token.networks, address):
            raise ApiError(
                403, "This token may not be used from your network.", code="network_not_allowed"
            )
        require(token.scopes, needed, "This token")
        return token

    def forget(self, token_id: str) -> None:
        """Look the token up anew at its next use: it was changed by this process."""
        for key, known in list(self._known.items()):
            if known.token.id == token_id:
                self._known.pop(key)

    async def _find(self, secret: str, address: str) -> Token | None:
        key = hash_token(secret)
        known = self._known.get(key)
        if known is not None and self._clock() - known.seen < FRESH_SECONDS:
            return known.token
        if known is None and look(self._failures, address, self._clock()).retry_after:
            async with self._suspects:
                return await self._refresh(key, None)
        return await self._refresh(key, known)

    async def _refresh(self, key: str, known: _Remembered | None) -> Token | None:
        """Look the token up, once for all requests that wait; fall back to what is known of it."""
        task = self._running.get(key)
        if task is None:
            task = self._tasks.spawn(self._look_up(key))
            self._running[key] = task
        if known is not None and self._clock() < self._away_until:
            return known.token  # the look-up goes on, to notice when the database is back
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if known else None):
                return await asyncio.shield(task)
        except (TimeoutError, StoreAway):
            self._away_until = self._clock() + AWAY_SECONDS
            if known is not None:
                return known.token
            raise unavailable("The database is away; this token cannot be checked.") from None

    async def _look_up(self, key: str) -> Token | None:
        try:
            token = await self._lookup(key)
        finally:
            self._running.pop(key, None)
        self._away_until = self._clock()
        if token is None:
            self._known.pop(key)
        else:
            self._known.put(key, _Remembered(token, self._clock()))
            self._note_use(token)
        return token

    def _note_use(self, token: Token) -> None:
        now = self._now()
        if self._used is not None and now - (token.last_used or 0.0) >= USED_SECONDS:
            self._tasks.spawn(_note(self._used, token.id, now))


async def _note(used: Used, token_id: str, now: float) -> None:
    await used(token_id, now)


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
