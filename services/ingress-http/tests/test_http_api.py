"""The REST API from outside, on real servers: all but sending, which is in `test_http_send`."""

import json
import re
from typing import Any

import httpx
import pytest

from postroad_common.schemas import events
from postroad_common.schemas.events import Event, EventName
from postroad_common.schemas.lanes import LaneState
from postroad_common.schemas.submission import Submission
from postroad_common.secrets import verify_password
from postroad_testing import factories
from postroad_testing.restanswers import error_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIME = "From: a@a.example\nTo: b@b.example\nSubject: Hi\n\nhello\n"
WHOLE = {"envelope": "a@a.example", "recipient": "b@b.example", "body": MIME}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer pr_token_of_the_tests_0123456789x"},
        {"Authorization": "Bearer " + "x" * 5000},
    ],
)
async def test_without_a_valid_token_nothing_is_done(site: Any, headers: dict[str, str]):
    async with site.client() as client:
        del client.headers["Authorization"]
        answer = await client.post("/v1/send", json=WHOLE, headers=headers)
        error_of(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert await site.submissions() == []


async def test_token_may_do_what_its_scopes_say_and_hand_out_no_more(
    api: httpx.AsyncClient, site: Any
):
    made = (await api.post("/v1/tokens", json={"name": "n", "scopes": ["send", "tokens"]})).json()
    async with site.client(Authorization=f"Bearer {made['token']}") as weak:
        assert (await weak.post("/v1/send", json=WHOLE)).status_code == 200
        assert error_of(await weak.get("/v1/messages"), 403)["code"] == "insufficient_scope"
        answer = await weak.post("/v1/tokens", json={"scopes": ["*"]})
        assert error_of(answer, 403)["field"] == "scopes"
        answer = await weak.post("/v1/tokens", json={"scopes": ["messages:read"]})
        error_of(answer, 403)
        assert (await weak.post("/v1/tokens", json={"scopes": ["send"]})).status_code == 201
        listed = (await api.get("/v1/tokens")).json()["items"]
        assert made["id"] in {token["id"] for token in listed}
        assert made["token"] not in json.dumps(listed)
        assert (await api.delete(f"/v1/tokens/{made['id']}")).status_code == 204
        error_of(await weak.post("/v1/send", json=WHOLE), 401)
    error_of(await api.delete(f"/v1/tokens/{made['id']}"), 404)


async def test_read_scope_reads_and_does_not_write(api: httpx.AsyncClient, site: Any):
    made = (await api.post("/v1/tokens", json={"scopes": ["credentials:read"]})).json()
    async with site.client(Authorization=f"Bearer {made['token']}") as reader:
        assert (await reader.get("/v1/credentials")).status_code == 200
        error_of(await reader.post("/v1/credentials", json={}), 403)


async def test_login_lives_through_create_change_rotate_delete(api: httpx.AsyncClient, site: Any):
    wish = {"name": "shop", "features": {"inlinecss": True, "trackclicks": True}}
    answer = await api.post("/v1/credentials", json=wish)
    assert answer.status_code == 201
    made = answer.json()
    assert made["features"]["inlinecss"]
    assert made["features"]["clicktracking"]
    assert not made["features"]["bouncetracking"]
    assert made["forward_bounces"]
    path = f"/v1/credentials/{made['username']}"
    stored = await site.database.credentials.find(made["username"])
    assert stored is not None
    assert verify_password(stored.password_hash, made["password"])
    assert "password" not in (await api.get(path)).json()
    changed = await api.patch(path, json={"features": {"inlinecss": False}, "disabled": True})
    assert changed.json()["disabled"]
    assert not changed.json()["features"]["inlinecss"]
    assert changed.json()["features"]["clicktracking"]
    rotated = (await api.post(f"{path}/rotate")).json()
    stored = await site.database.credentials.find(made["username"])
    assert stored is not None
    assert verify_password(stored.password_hash, rotated["password"])
    assert not verify_password(stored.password_hash, made["password"])
    assert (await api.delete(path)).status_code == 204
    error_of(await api.get(path), 404)
    error_of(await api.patch(path, json={"name": "x"}), 404)
    error_of(await api.post(f"{path}/rotate"), 404)


async def test_lists_come_in_pages(api: httpx.AsyncClient):
    addresses = [f"page{number}@x.example" for number in range(5)]
    for address in addresses:
        await api.post("/v1/suppressions", json={"address": address})
    found: list[str] = []
    cursor = None
    for _ in range(10):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/suppressions", params=query)).json()
        assert len(page["items"]) <= 2
        found += [item["address"] for item in page["items"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert [address for address in found if address.startswith("page")] == addresses


async def test_suppression_is_added_and_taken_back_in_any_case(api: httpx.AsyncClient):
    answer = await api.post("/v1/suppressions", json={"address": "Ann@X.example", "reason": "r"})
    assert answer.status_code == 201
    assert (await api.get("/v1/suppressions/ANN@x.example")).json()["reason"] == "r"
    assert (await api.delete("/v1/suppressions/ann@x.example")).status_code == 204
    error_of(await api.delete("/v1/suppressions/ann@x.example"), 404)
    await api.post("/v1/suppressions", json={"address": "a/b@x.example", "reason": "a slash"})
    assert (await api.get("/v1/suppressions/a%2Fb@x.example")).json()["reason"] == "a slash"
    assert (await api.delete("/v1/suppressions/a%2Fb@x.example")).status_code == 204


async def test_webhook_secret_is_told_once_and_rotates(api: httpx.AsyncClient, site: Any):
    wish = {"url": "https://hooks.example/x", "events": ["delivered", "bounced"]}
    made = (await api.post("/v1/webhooks", json=wish)).json()
    assert made["secret"].startswith("whsec_")
    path = f"/v1/webhooks/{made['id']}"
    assert "secret" not in (await api.get(path)).json()
    rotated = (await api.post(f"{path}/rotate")).json()
    stored = await site.database.webhooks.get("main", made["id"])
    assert stored is not None
    assert stored.secrets == (rotated["secret"], made["secret"])
    changed = await api.patch(path, json={"disabled": True, "events": []})
    assert (changed.json()["disabled"], changed.json()["events"]) == (True, [])
    assert (await api.delete(path)).status_code == 204
    error_of(await api.get(path), 404)


def submission_to(*addresses: str, tags: tuple[str, ...] = ()) -> Submission:
    return factories.submission(
        *addresses,
        account="main",
        received=1_790_000_000.0,
        envelope="a@a.example",
        subject="S",
        tags=tags,
        expires=2e9,
    )


async def record(site: Any, *happened: Event) -> None:
    await site.database.events.insert(happened)
    await site.database.messages.apply(happened)


async def test_message_is_shown_with_its_timeline(api: httpx.AsyncClient, site: Any):
    submission = submission_to("life@x.example", tags=("t1", "t2"))
    recipient = submission.recipients[0]
    delivered = events.happened(
        EventName.DELIVERED, recipient.id, 1_790_000_005.0, {"reply": "250 ok"}, account="main"
    )
    await record(site, events.accepted(submission, recipient), delivered)
    found = (await api.get(f"/v1/messages/{recipient.id}")).json()
    assert found["state"] == "delivered"
    assert found["submission"] == submission.id
    assert found["recipient"] == "life@x.example"
    assert [(step["event"], step["time"]) for step in found["timeline"]] == [
        ("accepted", 1_790_000_000.0),
        ("delivered", 1_790_000_005.0),
    ]
    assert found["timeline"][1]["reply"] == "250 ok"
    for query in ("recipient=life@x.example", "tag=t2&state=delivered", "recipient=@x.example"):
        items = (await api.get(f"/v1/messages?{query}&start=1789999999&end=2027-01-01")).json()
        assert recipient.id in {item["id"] for item in items["items"]}
    for path in (
        "/v1/events/email/life@x.example",
        "/v1/events/tags/t1;t2",
    ):
        listed = (await api.get(path, params={"start": "2026-09-20"})).json()
        assert {item["event"] for item in listed} == {"attempt", "delivery"}, path
    page = (await api.get(f"/v1/events?message={recipient.id}&limit=1")).json()
    assert page["items"][0]["event"] == "delivered"
    page = (await api.get("/v1/events", params={
        "message": recipient.id, "limit": 1, "cursor": page["cursor"]})).json()  # fmt: skip
    assert page["items"][0]["event"] == "accepted"
    assert page["cursor"] is None
    assert (await api.get(f"/v1/recipient/{recipient.id}")).text == "life@x.example"
    assert error_of(await api.get(f"/v1/html/{recipient.id}"), 404)["code"] == "not_kept"


async def test_message_of_another_account_is_not_shown(api: httpx.AsyncClient, site: Any):
    submission = submission_to("other@x.example").model_copy(update={"account": "other"})
    recipient = submission.recipients[0]
    await record(site, events.accepted(submission, recipient))
    for path in ("messages", "events/messageid", "recipient", "html"):
        error_of(await api.get(f"/v1/{path}/{recipient.id}"), 404)
    assert (await api.get(f"/v1/events?message={recipient.id}")).json()["items"] == []


async def test_queues_tell_what_waits(api: httpx.AsyncClient, site: Any):
    await api.post("/v1/send", json=WHOLE)
    listed = {queue["name"]: queue for queue in (await api.get("/v1/queues")).json()["items"]}
    assert listed["transformer.accepted"]["ready"] == 1
    assert listed["transformer.accepted.dead"]["dead"]
    one = (await api.get("/v1/queues/transformer.accepted")).json()
    assert one == listed["transformer.accepted"]
    await site.submissions()


async def test_lanes_are_shown_as_the_sender_left_them(api: httpx.AsyncClient, site: Any):
    await site.database.lanes.save({"192.0.2.1|mx.example": LaneState(window=3)})
    listed = (await api.get("/v1/lanes")).json()["items"]
    assert ("mx.example", {"window": 3}) in [(lane["site"], lane["state"]) for lane in listed]
    path = "/v1/lanes/192.0.2.1%7Cmx.example"
    assert (await api.get(path)).json()["source"] == "192.0.2.1"


async def test_directive_for_a_lane_stays_until_it_is_taken_back(api: httpx.AsyncClient, site: Any):
    await site.database.lanes.save({"192.0.2.2|mx.example": LaneState(window=3)})
    path = "/v1/lanes/192.0.2.2%7Cmx.example"
    order = {"paused": True, "connections": 2, "reason": "migration"}
    assert (await api.patch(path, json=order)).json()["order"] == order
    changed = (await api.patch(path, json={"paused": False, "rate": 5, "cancel": ["pause"]})).json()
    assert changed["order"].pop("cancel").keys() == {"pause"}
    assert changed["order"] == {"connections": 2, "rate": 5, "reason": "migration"}
    assert (await api.patch(path, json={"rate": None})).json()["order"].get("rate") is None
    error_of(await api.patch(path, json={"connections": 0}), 400)
    error_of(await api.patch("/v1/lanes/x%7Cy", json=order), 404)


async def test_every_answer_has_a_request_id_and_the_rate(api: httpx.AsyncClient):
    first, second = await api.get("/v1/tokens"), await api.get("/v1/nothing")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["ratelimit-limit"] == "2000"
    assert int(first.headers["ratelimit-remaining"]) < 2000
    assert first.headers["ratelimit-policy"] == '"requests";q=2000;w=2'
    assert re.fullmatch(r'"requests";r=1\d\d\d;t=\d+', first.headers["ratelimit"])
    assert first.headers["x-content-type-options"] == "nosniff"


async def test_document_describes_every_path_with_scope_and_errors(api: httpx.AsyncClient):
    del api.headers["Authorization"]
    document = (await api.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["x-scope"], where
            assert operation["security"], where
            assert "HTTPValidationError" not in str(operation["responses"]), where
            assert "401" in operation["responses"], where
    ids = [found["operationId"] for path in document["paths"].values() for found in path.values()]
    assert len(set(ids)) == len(ids)
    assert {"send_send", "messages_search", "tokens_create"} <= set(ids)
    references = set(_references(document))
    known = {f"#/components/schemas/{name}" for name in schemas}
    known |= {f"#/components/headers/{name}" for name in document["components"]["headers"]}
    assert references <= known
    codes = schemas["ErrorCode"]["enum"]
    assert {"invalid", "unknown_field", "already_sent"} <= set(codes)
    send = document["paths"]["/v1/send"]["post"]["requestBody"]["content"]
    assert set(send) == {"application/json"}
    assert "trackclicks" in schemas["SendFields"]["properties"]["clicktracking"]["description"]


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for item in value.values() for ref in _references(item)]
    if isinstance(value, list):
        return [ref for item in value for ref in _references(item)]
    return []


async def test_docs_page_needs_nothing_from_elsewhere(api: httpx.AsyncClient):
    del api.headers["Authorization"]
    answer = await api.get("/docs")
    assert answer.status_code == 200
    assert "/v1/send" in answer.text
    assert "//" not in answer.text.replace("http://www.w3.org", "")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in ("postroad.css", "postroad.js", "icon.svg"):
        static = await api.get(f"/dashboard/static/{path}")
        assert static.status_code == 200
        assert "max-age" in static.headers["cache-control"]


async def test_health_and_metrics_answer(site: Any, api: httpx.AsyncClient):
    metrics = await api.get("/metrics")
    assert "postroad_accepted_messages_total" in metrics.text
    del api.headers["Authorization"]
    assert (await api.get("/livez")).text == "ok\n"
    assert (await api.get("/readyz")).json()["ready"]
    # A proxy on this machine makes everybody look local, whatever headers it adds or not.
    headers: dict[str, str]
    for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}):
        error_of(await api.get("/metrics", headers=headers), 401)
    async with site.client("198.51.100.7") as reader:
        del reader.headers["Authorization"]
        assert "postroad_accepted_messages_total" in (await reader.get("/metrics")).text
        error_of(await reader.get("/v1/messages"), 401)
