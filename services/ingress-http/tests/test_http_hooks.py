"""Webhooks over REST and in the dashboard: what the owner sees and can do; feedback posts."""

import re
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from postroad_common.schemas.events import happened
from postroad_common.store.deliveries import DeliveryState, Result, Try
from postroad_ingress_http.hooks.checks import HOOK_EVENTS, private_host
from postroad_ingress_http.hooks.samples import FACTS, sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "https://hooks.example/mail"


async def made(api: httpx.AsyncClient, **wish: Any) -> dict[str, Any]:
    answer = await api.post("/v1/webhooks", json={"url": URL, **wish})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_batching_is_an_option_of_each_webhook(api: httpx.AsyncClient, site: Any):
    plain = await made(api)
    assert plain["batch"] == {"size": 1, "seconds": 0.0}
    batched = await made(api, batch={"size": 100, "seconds": 2})
    assert batched["batch"] == {"size": 100, "seconds": 2.0}
    path = f"/v1/webhooks/{plain['id']}"
    changed = (await api.patch(path, json={"batch": {"size": 7}})).json()
    assert changed["batch"] == {"size": 7, "seconds": 5.0}
    stored = await site.database.webhooks.find(plain["id"])
    assert (stored.batch_size, stored.batch_seconds) == (7, 5.0)
    for wrong in ({"size": 0}, {"size": 1001}, {"size": 2, "seconds": -1}, {"size": 2, "x": 1}):
        answer = await api.patch(path, json={"batch": wrong})
        assert answer.status_code == 400
        assert answer.json()["error"]["field"].startswith("batch.")


async def test_rotation_has_two_secrets_until_it_is_ended(api: httpx.AsyncClient, site: Any):
    hook = await made(api)
    path = f"/v1/webhooks/{hook['id']}"
    rotated = (await api.post(f"{path}/rotate")).json()
    assert rotated["rotating"]
    stored = await site.database.webhooks.find(hook["id"])
    assert stored.secrets == (rotated["secret"], hook["secret"])
    ended = (await api.delete(f"{path}/rotation")).json()
    assert not ended["rotating"]
    stored = await site.database.webhooks.find(hook["id"])
    assert stored.secrets == (rotated["secret"],)


async def test_test_call_and_its_outcome_are_in_the_delivery_log(api: httpx.AsyncClient, site: Any):
    hook = await made(api)
    path = f"/v1/webhooks/{hook['id']}"
    answer = await api.post(f"{path}/test")
    assert answer.status_code == 202
    call = answer.json()["delivery"]
    (listed,) = (await api.get(f"{path}/deliveries")).json()["items"]
    assert (listed["id"], listed["event"], listed["state"], listed["tries"]) == (
        call,
        "test",
        "pending",
        0,
    )
    attempt = Try(time.time(), 503, "", 0.01, "not now")
    await site.database.outbox.note([Result(call, attempt, DeliveryState.PENDING, 2e9)])
    one = (await api.get(f"{path}/deliveries/{call}")).json()
    assert (one["tries"], one["due"], one["log"][0]["status"]) == (1, 2e9, 503)
    assert one["log"][0]["answer"] == "not now"
    assert '"type":"test"' in one["body"]
    assert (await api.get(f"{path}/deliveries?state=delivered")).json()["items"] == []
    assert (await api.get(f"{path}/deliveries?state=odd")).status_code == 400
    assert (await api.get(f"{path}/deliveries/{hook['id']}")).status_code == 404


async def test_delivery_log_comes_in_pages_and_begins_with_what_was_posted_again(
    api: httpx.AsyncClient, site: Any
):
    hook = (await made(api))["id"]
    path = f"/v1/webhooks/{hook}"
    calls = [(await api.post(f"{path}/test")).json()["delivery"] for _ in range(5)]
    first = await site.database.outbox.get("main", hook, calls[0])
    await site.database.outbox.add_again([replace(first, since=first.since + 90)])
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await api.get(f"{path}/deliveries?limit=2{cursor}")).json()
        seen += [item["id"] for item in page["items"]]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert seen == [calls[0], *sorted(calls[1:], reverse=True)]


async def test_verification_asks_with_a_challenge_and_another_url_needs_a_new_one(
    api: httpx.AsyncClient, site: Any
):
    hook = await made(api)
    path = f"/v1/webhooks/{hook['id']}"
    call = (await api.post(f"{path}/verify")).json()["delivery"]
    body = (await api.get(f"{path}/deliveries/{call}")).json()["body"]
    assert re.search(r'"challenge":"[\w-]{32}"', body)
    await site.database.webhooks.update("main", hook["id"], {"verified": 1_790_000_000.0})
    assert (await api.get(path)).json()["verified"] == 1_790_000_000.0
    assert (await api.patch(path, json={"url": URL})).json()["verified"] is not None
    assert (await api.patch(path, json={"url": f"{URL}/2"})).json()["verified"] is None


