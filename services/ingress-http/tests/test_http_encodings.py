"""Compressed bodies and answers, and what a client says it takes."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from postroad_common.listener import HttpListener
from postroad_ingress_http.http.compression import STEP
from postroad_ingress_http.http.connection import GuardedHttp

pytestmark = pytest.mark.asyncio(loop_scope="module")
GZIP = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
MIME = "From: a@a.example\nSubject: x\n\n"


async def test_gzip_body_is_inflated(site: Any, api: httpx.AsyncClient):
    mail = {"recipient": "x@a.example", "mime": MIME + "hello\n" * 40_000}
    body = gzip.compress(json.dumps(mail).encode())
    assert len(body) < STEP
    answer = await api.post("/v1/send", content=body, headers=GZIP)
    assert answer.status_code == 200, answer.text
    submission, _ = await site.last()
    assert submission.size > 40_000 * 7
    small = await api.post("/v1/credentials", content=gzip.compress(b"{}"), headers=GZIP)
    assert small.status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        gzip.compress(b'{"name":"cut"}')[:-9],
        gzip.compress(b"{}") + b"more",
        gzip.compress(b"{}") * 2,
        zlib.compress(b"{}"),
        b"\x1f\x8b",
    ],
    ids=["plain", "cut off", "with more", "twice", "zlib", "only its first octets"],
)
async def test_what_is_no_whole_gzip_is_refused(api: httpx.AsyncClient, body: bytes):
    answer = await api.post("/v1/credentials", content=body, headers=GZIP)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_encoding"


async def test_body_that_grows_too_large_is_refused_in_between(api: httpx.AsyncClient):
    bomb = gzip.compress(b" " * (64 << 20))
    assert len(bomb) < 100_000
    answer = await api.post("/v1/credentials", content=bomb, headers=GZIP)
    assert answer.status_code == 413
    inner = gzip.compress(bomb)
    assert (await api.post("/v1/credentials", content=inner, headers=GZIP)).status_code == 400


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
async def test_other_encodings_are_not_taken(api: httpx.AsyncClient, encoding: str):
    headers = {**GZIP, "Content-Encoding": encoding}
    answer = await api.post("/v1/credentials", content=b"{}", headers=headers)
    assert answer.status_code == 415


async def test_answers_of_the_api_are_compressed_for_those_who_take_it(api: httpx.AsyncClient):
    for accept, encoding in (("gzip", "gzip"), ("identity", None)):
        answer = await api.get("/openapi.json", headers={"Accept-Encoding": accept})
        assert answer.headers.get("content-encoding") == encoding
        assert answer.json()["info"]["title"] == "Postroad"
        assert "Accept-Encoding" in answer.headers["vary"]


async def test_pages_with_secrets_are_not_compressed(browser: httpx.AsyncClient):
    answer = await browser.get("/dashboard/audit", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert len(answer.content) > 1000


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html", 406),
        ("application/json;q=0, text/html", 406),
        ("image/png, application/xml", 406),
        ("application/json", 200),
        ("application/*;q=0.5", 200),
        ("text/html, */*;q=0.1", 200),
        ("APPLICATION/JSON; charset=utf-8", 200),
        ("", 200),
    ],
)
async def test_client_that_does_not_take_json_is_told(
    api: httpx.AsyncClient, accept: str, status: int
):
    answer = await api.get("/v1/credentials", headers={"Accept": accept})
    assert answer.status_code == status
    if status == 406:
        assert answer.json()["error"]["code"] == "not_acceptable"


async def test_text_is_acceptable_where_the_answer_is_text(api: httpx.AsyncClient):
    await api.post("/v1/domains", json={"domain": "accept.example"})
    path = "/v1/domains/accept.example/zone"
    assert (await api.get(path, headers={"Accept": "text/plain"})).status_code == 200
    assert (await api.get(path, headers={"Accept": "application/json"})).status_code == 406
    export = await api.get("/v1/suppressions/export", headers={"Accept": "text/csv"})
    assert export.status_code == 200


@pytest.mark.parametrize(
    ("trusted", "address"),
    [(None, "127.0.0.1"), ("192.0.2.0/24", "127.0.0.1"), ("127.0.0.0/8", "198.51.100.7")],
)
async def test_client_is_who_a_trusted_proxy_says(
    site: Any, api: httpx.AsyncClient, trusted: str | None, address: str
):
    listener = HttpListener(
        site.app, "127.0.0.1", 0, forwarded=trusted, grace=1.0, http=GuardedHttp
    )
    await listener.start()
    try:
        headers = {"Authorization": api.headers["Authorization"]}
        # What the client itself claims is on the left; the proxy adds whom it saw.
        headers["X-Forwarded-For"] = "203.0.113.66, 198.51.100.7"
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}") as client:
            async with asyncio.timeout(30):
                made = await client.post("/v1/credentials", json={"name": "p"}, headers=headers)
        assert made.status_code == 201
        username = made.json()["username"]
        (entry,) = await site.database.audit.list("main", target=username)
        assert entry.actor.address == address
    finally:
        await listener.stop()
