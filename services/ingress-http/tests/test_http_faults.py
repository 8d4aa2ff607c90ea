"""Servers that go away, clients that are slow, and the process as a whole."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from postroad_common.listener import HttpListener
from postroad_common.mail.identifiers import derived_id
from postroad_common.tokens import Keyring
from postroad_ingress_http.dashboard.sessions import Sessions
from postroad_ingress_http.http.connection import GuardedHttp
from postroad_ingress_http.http.guard import HUNG_UP, RequestGuard, RequestLimits
from postroad_testing.forwarder import Forwarder
from postroad_testing.pace import at_most, timed
from postroad_testing.ports import free_port
from postroad_testing.process import ServiceProcess
from postroad_testing.waiting import until

WHOLE = {"envelope": "a@a.example", "recipient": "b@b.example", "body": "From: a@a.example\n\nhi\n"}
LARGE = {**WHOLE, "body": "From: a@a.example\n\n" + "hello\n" * 60_000}

OpenLine = Callable[[str], Awaitable[tuple[Forwarder, str]]]


@pytest.fixture
def run_site(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return the context manager that runs a site, out of the conftest of this folder."""
    return _conftest(request).run_site


def _conftest(request: pytest.FixtureRequest) -> Any:
    folder = Path(__file__).parent
    for plugin in request.config.pluginmanager.get_plugins():
        if getattr(plugin, "__file__", "") == str(folder / "conftest.py"):
            return plugin
    raise AssertionError("no conftest")


def session_of(site: Any) -> str:
    """Return a cookie as the log-in sets it; the database need not know it while it is away."""
    sessions = Sessions(Keyring(site.context.settings.secret), site.database.sessions, time.time)
    return f"postroad_session={sessions._sign('session', ['0' * 64, time.time() + 1000])}"


async def until_accepted(
    client: httpx.AsyncClient, fields: dict[str, str], headers: dict[str, str] | None = None
) -> httpx.Response:
    async with asyncio.timeout(90):
        while True:
            answer = await client.post("/v1/send", json=fields, headers=headers)
            if answer.status_code == 200:
                return answer
            assert answer.status_code == 503
            await asyncio.sleep(0.05)


@timed(5.0)
async def test_broker_that_goes_away_is_503_and_then_heals(
    amqp_url: str,
    mongodb_uri: str,
    open_line: OpenLine,
    run_site: Callable[..., Any],
    limit: float | None,
):
    line, url = await open_line(amqp_url)
    async with run_site(url, mongodb_uri) as site, site.client() as client:
        assert (await client.post("/v1/send", json=WHOLE)).status_code == 200
        await line.close()
        for fields in (WHOLE, LARGE):
            with at_most(limit):
                answer = await client.post("/v1/send", json=fields)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["error"]["code"] == "unavailable"
        assert (await client.get("/v1/queues")).status_code == 503
        assert (await client.get("/v1/credentials")).status_code == 200
        await line.open()
        await until_accepted(client, WHOLE)