async def test_replay_of_a_range_is_ordered_and_bounded(api: httpx.AsyncClient):
    hook = await made(api)
    path = f"/v1/webhooks/{hook['id']}"
    answer = await api.post(f"{path}/replay", json={"start": "2026-11-01", "end": "1795000000"})
    assert answer.status_code == 202
    order = answer.json()
    assert (order["end"], order["queued"], order["finished"]) == (1_795_000_000.0, 0, None)
    (listed,) = (await api.get(f"{path}/replays")).json()["items"]
    assert listed == order
    for wrong in ({}, {"start": "tomorrow"}, {"start": "2026-11-02", "end": "2026-11-01"}):
        assert (await api.post(f"{path}/replay", json=wrong)).status_code == 400
    for _ in range(9):
        assert (await api.post(f"{path}/replay", json={"start": "1"})).status_code == 202
    assert (await api.post(f"{path}/replay", json={"start": "1"})).status_code == 409
    await api.patch(path, json={"disabled": True})
    for action in ("replay", "test", "verify"):
        answer = await api.post(f"{path}/{action}", json={"start": "1"})
        assert answer.status_code == 409, answer.text


async def test_started_again_the_end_point_rests_no_longer(api: httpx.AsyncClient, site: Any):
    hook = await made(api)
    path = f"/v1/webhooks/{hook['id']}"
    await api.post(f"{path}/test")
    turn = await site.database.outbox.turns.take("me", time.time(), 60)
    while turn is not None and turn.webhook != hook["id"]:
        turn = await site.database.outbox.turns.take("me", time.time(), 60)
    assert turn is not None
    await site.database.outbox.turns.end(turn, hold=2e9, failures=9, failing_since=1.0)
    await site.database.webhooks.update("main", hook["id"], {"disabled": True, "reason": "dead"})
    changed = (await api.patch(path, json={"disabled": False})).json()
    assert (changed["disabled"], changed["reason"]) == (False, None)
    again = await site.database.outbox.turns.take("me", time.time(), 60)
    assert again is not None
    assert (again.webhook, again.failures, again.failing_since) == (hook["id"], 0, None)


