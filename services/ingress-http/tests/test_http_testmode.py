"""Test mode: mail that is checked and recorded and not sent, whoever says so and on every road."""

import time
from typing import Any

import httpx
import pytest

from postroad_common.schemas import events
from postroad_testing.factories import archived, submission

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL = {"recipient": "b@b.example", "from": "a@a.example", "text": "hello"}
RAW = b"From: a@a.example\r\nSubject: Hi\r\n\r\nhello\r\n"


async def test_mail_is_a_test_if_the_field_the_header_or_the_token_says_so(
    api: httpx.AsyncClient, site: Any
):
    header = "From: a@a.example\r\n{}Subject: x\r\n\r\nhello\r\n"
    told = header.format("X-Postroad-Test: yes\r\n")
    untold = header.format("X-Smtpeter-Test: no\r\n")
    tells = [
        (MAIL, False),
        ({**MAIL, "test": True}, True),
        ({**MAIL, "testmode": "true"}, True),
        ({"recipient": "b@b.example", "mime": told}, True),
        ({"recipient": "b@b.example", "mime": untold}, False),
        ({"recipient": "b@b.example", "mime": untold, "test": True}, True),
        ({**MAIL, "test": True, "sendat": int(time.time()) + 3600}, True),
    ]
    batch = {"mails": [mail for mail, _ in tells[:-1]]}
    assert (await api.post("/v1/send/batch", json=batch)).status_code == 200
    expected = [expected for _, expected in tells[:-1]]
    assert [one.test for one, _ in await site.submissions()] == expected

    made = await api.post("/v1/tokens", json={"name": "ci", "scopes": ["*"], "test": True})
    assert made.json()["test"] is True
    async with site.client(Authorization=f"Bearer {made.json()['token']}") as tester:
        for mail, _ in tells[:-1]:
            assert (await tester.post("/v1/send", json=mail)).status_code == 200
        assert [one.test for one, _ in await site.submissions()] == [True] * len(expected)
        for path, more in (("tokens", {"scopes": ["send"]}), ("credentials", {})):
            refused = await tester.post(f"/v1/{path}", json={"name": "x", **more})
            assert (refused.status_code, refused.json()["error"]["field"]) == (403, "test")
        login = await tester.post("/v1/credentials", json={"name": "x", "test": True})
        assert login.json()["test"] is True
        path = f"/v1/credentials/{login.json()['username']}"
        assert (await tester.patch(path, json={"test": False})).status_code == 403
        assert (await tester.patch(path, json={"name": "y"})).status_code == 200
        assert (await tester.post(f"{path}/rotate")).status_code == 200
    assert (await api.patch(path, json={"test": False})).json()["test"] is False


async def test_a_test_is_found_by_that_ends_as_tested_and_is_a_test_when_it_is_sent_again(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    one = submission("r@x.example", account="main", envelope="e@a.example", test=True)
    (recipient,) = one.recipients
    happened = [
        events.accepted(one, recipient),
        events.transformed(one, recipient, time.time(), {}),
        events.tested(one, recipient, time.time()),
    ]
    await site.database.events.insert(happened)
    await site.database.messages.apply(happened)
    await site.database.archive.add([archived(one, RAW, {})])

    found = (await api.get(f"/v1/messages/{recipient.id}")).json()
    assert (found["state"], found["test"]) == ("tested", True)
    assert [step["event"] for step in found["timeline"]] == ["accepted", "transformed", "tested"]
    for query in ({"test": "true"}, {"state": "tested"}):
        listed = (await api.get("/v1/messages", params=query)).json()["items"]
        assert [(item["id"], item["test"]) for item in listed] == [(recipient.id, True)]
    for verb in ("retry", "cancel"):
        refused = await api.post(f"/v1/messages/{recipient.id}/{verb}")
        assert refused.json()["error"]["code"] == "not_waiting"
    page = await browser.get(f"/dashboard/messages/{recipient.id}")
    assert "Not sent: this is a test" in page.text
    listed = await browser.get("/dashboard/messages", params={"test": "true"})
    assert recipient.id in listed.text

    day = time.strftime("%Y-%m-%d", time.gmtime(one.received))
    for other in (False, True):
        real = submission("real@x.example", account="main", test=other, received=one.received)
        await site.database.events.insert([events.accepted(real, real.recipients[0])])
        await site.database.messages.apply([events.accepted(real, real.recipients[0])])
    logged = (await api.get(f"/v1/logfiles/attempts.{day}.log/json")).json()
    assert [line["recipient"] for line in logged].count("real@x.example") == 1
    assert "r@x.example" not in [line["recipient"] for line in logged]

    await site.empty()
    answer = await api.post("/v1/resend", json={"message": recipient.id})
    assert answer.status_code == 200, answer.text
    assert (await site.last())[0].test is True
