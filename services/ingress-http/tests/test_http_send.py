"""`POST /v1/send` from outside, on real servers: what is accepted, once, and what is refused."""

import asyncio
import base64
from typing import Any

import httpx
import pytest

from postroad_testing.restanswers import error_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIME = "From: a@a.example\nTo: b@b.example\nSubject: Hi\n\nhello\n"
WHOLE = {"envelope": "a@a.example", "recipient": "b@b.example", "body": MIME}


async def test_message_is_on_the_queue_when_200_is_answered(api: httpx.AsyncClient, site: Any):
    answer = await api.post("/v1/send", json=WHOLE)
    assert answer.status_code == 200
    submission, body = await site.last()
    assert answer.json() == {submission.recipients[0].id: "b@b.example"}
    assert body == MIME.replace("\n", "\r\n").encode()
    assert (submission.source, submission.account) == ("rest", "main")
    assert submission.body is None


async def test_form_and_query_token_are_as_good_as_json_and_bearer(site: Any):
    await site.submissions()
    async with site.client() as client:
        del client.headers["Authorization"]
        fields = {**WHOLE, "inlinizecss": "true", "clicktracking": "false"}
        answer = await client.post(f"/v1/send?access_token={site.token}", data=fields)
        assert answer.status_code == 200, answer.text
        answer = await client.post(
            f"/v1/send?access_token={site.token}", files={"body": ("m.eml", MIME)}, data={
                "envelope": "a@a.example", "recipient": "b@b.example"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
    (form, _), (multipart, body) = await site.submissions()
    assert form.features.inlinecss
    assert not form.features.clicktracking
    assert multipart.features.clicktracking
    assert body == MIME.replace("\n", "\r\n").encode()


async def test_several_recipients_get_one_id_each(api: httpx.AsyncClient, site: Any):
    fields = {"from": "A <a@a.example>", "text": "x", "recipients": ["b@b.example", "c@c.example"]}
    answer = await api.post("/v1/send", json=fields)
    submission, _ = await site.last()
    assert answer.json() == {r.id: r.address for r in submission.recipients}
    assert list(answer.json().values()) == ["b@b.example", "c@c.example"]


async def test_large_body_travels_by_reference(api: httpx.AsyncClient, site: Any):
    attachment = base64.b64encode(bytes(400_000)).decode()
    fields = {
        "recipient": "b@b.example", "from": "a@a.example", "text": "x",
        "attachments": [{"data": attachment, "name": "big.bin"}],
    }  # fmt: skip
    assert (await api.post("/v1/send", json=fields)).status_code == 200
    submission, body = await site.last()
    assert body == b""
    assert submission.body is not None
    stored = await site.database.bodies.get(submission.body)
    assert len(stored) == submission.size > 400_000


async def test_message_above_the_limit_is_413_and_not_accepted(api: httpx.AsyncClient, site: Any):
    answer = await api.post("/v1/send", json={**WHOLE, "body": MIME + "x\n" * 600_000})
    error_of(answer, 413)
    error_of(await api.post("/v1/send", content=b"x" * 4_500_000), 413)
    assert await site.submissions() == []


async def test_body_above_the_limit_is_refused_on_other_paths(api: httpx.AsyncClient):
    answer = await api.post("/v1/tokens", content=b"x" * 1_100_000)
    error_of(answer, 413)


async def test_same_idempotency_key_sends_once(api: httpx.AsyncClient, site: Any):
    headers = {"Idempotency-Key": "order-1"}
    first = await api.post("/v1/send", json=WHOLE, headers=headers)
    second = await api.post("/v1/send", json=WHOLE, headers=headers)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len(await site.submissions()) == 1
    other = await api.post("/v1/send", json={**WHOLE, "trackclicks": False}, headers=headers)
    assert error_of(other, 409)["field"] == "Idempotency-Key"


async def test_same_idempotency_key_at_once_sends_once(api: httpx.AsyncClient, site: Any):
    answers = await asyncio.gather(
        *(
            api.post("/v1/send", json=WHOLE, headers={"Idempotency-Key": "order-2"})
            for _ in range(8)
        )
    )
    good = [answer for answer in answers if answer.status_code == 200]
    assert good
    assert len({answer.text for answer in good}) == 1
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len(await site.submissions()) == 1


async def test_refused_request_leaves_its_idempotency_key_free(api: httpx.AsyncClient, site: Any):
    headers = {"Idempotency-Key": "order-3"}
    bad = await api.post("/v1/send", json={**WHOLE, "recipient": "x"}, headers=headers)
    error_of(bad, 400)
    good = await api.post("/v1/send", json=WHOLE, headers=headers)
    assert good.status_code == 200
    assert len(await site.submissions()) == 1


JSON = {"content-type": "application/json"}
ROWS: list[tuple[str, str, str, dict[str, Any], int, str | None]] = [
    ("broken JSON", "POST", "/v1/send", {"content": b"{", "headers": JSON}, 400, None),
    ("JSON list", "POST", "/v1/send", {"content": b"[1]", "headers": JSON}, 400, None),
    (
        "JSON, not UTF-8",
        "POST",
        "/v1/send",
        {"content": b'{"a":"\xff"}', "headers": JSON},
        400,
        None,
    ),
    (
        "text",
        "POST",
        "/v1/send",
        {"content": b"x", "headers": {"content-type": "text/plain"}},
        415,
        None,
    ),
    ("no type", "POST", "/v1/send", {"content": b"x"}, 415, None),
    ("empty", "POST", "/v1/send", {}, 400, "recipient"),
    (
        "wrong type",
        "POST",
        "/v1/send",
        {"json": {**WHOLE, "recipient": 5}},
        400,
        "recipient",
    ),
    (
        "nested wrong type",
        "POST",
        "/v1/send",
        {"json": {**WHOLE, "dsn": {"notify": 5}}},
        400,
        "dsn.notify",
    ),
    (
        "injection",
        "POST",
        "/v1/send",
        {"json": {**WHOLE, "envelope": "a@a.example>\r\nRSET"}},
        400,
        "envelope",
    ),
    (
        "form that is not UTF-8",
        "POST",
        "/v1/send",
        {
            "content": b"recipient=%FF",
            "headers": {"content-type": "application/x-www-form-urlencoded"},
        },
        400,
        "recipient",
    ),
    (
        "bad key",
        "POST",
        "/v1/send",
        {"json": WHOLE, "headers": {"Idempotency-Key": "a b"}},
        400,
        "Idempotency-Key",
    ),
    ("wrong method", "PUT", "/v1/send", {}, 405, None),
    ("unknown path", "GET", "/v1/nothing", {}, 404, None),
    ("unknown page", "GET", "/nothing", {}, 404, None),
    ("unknown message", "GET", "/v1/messages/1k7ttvriddvj247h61itf", {}, 404, None),
    ("no message id", "GET", "/v1/messages/..%2f..", {}, 404, None),
    ("unknown state", "GET", "/v1/messages?state=lost", {}, 400, "state"),
    ("bad limit", "GET", "/v1/messages?limit=many", {}, 400, "limit"),
    ("limit too high", "GET", "/v1/messages?limit=100000", {}, 400, "limit"),
    ("bad cursor", "GET", "/v1/messages?cursor=x", {}, 400, "cursor"),
    ("cursor of another list", "GET", "/v1/events?cursor=WyJhIl0", {}, 400, "cursor"),
    ("bad time", "GET", "/v1/messages?start=yesterday", {}, 400, "start"),
    ("bad date", "GET", "/v1/messages?start=2026-02-31", {}, 400, "start"),
    ("unknown event", "GET", "/v1/events?event=lost", {}, 400, "event"),
    ("unknown login", "GET", "/v1/credentials/nobody", {}, 404, None),
    (
        "unknown feature",
        "POST",
        "/v1/credentials",
        {"json": {"features": {"x": True}}},
        400,
        "features.x",
    ),
    (
        "feature no switch",
        "POST",
        "/v1/credentials",
        {"json": {"features": {"inlinecss": "so"}}},
        400,
        "features.inlinecss",
    ),
    ("unknown field", "POST", "/v1/credentials", {"json": {"password": "x"}}, 400, "password"),
    (
        "network no network",
        "POST",
        "/v1/credentials",
        {"json": {"allowed_networks": ["x"]}},
        400,
        "allowed_networks",
    ),
    ("unknown scope", "POST", "/v1/tokens", {"json": {"scopes": ["root"]}}, 400, "scopes"),
    ("no scope", "POST", "/v1/tokens", {"json": {"scopes": []}}, 400, "scopes"),
    ("suppress no address", "POST", "/v1/suppressions", {"json": {"address": "x"}}, 400, "address"),
    ("suppress nothing", "POST", "/v1/suppressions", {"json": {}}, 400, "address"),
    (
        "suppress till past",
        "POST",
        "/v1/suppressions",
        {"json": {"address": "a@a.example", "expires": "2020-01-01"}},
        400,
        "expires",
    ),
    (
        "webhook to a file",
        "POST",
        "/v1/webhooks",
        {"json": {"url": "file:///etc/passwd"}},
        400,
        "url",
    ),
    (
        "webhook with password",
        "POST",
        "/v1/webhooks",
        {"json": {"url": "https://a:b@x.example/"}},
        400,
        "url",
    ),
    ("webhook no URL", "POST", "/v1/webhooks", {"json": {"url": "https://[x"}}, 400, "url"),
    (
        "webhook event",
        "POST",
        "/v1/webhooks",
        {"json": {"url": "https://x.example/", "events": ["x"]}},
        400,
        "events",
    ),
    (
        "domain no domain",
        "POST",
        "/v1/domains",
        {"json": {"domain": "not a domain"}},
        400,
        "domain",
    ),
    ("domain too short", "POST", "/v1/domains", {"json": {"domain": "localhost"}}, 400, "domain"),
    ("unknown domain", "POST", "/v1/domains/x.example/verify", {}, 404, None),
    ("unknown lane", "GET", "/v1/lanes/x%7Cy", {}, 404, None),
    ("unknown queue", "GET", "/v1/queues/x", {}, 404, None),
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
async def test_bad_input_is_refused_with_the_field(
    api: httpx.AsyncClient, row: tuple[str, str, str, dict[str, Any], int, str | None]
):
    _, method, path, request, status, field = row
    error = error_of(await api.request(method, path, **request), status)
    assert error["field"] == field, error
