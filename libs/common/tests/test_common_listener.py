"""The HTTP listener on a real port."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

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