async def test_failing_end_point_is_called_now_and_its_failures_stand(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    hook, outbox = await made(api), site.database.outbox
    page = f"/dashboard/webhooks/{hook['id']}"
    call = (await api.post(f"/v1/webhooks/{hook['id']}/test")).json()["delivery"]
    turn = await outbox.turns.take("me", time.time(), 60)
    while turn is not None and turn.webhook != hook["id"]:
        turn = await outbox.turns.take("me", time.time(), 60)
    attempt = Try(time.time(), 503, "", 0.01)
    await outbox.note([Result(call, attempt, DeliveryState.PENDING, 2e9)])
    await outbox.turns.end(turn, hold=2e9, failures=9, failing_since=1.0)
    assert "Call now" in (await browser.get(page)).text
    assert await outbox.due(hook["id"], time.time(), 1) == []
    assert (await send(browser, page, "wake")).status_code == 303
    assert [one.id for one in await outbox.due(hook["id"], time.time(), 1)] == [call]
    failing = (await outbox.turns.failing([hook["id"]]))[hook["id"]]
    assert (failing.failures, failing.since) == (9, 1.0)
    assert failing.next_call <= time.time()


async def test_webhooks_of_others_are_not_seen(api: httpx.AsyncClient, site: Any):
    other = await site.database.webhooks.create(
        account="other", url=URL, events=(), secret="whsec_x"
    )
    path = f"/v1/webhooks/{other.id}"
    for method, rest in (
        ("GET", ""),
        ("GET", "/deliveries"),
        ("GET", "/replays"),
        ("POST", "/test"),
        ("POST", "/verify"),
        ("POST", "/rotate"),
        ("DELETE", "/rotation"),
    ):
        assert (await api.request(method, path + rest)).status_code == 404, rest
    answer = await api.post(f"{path}/replay", json={"start": "1"})
    assert answer.status_code == 404


async def send(browser: httpx.AsyncClient, page: str, action: str, **data: str) -> httpx.Response:
    found = re.search(r'name="csrf" value="(\w+)"', (await browser.get(page)).text)
    assert found
    return await browser.post(f"{page}/{action}", data={"csrf": found[1], **data})


async def test_dashboard_tells_of_a_disabled_webhook_and_starts_it_again(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    hook = await made(api, url="https://dead.example/hook")
    assert "A webhook is disabled" not in (await browser.get("/dashboard")).text
    reason = "no call has succeeded for three days; the last one: status 503"
    await site.database.webhooks.update("main", hook["id"], {"disabled": True, "reason": reason})
    overview = (await browser.get("/dashboard")).text
    assert "A webhook is disabled" in overview
    assert "https://dead.example/hook" in overview
    assert reason in overview
    page = f"/dashboard/webhooks/{hook['id']}"
    assert reason in (await browser.get(page)).text
    assert (await send(browser, page, "switch", wish="start")).status_code == 303
    assert "A webhook is disabled" not in (await browser.get("/dashboard")).text
    # What its owner has switched off is no news to them.
    await send(browser, page, "switch", wish="disable")
    assert "A webhook is disabled" not in (await browser.get("/dashboard")).text


async def test_dashboard_page_of_a_webhook_does_what_the_api_does(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    hook = await made(api)
    page = f"/dashboard/webhooks/{hook['id']}"
    assert (await send(browser, page, "call")).status_code == 303
    assert (await send(browser, page, "call", kind="verification")).status_code == 303
    assert (await send(browser, page, "batching", size="50", seconds="1.5")).status_code == 303
    assert (await send(browser, page, "batching", size="0", seconds="1")).status_code == 400
    assert (await send(browser, page, "replay", start="2026-11-01")).status_code == 303
    assert (await send(browser, page, "rotate")).status_code == 303
    assert "whsec_" in (await browser.get("/dashboard/secret")).text
    assert "whsec_" not in (await browser.get("/dashboard/secret")).text
    stored = await site.database.webhooks.find(hook["id"])
    assert len(stored.secrets) == 2
    assert (stored.batch_size, stored.batch_seconds) == (50, 1.5)
    text = (await browser.get(page)).text
    assert "verification" in text
    assert "in work" in text
    assert hook["secret"] not in text
    await send(browser, page, "end-rotation")
    assert len((await site.database.webhooks.find(hook["id"])).secrets) == 1
    assert (await send(browser, page, "delete")).status_code == 303
    assert (await browser.get(page)).status_code == 404


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://hooks.example/mail", ""),
        ("http://8.8.8.8/mail", ""),
        ("http://127.0.0.1:81/mail", "127.0.0.1"),
        ("http://[::1]/mail", "::1"),
        ("http://10.1.2.3/mail", "10.1.2.3"),
        ("http://[64:ff9b::a01:203]/mail", "64:ff9b::a01:203"),  # leads to 10.1.2.3
        ("http://localhost/mail", "localhost"),
    ],
)
async def test_private_address_is_not_taken_without_a_word(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, url: str, host: str
):
    assert private_host(url) == host
    hook = await made(api, url=url)
    page = (await browser.get(f"/dashboard/webhooks/{hook['id']}")).text
    assert ("is no public address" in page) == bool(host)
    assert 'name="seconds" min="0" max="300" step="any" value="0"' in page


async def test_delivery_is_opened_and_posted_again(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    hook = await made(api)
    page = f"/dashboard/webhooks/{hook['id']}"
    sent = await send(browser, page, "call", kind="bounced")
    place = sent.headers["location"]
    assert place.startswith(f"{page}/deliveries/")
    delivery = place.rpartition("/")[2]
    shown = (await browser.get(place)).text
    assert "A call with “bounced” is on its way." in shown
    for text in ("&#34;type&#34;: &#34;bounced&#34;", "&#34;test&#34;: true", 'data-live="3"'):
        assert text in shown, text
    assert "on its way" not in (await browser.get(place)).text
    attempt = Try(time.time(), 503, "", 0.25, "<i>busy</i>")
    await site.database.outbox.note([Result(delivery, attempt, DeliveryState.FAILED, 0.0)])
    shown = (await browser.get(place)).text
    for text in ("status 503", "&lt;i&gt;busy&lt;/i&gt;", "after 0.25 s", "Send again"):
        assert text in shown, text
    assert "data-live=" not in shown
    assert (await send(browser, page, f"deliveries/{delivery}/again")).status_code == 303
    again = await site.database.outbox.get("main", hook["id"], delivery)
    assert (again.state, again.tries) == (DeliveryState.PENDING, 1)
    assert again.due >= attempt.time
    for wrong in ("x" * 21, "nothing"):
        assert (await browser.get(f"{page}/deliveries/{wrong}")).status_code == 404
        assert (await send(browser, page, f"deliveries/{wrong}/again")).status_code == 404


async def test_sample_of_each_event_has_the_shape_of_the_real_one(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    hook = await made(api)
    for event, facts in FACTS.items():
        assert happened(event, "m", 1.0, facts).facts == facts
    for name in HOOK_EVENTS:
        data = sample(name, 1.0)
        assert (data["test"], data["time"], data["recipient"]) == (True, 1.0, "ann@example.com")
    answer = await send(browser, f"/dashboard/webhooks/{hook['id']}", "call", kind="nonsense")
    assert answer.status_code == 400
    assert await site.database.outbox.count_waiting(hook["id"], 10) == 0


async def test_url_and_events_are_changed_on_the_page(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    hook = await made(api)
    await site.database.webhooks.update("main", hook["id"], {"verified": 5.0})
    page = f"/dashboard/webhooks/{hook['id']}"
    csrf = site.csrf_of((await browser.get(page)).text)
    form = {"csrf": csrf, "url": "https://new.example/x", "events[]": ["opened", "clicked"]}
    assert (await browser.post(page, data=form)).status_code == 303
    shown = (await browser.get(page)).text
    assert "The webhook is changed. Its ownership has to be proved anew." in shown
    stored = await site.database.webhooks.find(hook["id"])
    assert (stored.url, stored.events) == ("https://new.example/x", ("opened", "clicked"))
    form = {"csrf": csrf, "page": page, "url": "ftp://new.example/y"}
    refused = await browser.post(page, data=form)
    assert refused.status_code == 400
    assert 'value="ftp://new.example/y"' in refused.text
