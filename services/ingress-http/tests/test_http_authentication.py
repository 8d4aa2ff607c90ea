"""Tokens: remembered for a while, and of use while the database is away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import Request

from postroad_common.errors import StoreAway
from postroad_common.secrets import hash_token
from postroad_common.store.tokens import Token
from postroad_common.tokenbucket import TokenBuckets
from postroad_ingress_http.access.authentication import (
    AWAY_SECONDS,
    FRESH_SECONDS,
    STALE_SECONDS,
    SUSPECTS_AT_ONCE,
    Authenticator,
)
from postroad_ingress_http.access.scopes import allows, covers
from postroad_ingress_http.http.errors import ApiError
from postroad_testing.waiting import until

SECRET = "pr_secret_of_the_test"
GOOD = Token("id", "main", "n", ("send",), 0.0)


def request(secret: str = SECRET) -> Request:
    headers = [(b"authorization", b"Bearer " + secret.encode())]
    return Request({"type": "http", "headers": headers, "client": ("192.0.2.1", 1), "state": {}})


class Tokens:
    """A table of tokens that can be away or slow, and counts how often it is asked."""

    def __init__(self) -> None:
        self.known = {hash_token(SECRET): GOOD}
        self.away = False
        self.gate: asyncio.Event | None = None
        self.asked = 0

    async def find(self, key: str) -> Token | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise StoreAway("away")
        return self.known.get(key)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(
    lookup: Callable[[str], Awaitable[Token | None]], clock: Clock, *, burst: int = 1000
) -> Authenticator:
    return Authenticator(
        lookup, requests=TokenBuckets(burst, 1.0), failures=TokenBuckets(3, 0.1), clock=clock
    )


async def test_token_is_looked_up_once_while_it_is_fresh():
    tokens, clock = Tokens(), Clock()
    authenticator = make(tokens.find, clock)
    for _ in range(10):
        assert await authenticator.authenticate(request(), "send") == GOOD
    assert tokens.asked == 1
    clock.now += FRESH_SECONDS
    await authenticator.authenticate(request(), "send")
    assert tokens.asked == 2


async def test_many_requests_at_once_cause_one_look_up():
    tokens = Tokens()
    authenticator = make(tokens.find, Clock())
    await asyncio.gather(*(authenticator.authenticate(request(), "send") for _ in range(50)))
    assert tokens.asked == 1


async def test_revoked_token_stops_working_within_seconds():
    tokens, clock = Tokens(), Clock()
    authenticator = make(tokens.find, clock)
    await authenticator.authenticate(request(), "send")
    tokens.known.clear()
    clock.now += FRESH_SECONDS
    with pytest.raises(ApiError) as caught:
        await authenticator.authenticate(request(), "send")
    assert caught.value.status == 401


async def test_token_seen_lately_works_while_the_database_is_away():
    tokens, clock = Tokens(), Clock()
    authenticator = make(tokens.find, clock)
    await authenticator.authenticate(request(), "send")
    tokens.away = True
    clock.now += STALE_SECONDS - 1
    assert await authenticator.authenticate(request(), "send") == GOOD
    clock.now += 2
    with pytest.raises(ApiError) as caught:
        await authenticator.authenticate(request(), "send")
    assert caught.value.status == 503
    assert "Retry-After" in caught.value.headers


async def test_token_seen_lately_does_not_wait_for_a_slow_database():
    tokens, clock = Tokens(), Clock()
    authenticator = make(tokens.find, clock)
    await authenticator.authenticate(request(), "send")
    tokens.gate = asyncio.Event()
    clock.now += FRESH_SECONDS
    async with asyncio.timeout(2):
        assert await authenticator.authenticate(request(), "send") == GOOD
    tokens.gate.set()


async def test_first_request_alone_waits_for_a_database_that_is_away():
    tokens, clock = Tokens(), Clock()
    authenticator = make(tokens.find, clock)
    await authenticator.authenticate(request(), "send")
    tokens.gate = asyncio.Event()
    clock.now += FRESH_SECONDS
    assert await authenticator.authenticate(request(), "send") == GOOD
    for _ in range(3):  # each is answered before the event loop turns: nothing is waited for
        call = authenticator.authenticate(request(), "send")
        with pytest.raises(StopIteration) as answered:
            call.send(None)
        assert answered.value.value == GOOD
    assert tokens.asked == 2
    clock.now += AWAY_SECONDS
    tokens.gate.set()
    assert await authenticator.authenticate(request(), "send") == GOOD


async def test_token_revoked_while_the_database_was_away_stops_working_when_it_is_back():
    tokens, clock = Tokens(), Clock()
    authenticator = make(tokens.find, clock)
    await authenticator.authenticate(request(), "send")
    tokens.away = True
    clock.now += FRESH_SECONDS
    assert await authenticator.authenticate(request(), "send") == GOOD
    tokens.away = False
    tokens.known.clear()
    asked = tokens.asked
    assert await authenticator.authenticate(request(), "send") == GOOD
    await until(lambda: tokens.asked > asked)
    with pytest.raises(ApiError) as caught:
        await authenticator.authenticate(request(), "send")
    assert caught.value.status == 401


async def test_unknown_token_is_503_while_the_database_is_away():
    tokens = Tokens()
    tokens.away = True
    with pytest.raises(ApiError) as caught:
        await make(tokens.find, Clock()).authenticate(request(), "send")
    assert caught.value.status == 503


async def test_failures_from_one_address_are_slowed_down_and_forgiven_with_time():
    tokens, clock = Tokens(), Clock()
    authenticator = make(tokens.find, clock)
    statuses = []
    for _ in range(5):
        with pytest.raises(ApiError) as caught:
            await authenticator.authenticate(request("pr_wrong"), "send")
        statuses.append(caught.value.status)
    assert statuses == [401, 401, 401, 429, 429]
    clock.now += 30
    with pytest.raises(ApiError) as caught:
        await authenticator.authenticate(request("pr_wrong"), "send")
    assert caught.value.status == 401


async def test_good_token_is_never_refused_for_the_failures_of_its_address():
    tokens, clock = Tokens(), Clock()
    authenticator = make(tokens.find, clock)
    for _ in range(20):
        with pytest.raises(ApiError):
            await authenticator.authenticate(request("pr_wrong"), "send")
    assert await authenticator.authenticate(request(), "send") == GOOD  # not seen before
    assert await authenticator.authenticate(request(), "send") == GOOD
    clock.now += FRESH_SECONDS
    assert await authenticator.authenticate(request(), "send") == GOOD


async def test_guesses_of_a_failing_address_are_looked_up_a_few_at_a_time():
    tokens = Tokens()
    authenticator = make(tokens.find, Clock())
    for _ in range(3):
        with pytest.raises(ApiError):
            await authenticator.authenticate(request("pr_wrong"), "send")
    tokens.gate, asked = asyncio.Event(), tokens.asked
    guesses = [
        asyncio.create_task(authenticator.authenticate(request(f"pr_guess{number}"), "send"))
        for number in range(10)
    ]
    async with asyncio.timeout(90):
        for _ in range(100):  # turns of the loop, many more than the first look-ups need
            await asyncio.sleep(0)
        assert tokens.asked == asked + SUSPECTS_AT_ONCE
        tokens.gate.set()
        found = await asyncio.gather(*guesses, return_exceptions=True)
    assert {error.status for error in found if isinstance(error, ApiError)} == {429}
    assert tokens.asked == asked + len(guesses)


async def test_rate_of_a_token_is_limited_and_told():
    clock = Clock()
    authenticator = make(Tokens().find, clock, burst=2)
    for _ in range(2):
        await authenticator.authenticate(request(), "send")
    with pytest.raises(ApiError) as caught:
        await authenticator.authenticate(request(), "send")
    assert caught.value.status == 429
    assert caught.value.headers["RateLimit-Remaining"] == "0"
    assert int(caught.value.headers["Retry-After"]) >= 1
    clock.now += 1
    await authenticator.authenticate(request(), "send")


@pytest.mark.parametrize(
    ("scopes", "needed", "allowed"),
    [
        (("*",), "credentials", True),
        (("credentials",), "credentials", True),
        (("credentials",), "credentials:read", True),
        (("credentials:read",), "credentials:read", True),
        (("credentials:read",), "credentials", False),
        (("send",), "credentials:read", False),
        ((), "send", False),
    ],
)
def test_scopes(scopes: tuple[str, ...], needed: str, allowed: bool):  # noqa: FBT001
    assert allows(scopes, needed) is allowed
    assert covers(scopes, [needed]) is allowed


def test_only_everything_covers_everything():
    assert covers(("*",), ("*",))
    assert not covers(("send", "tokens"), ("*",))
