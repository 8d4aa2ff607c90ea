"""The HTTP listener on a real port."""

import asyncio
import contextlib

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from postroad_common.boundedhttp import MAX_REQUEST, BoundedHttp
from postroad_common.listener import HttpListener


async def test_it_answers_on_the_port_it_tells_and_not_after_stop():
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    listener = HttpListener(Starlette(routes=[Route("/", hello)]), "127.0.0.1", 0, grace=1.0)
    await listener.start()
    async with httpx.AsyncClient(timeout=90) as client:
        answer = await client.get(f"http://127.0.0.1:{listener.port}/")
        assert (answer.status_code, answer.text) == (200, "hello")
        assert "server" not in answer.headers
    await listener.stop()
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", listener.port)


async def test_a_port_in_use_is_an_error_that_names_it():
    first = HttpListener(Starlette(), "127.0.0.1", 0)
    await first.start()
    with pytest.raises(OSError, match=f"cannot listen on 127\\.0\\.0\\.1:{first.port}"):
        HttpListener(Starlette(), "127.0.0.1", first.port)
    await first.stop()


class HastyHttp(BoundedHttp):
    """Waits less long than a test does."""

    seconds = 0.3


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\n", b"GET / HTTP/1.1\r\nx: "],
    ids=["nothing", "half a line", "no end of the head", "half a field"],
)
async def test_a_request_that_does_not_come_to_its_end_is_not_waited_for(sent: bytes):
    listener = HttpListener(Starlette(), "127.0.0.1", 0, http=HastyHttp)
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(sent)
    async with asyncio.timeout(90):
        assert await reader.read() == b""
    writer.close()
    await listener.stop()


async def test_a_second_request_is_waited_for_no_longer_than_the_first():
    listener = HttpListener(Starlette(), "127.0.0.1", 0, http=HastyHttp)
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT")
    async with asyncio.timeout(90):
        assert (await reader.read()).startswith(b"HTTP/1.1 404")
    writer.close()
    await listener.stop()


async def test_every_listener_bounds_a_head_unless_it_has_a_protocol_of_its_own():
    listener = HttpListener(Starlette(), "127.0.0.1", 0)
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_REQUEST // 6))
    async with asyncio.timeout(90):
        # What was not read any more makes the system say it by a reset, at times.
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    await listener.stop()


class ImpatientHttp(BoundedHttp):
    """Waits less long than a test does for a client to read."""

    reading_seconds = 0.3


async def test_client_that_does_not_read_its_answer_is_cut_off():
    gone = asyncio.Event()

    async def large(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(32 << 20), "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    listener = HttpListener(large, "127.0.0.1", 0, http=ImpatientHttp)
    await listener.start()
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    async with asyncio.timeout(90):
        await gone.wait()
    writer.transport.abort()
    await listener.stop()


async def test_client_that_reads_gets_a_large_answer_whole():
    async def large(_: Request) -> Response:
        return Response(bytes(8 << 20))

    listener = HttpListener(Starlette(routes=[Route("/", large)]), "127.0.0.1", 0)
    await listener.start()
    async with httpx.AsyncClient(timeout=90) as client:
        answer = await client.get(f"http://127.0.0.1:{listener.port}/")
    assert len(answer.content) == 8 << 20
    await listener.stop()