async def test_of_a_batch_what_is_away_is_waited_for_once(
    amqp_url: str,
    mongodb_uri: str,
    open_line: OpenLine,
    run_site: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
):
    def failures() -> float:
        return REGISTRY.get_sample_value("postroad_publish_failures_total", {"reason": "away"}) or 0

    monkeypatch.setattr("postroad_ingress_http.http.patience.ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("postroad_ingress_http.http.patience.LEAST_SECONDS", 0.2)
    monkeypatch.setattr("postroad_common.broker.publisher.TRIAL_SECONDS", 0.0)
    line, url = await open_line(amqp_url)
    async with run_site(url, mongodb_uri) as site, site.client() as client:
        before = failures()
        line.freeze()
        answer = await client.post("/v1/send/batch", json={"mails": [WHOLE] * 5})
        line.thaw()
        assert [item["status"] for item in answer.json()["items"]] == [503] * 5
        assert failures() == before + 1


@timed(5.0)
async def test_database_that_goes_away_leaves_small_mail_of_known_tokens_flowing(
    amqp_url: str,
    mongodb_uri: str,
    open_line: OpenLine,
    run_site: Callable[..., Any],
    limit: float | None,
):
    line, url = await open_line(mongodb_uri)
    url = url.replace("replicaSet=", "directConnection=true&x=").split("&x=")[0]
    async with run_site(amqp_url, url) as site, site.client() as client:
        assert (await client.post("/v1/send", json=WHOLE)).status_code == 200
        await line.close()
        site.dependencies.authenticator._clock = lambda: time.monotonic() + 60
        with at_most(limit):
            answer = await client.post("/v1/send", json=WHOLE)
        assert answer.status_code == 200
        with at_most(limit):
            answers = await asyncio.gather(
                client.post("/v1/send", json=LARGE),
                client.post("/v1/send", json=WHOLE, headers={"Idempotency-Key": "k"}),
                client.get("/v1/credentials"),
                client.get("/v1/messages", headers={"Authorization": "Bearer pr_unknown_here"}),
                client.post("/dashboard/logins", headers={"Cookie": session_of(site)}),
            )
        assert [answer.status_code for answer in answers] == [503] * 5
        assert (await client.get("/dashboard/login")).status_code == 200
        await line.open()
        await until_accepted(client, LARGE)


async def test_request_that_died_between_queue_and_answer_is_repeated_with_the_same_ids(
    amqp_url: str, mongodb_uri: str, open_line: OpenLine, run_site: Callable[..., Any]
):
    line, url = await open_line(amqp_url)
    headers = {"Idempotency-Key": "k"}
    async with run_site(url, mongodb_uri) as site, site.client() as client:
        await line.close()
        assert (await client.post("/v1/send", json=WHOLE, headers=headers)).status_code == 503
        claim = await site.database.idempotency.begin("main", "k", "other", stale_seconds=60)
        await line.open()
        answer = await until_accepted(client, WHOLE, headers)
        expected = derived_id(claim.created, "rest", "main", "k", "b@b.example")
        assert answer.json() == {expected: "b@b.example"}


async def test_claim_on_a_key_is_renewed_while_its_request_is_worked_on(
    amqp_url: str,
    mongodb_uri: str,
    open_line: OpenLine,
    run_site: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("postroad_ingress_http.sending.claims.RENEW_SECONDS", 0.02)
    monkeypatch.setattr("postroad_ingress_http.http.patience.ANSWER_SECONDS", 600.0)
    line, url = await open_line(amqp_url)
    async with run_site(url, mongodb_uri) as site, site.client() as client:
        line.freeze()
        waiting = asyncio.create_task(
            client.post("/v1/send", json=WHOLE, headers={"Idempotency-Key": "renewed"})
        )
        requests = site.database.idempotency._requests
        claims: list[float] = []

        async def is_renewed() -> bool:
            found = await requests.find_one({"_id": "main/renewed"})
            claims.extend([found["claimed"]] if found else [])
            return bool(claims) and 0.0 < claims[0] < claims[-1]

        await until(is_renewed)
        line.thaw()
        assert (await waiting).status_code == 200


@pytest.fixture
async def listener() -> AsyncIterator[HttpListener]:
    """Run a small application behind the guard, on a real socket, with short patience."""

    async def size(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    async def fail(_: Request) -> PlainTextResponse:
        raise RuntimeError("a fault of ours: secret-detail")

    def render(_: Scope, error: Any) -> ASGIApp:
        response: ASGIApp = error.response()
        return response

    inner = Starlette(
        routes=[
            Route("/size", size, methods=["POST"]),
            Route("/v1/send", size, methods=["POST"]),
            Route("/fail", fail),
        ],
        exception_handlers={Exception: _raise},
    )
    limits = RequestLimits(
        send_body=100_000, other_body=1000, bodies_in_memory=150_000, idle_seconds=0.3
    )
    running = HttpListener(RequestGuard(inner, limits, render), "127.0.0.1", 0, http=GuardedHttp)
    await running.start()
    yield running
    await running.stop()


async def _raise(_: Request, error: Exception) -> Any:
    raise error


async def talk(port: int, *pieces: bytes, close: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    if close:
        writer.write_eof()
    async with asyncio.timeout(90):
        answer = await reader.read()
    writer.close()
    return answer


async def test_body_that_grows_beyond_the_limit_is_cut_while_it_is_read(listener: HttpListener):
    head = b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"200\r\n" + b"x" * 512 + b"\r\n"
    answer = await talk(listener.port, head, chunk, chunk)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in answer


async def test_body_announced_too_large_is_refused_before_it_is_sent(listener: HttpListener):
    head = b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    assert (await talk(listener.port, head)).startswith(b"HTTP/1.1 413")


async def test_body_that_does_not_come_is_given_up(listener: HttpListener):
    head = b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
    answer = await talk(listener.port, head)
    assert answer.startswith(b"HTTP/1.1 408")


async def test_bodies_beyond_the_memory_for_all_are_503(listener: HttpListener):
    head = b"POST /v1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
    head += b"Content-Length: 99000\r\n\r\n"
    first = asyncio.create_task(talk(listener.port, head + b"x" * 98_000))
    second = asyncio.create_task(talk(listener.port, head + b"x" * 98_000))
    answers = sorted(answer[9:12] for answer in await asyncio.gather(first, second))
    assert answers == [b"408", b"503"]
    good = await talk(listener.port, head.replace(b"Host", b"Connection: close\r\nHost")
                      + b"x" * 99_000)  # fmt: skip
    assert good.startswith(b"HTTP/1.1 200")
    assert good.endswith(b"99000")


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"EHLO x\r\n"],
)
async def test_what_is_no_http_is_refused_in_the_usual_shape(
    listener: HttpListener, garbage: bytes
):
    answer = await talk(listener.port, garbage, close=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert answer == b"" or re.search(rb"\r\nX-Request-Id: \w{20,}\r\n", answer)
    assert b"Traceback" not in answer


@pytest.mark.parametrize("line", [b"X-A: " + b"x" * 8000 + b"\r\n", b"x" * 8000])
async def test_head_without_end_is_refused(listener: HttpListener, line: bytes):
    answer = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-B: ")
    sent = 0
    async with asyncio.timeout(90):
        while not writer.transport.is_closing() and sent < 10_000_000 and not reader.at_eof():
            writer.write(line)
            sent += len(line)
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b"HTTP/1.1 431"
    writer.close()
    assert sent < 5_000_000
    assert answer.startswith(b"HTTP/1.1 431") or answer == b""


IN_CHUNKS = b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a:\r\n" * 40_000 + b"\r\n"),
        (IN_CHUNKS + b"0\r\n", b"a:\r\n" * 40_000 + b"\r\n"),
        (IN_CHUNKS + b"0\r\nX: ", b"x" * 1_000_000),
        (IN_CHUNKS + b"1;", b"x" * 1_000_000),
    ],
    ids=["whole head", "trailers", "one trailer", "chunk extension"],
)
async def test_what_frames_a_request_is_bounded_as_its_head_is(
    listener: HttpListener, begin: bytes, piece: bytes
):
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(begin + piece)
    try:
        async with asyncio.timeout(90):
            answer = await reader.read(12)
    except ConnectionError:  # closed with octets unread, which may cost the answer
        answer = b""
    writer.transport.abort()
    assert answer in {b"HTTP/1.1 431", b""}


async def test_requests_far_ahead_of_their_answers_close_the_connection(listener: HttpListener):
    few = b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" * 50
    end = b"POST /size HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert (await talk(listener.port, few + end)).count(b"HTTP/1.1 200") == 51
    assert (await talk(listener.port, few * 3 + end)).count(b"HTTP/1.1 200") < 100


async def test_client_that_hangs_up_is_no_fault_of_ours(listener: HttpListener):
    def answered(status: int) -> float:
        labels = {"area": "send", "status": str(status)}
        return REGISTRY.get_sample_value("postroad_ingress_http_requests_total", labels) or 0.0

    hung_up, faults = answered(HUNG_UP), answered(500)
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    await writer.drain()
    writer.transport.abort()
    await until(lambda: answered(HUNG_UP) > hung_up)
    assert answered(500) == faults


async def test_fault_of_ours_is_500_without_details(listener: HttpListener):
    async with httpx.AsyncClient(timeout=90) as client:
        answer = await client.get(f"http://127.0.0.1:{listener.port}/fail")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret-detail" not in answer.text


async def test_process_gets_ready_creates_the_first_account_and_drains(
    amqp_url: str, mongodb_uri: str, tmp_path: Path
):
    port = free_port()
    running = ServiceProcess(
        "ingress-http",
        tmp_path / "log",
        AMQP_URL=amqp_url,
        MONGODB_URI=mongodb_uri,
        HTTP_PORT=str(port),
        ADMIN_EMAIL="me@x.example",
        ADMIN_PASSWORD="my password",
        ADMIN_TOKEN="pr_first_token_012345",
    )
    with running.start():
        await running.logged("started")
        await until(running.is_ready)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": "Bearer pr_first_token_012345"},
            timeout=90,
        ) as client:
            assert (await client.post("/v1/send", json=WHOLE)).status_code == 200
        assert await running.end() == 0
    for secret in ("Traceback", "pr_first_token", "my password"):
        assert secret not in running.text()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ('{"http":{"reqests":1}}', "http.reqests: is not known; did you mean requests?"),
        ('{"http":{"rate":"fast"}}', "http.rate"),
        ('{"rate":5}', 'rate belongs into "http"'),
        ('{"web":{}}', "web is not a section"),
        ("[]", "must be an object"),
        ("{", "is not JSON"),
    ],
)
def test_wrong_limits_are_refused_with_what_is_wrong(
    request: pytest.FixtureRequest, value: str, complaint: str
):
    with pytest.raises(ValidationError, match=re.escape(complaint)):
        _conftest(request).settings_for("amqp://x/", "mongodb://x/", limits=value)


def test_limits_are_read_from_their_section_only(request: pytest.FixtureRequest):
    value = '{"http":{"rate":7},"smtp":{"connections":"for others to check"}}'
    settings = _conftest(request).settings_for("amqp://x/", "mongodb://x/", limits=value)
    assert (settings.limits.http.rate, settings.limits.http.requests) == (7, 1000)


async def test_process_with_wrong_settings_says_which_and_ends(tmp_path: Path):
    running = ServiceProcess(
        "ingress-http",
        tmp_path / "log",
        AMQP_URL="amqp://x/",
        MONGODB_URI="mongodb://x/",
        HTTP_PORT="many",
        ADMIN_PASSWORD="short",
        LIMITS="{",
        HTTP_URL="ftp://x",
    )
    with running.start():
        assert await running.ended() == 2
    text = running.text()
    assert "Traceback" not in text
    for name in ("HTTP_PORT", "ADMIN_PASSWORD", "LIMITS", "HTTP_URL"):
        assert f"POSTROAD_{name}" in text, text
    assert "short\n" not in text
