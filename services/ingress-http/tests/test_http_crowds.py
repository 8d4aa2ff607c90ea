"""Crowds of slow strangers: half heads and bodies that do not come take no place from customers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from postroad_common.listener import HttpListener
from postroad_ingress_http.http.connection import GuardedHttp
from postroad_ingress_http.http.guard import RequestGuard, RequestLimits
from postroad_ingress_http.http.places import network_of, shows_credentials

TOKEN = b"Authorization: Bearer pr_x\r\n"
SESSION = b"Cookie: a=b; postroad_session=x\r\n"


class FewConnections(GuardedHttp):
    """Takes so few that a test can exceed it."""

    max_connections = 8
    max_waiting_per_address = 6


class FewInAll(GuardedHttp):
    """The same, of any address."""

    max_connections = 8


@asynccontextmanager
async def listening(
    limits: RequestLimits, http: type[GuardedHttp] = GuardedHttp, gate: asyncio.Event | None = None
) -> AsyncIterator[int]:
    """Run a small application behind the guard; requests to /held wait for `gate`."""

    async def size(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{len(await request.body())} octets")

    async def held(_: Request) -> PlainTextResponse:
        assert gate is not None
        await gate.wait()
        return PlainTextResponse("done")

    def render(_: Scope, error: Any) -> ASGIApp:
        response: ASGIApp = error.response()
        return response

    async def fail(_: Request, error: Exception) -> Any:
        raise error

    inner = Starlette(
        routes=[
            Route("/size", size, methods=["GET", "POST"]),
            Route("/v1/send", size, methods=["POST"]),
            Route("/dashboard/login", size, methods=["POST"]),
            Route("/livez", size),
            Route("/held", held),
        ],
        exception_handlers={Exception: fail},
    )
    listener = HttpListener(RequestGuard(inner, limits, render), "127.0.0.1", 0, http=http)
    await listener.start()
    try:
        yield listener.port
    finally:
        await listener.stop()


class Client:
    """A connection, on which requests are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, octets: bytes) -> None:
        self._writer.write(octets)
        await self._writer.drain()

    async def status(self) -> bytes:
        """Return the status of the next answer; empty if the connection is closed without one."""
        async with asyncio.timeout(90):
            line = await self._reader.readline()
            return line[9:12]

    async def closed(self) -> bool:
        """Wait until the server has closed."""
        async with asyncio.timeout(90):
            while await self._reader.read(4096):
                pass
        return True

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        client.close()


async def ask(port: int, path: bytes = b"/size", headers: bytes = b"", body: bytes = b"") -> bytes:
    """Return the status of one whole request."""
    method = b"POST" if body else b"GET"
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    async with connected(port) as client:
        head = method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        await client.send(head + headers + length + b"\r\n" + body)
        return await client.status()


def slow(path: bytes, headers: bytes = b"") -> bytes:
    """Return a request whose body does not come."""
    return b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n" + headers + b"\r\nab"


async def test_slow_bodies_take_no_place_of_whole_requests():
    limits = RequestLimits(send_body=1000, requests=3, unknown_requests=3, unknown_per_address=30)
    async with listening(limits) as port, AsyncExitStack() as stack:
        for number in range(20):
            client = await stack.enter_async_context(connected(port))
            await client.send(slow(b"/dashboard/login", TOKEN if number % 2 else b""))
        assert await ask(port, headers=TOKEN) == b"200"
        assert await ask(port, b"/v1/send", TOKEN, b"whole") == b"200"
        assert await ask(port) == b"200"


async def test_strangers_in_work_take_no_place_of_customers():
    gate = asyncio.Event()
    limits = RequestLimits(send_body=1000, requests=3, unknown_requests=3, unknown_per_address=30)
    async with listening(limits, gate=gate) as port, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(port)) for _ in range(5)]
        for client in clients:
            await client.send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        refused = [await asyncio.wait_for(client.status(), 90) for client in clients[3:]]
        assert refused == [b"503", b"503"]
        assert await ask(port, headers=TOKEN) == b"200"
        assert await ask(port, headers=SESSION) == b"200"
        assert await ask(port, b"/size?access_token=pr_x") == b"200"
        assert await ask(port, b"/livez") == b"200"
        gate.set()
        assert [await client.status() for client in clients[:3]] == [b"200"] * 3
    assert network_of("2001:db8::1") == network_of("2001:db8::2:3") == "2001:db8::"


async def test_of_one_address_only_so_many_strangers_are_listened_to():
    limits = RequestLimits(send_body=1000, unknown_per_address=4)
    async with listening(limits) as port, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(port)) for _ in range(5)]
        for client in clients:
            await client.send(slow(b"/dashboard/login"))
        assert await clients[4].status() == b"429"
        assert await ask(port, headers=TOKEN) == b"200"
        await clients[0].send(b"x" * 8)
        assert await clients[0].status() == b"200"


async def test_strangers_have_little_room_and_little_time():
    limits = RequestLimits(send_body=100_000, unknown_seconds=0.3)
    async with listening(limits) as port:
        assert await ask(port, b"/dashboard/login", body=b"x" * 8192) == b"200"
        assert await ask(port, b"/dashboard/login", body=b"x" * 8193) == b"413"
        assert await ask(port, b"/v1/send", TOKEN, b"x" * 50_000) == b"200"
        async with connected(port) as client, connected(port) as customer:
            await customer.send(slow(b"/v1/send", TOKEN))
            await client.send(slow(b"/dashboard/login"))
            assert await client.status() == b"408"
            await customer.send(b"x" * 8)
            assert await customer.status() == b"200"


@pytest.mark.parametrize("http", [FewConnections, FewInAll])
@pytest.mark.parametrize("begun", [b"", b"GET /size HTTP/1.1\r\nHost: ", slow(b"/dashboard/login")])
async def test_half_requests_displace_each_other_and_no_customer(
    http: type[GuardedHttp], begun: bytes
):
    limits = RequestLimits(send_body=1000, unknown_per_address=100)
    async with listening(limits, http) as port, AsyncExitStack() as stack:
        customer = await stack.enter_async_context(connected(port))
        await customer.send(slow(b"/v1/send", TOKEN))
        strangers = []
        for _ in range(20):
            client = await stack.enter_async_context(connected(port))
            await client.send(begun)
            strangers.append(client)
        assert await ask(port, headers=TOKEN) == b"200"
        assert await strangers[0].closed()
        await customer.send(b"x" * 8)
        assert await customer.status() == b"200"


async def test_idle_connections_are_closed_without_a_word_when_room_is_needed():
    async with (
        listening(RequestLimits(send_body=1000), FewInAll) as port,
        AsyncExitStack() as stack,
    ):
        idle = []
        for _ in range(8):
            client = await stack.enter_async_context(connected(port))
            await client.send(b"GET /size HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await client.status() == b"200"
            idle.append(client)
        assert await ask(port) == b"200"
        rest = await idle[0].closed()
        assert rest


@pytest.mark.parametrize(
    ("headers", "query", "shown"),
    [
        ([], b"", False),
        ([(b"cookie", b"a=b")], b"", False),
        ([(b"cookie", b"a=b; postroad_session=c")], b"", True),
        ([(b"authorization", b"")], b"", True),
        ([], b"x=1&access_token=y", True),
    ],
)
def test_credentials_are_looked_for_where_they_may_be(
    headers: list[tuple[bytes, bytes]], query: bytes, *, shown: bool
):
    assert shows_credentials(headers, query) is shown


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("no address", "no address"),
        ("", ""),
    ],
)
def test_an_address_and_a_64_are_one_client(address: str, network: str):
    assert network_of(address) == network
