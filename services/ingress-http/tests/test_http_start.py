"""First steps: each ticks itself when it is really done; the test mail shows its timeline."""

import re
import time
from typing import Any

import httpx
import pytest

from postroad_common.schemas import events
from postroad_common.schemas.features import Features
from postroad_common.store.domains import SenderDomain
from postroad_testing.factories import submission

pytestmark = pytest.mark.asyncio(loop_scope="module")


def ticks(page: str) -> list[bool]:
    """Return for each step on the page whether it is done."""
    return [bool(mark) for mark in re.findall(r'<span class="tick( done)?"', page)]


async def test_the_steps_tick_themselves(browser: httpx.AsyncClient, site: Any):
    store = site.database

    async def steps() -> list[bool]:
        return ticks((await browser.get("/dashboard/start")).text)

    await store.tokens.delete("main", (await store.tokens.list("main"))[0].id)
    assert await steps() == [False] * 5
    assert "First steps: 0 of 5 done" in (await browser.get("/dashboard")).text

    csrf = {"csrf": site.csrf_of((await browser.get("/dashboard/start")).text)}
    await browser.post("/dashboard/domains", data={**csrf, "name": "start.example"})
    assert await steps() == [True, False, False, False, False]
    domain = await store.domains.find("main", "start.example")
    assert isinstance(domain, SenderDomain)
    await store.domains.set_checks(
        domain, {"ownership": "ok"}, verified=True, keys=domain.keys, due=time.time() + 1e6
    )
    await store.credentials.create(
        account="main", username="startlogin", password_hash="", name="", features=Features()
    )
    assert await steps() == [True, True, True, False, False]

    refused = await browser.post("/dashboard/start/mail", data={**csrf, "recipient": "nobody"})
    assert refused.status_code == 400
    await site.empty()
    form = {**csrf, "from": "me@start.example", "recipient": "ann@reader.example"}
    sent = await browser.post("/dashboard/start/mail", data=form)
    assert sent.status_code == 303
    page = sent.headers["location"]
    waiting = await browser.get(page)
    assert "On its way" in waiting.text
    assert 'data-live="2"' in waiting.text
    one, _ = await site.last()
    assert one.recipients[0].address == "ann@reader.example"
    recipient = one.recipients[0]
    accepted = events.accepted(one, recipient)
    delivered = events.Event(
        id="d" * 21,
        event=events.EventName.DELIVERED,
        time=time.time(),
        account="main",
        message=recipient.id,
        data={"reply": "250 ok, thank you"},
    )
    for event in (accepted, delivered):
        await store.events.insert([event])
        await store.messages.apply([event])
    shown = await browser.get(page)
    assert "250 ok, thank you" in shown.text
    assert 'data-live=""' in shown.text
    assert ticks(shown.text) == [True, True, True, False, True]

    other = submission("bob@reader.example", account="main", credential="startlogin")
    await store.messages.apply([events.accepted(other, other.recipients[0])])
    assert await steps() == [True] * 5
    assert "First steps:" not in (await browser.get("/dashboard")).text

    assert (await store.accounts.find("main")).first_steps is False  # done once is done


async def test_the_steps_can_be_left(browser: httpx.AsyncClient, site: Any):
    await site.database.accounts.update("main", {"first_steps": True})
    await site.database.credentials.delete("main", "startlogin")
    page = (await browser.get("/dashboard")).text
    assert re.search(r"First steps: \d of 5 done", page)
    csrf = {"csrf": site.csrf_of(page)}
    left = await browser.post("/dashboard/start/leave", data=csrf)
    assert left.headers["location"] == "/dashboard"
    assert "First steps:" not in (await browser.get("/dashboard")).text
