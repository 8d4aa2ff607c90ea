"""Large bodies: their values are counted before they become objects, and nobody waits for them."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import MAX_VALUES, parse_json

MAIL = {"envelope": "a@x.example", "from": "a@x.example", "to": "b@x.example"}
JSON = {"Content-Type": "application/json"}
LINES = "From: a@x.example\nTo: b@x.example\nSubject: x\n\n" + "line of text\n" * 1_500_000
LARGE = {
    "html": json.dumps(
        {**MAIL, "recipient": "b@x.example", "html": "<p>" + "hello, world. " * 1_400_000}
    ).encode(),
    "bare line feeds": json.dumps(
        {"envelope": "a@x.example", "recipient": "b@x.example", "mime": LINES}
    ).encode(),
    "numbers": b'{"x":[' + b"0," * 10_000_000 + b"0]}",
    "objects": b'{"metadata":[' + b'{"a":"b"},' * 2_000_000 + b"0]}",
    "recipients": json.dumps({**MAIL, "recipients": ["b@x.example"] * 900_000}).encode(),
}


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":[' + b"0," * MAX_VALUES + b"0]}",
        b'{"x":[' + b'"",' * MAX_VALUES + b"0]}",
        b'{"x":[' + b'{"a":1},' * MAX_VALUES + b"0]}",
        b'{"x":"a\\"b","y":[' + b"[]," * MAX_VALUES + b"0]}",
    ],
)
def test_json_of_too_many_values_is_refused_before_it_is_read(body: bytes):
    with pytest.raises(ApiError, match="more than 300000 values") as caught:
        parse_json(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "text", ["," * 1_000_000, '",' * 400_000, "\\," * 400_000, '\\",\\' * 200_000]
)
def test_commas_in_a_text_are_no_values(text: str):
    assert parse_json(json.dumps({"html": text}).encode()) == {"html": text}


async def _longest_wait(until: asyncio.Event) -> float:
    """Return for how long the event loop did nothing else, at most (seconds)."""
    longest = 0.0
    while not until.is_set():
        begun = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - begun)
    return longest


@pytest.mark.speed
@pytest.mark.parametrize("kind", sorted(LARGE))
async def test_a_large_body_holds_up_nobody_for_half_a_second(
    amqp_url: str, own_mongodb: str, request: pytest.FixtureRequest, kind: str
):
    here = str(Path(__file__).parent / "conftest.py")
    plugins = request.config.pluginmanager.get_plugins()
    conftest: Any = next(p for p in plugins if getattr(p, "__file__", "") == here)
    async with conftest.run_site(amqp_url, own_mongodb) as site, site.client() as client:
        done = asyncio.Event()
        watch = asyncio.create_task(_longest_wait(done))
        answer: httpx.Response = await client.post(
            "/v1/send", content=LARGE[kind], headers=JSON, timeout=90
        )
        done.set()
        longest = await watch
    assert answer.status_code in {200, 400}
    assert longest < 0.5
