"""Searching messages over REST and in the dashboard, and taking what was found along."""

import csv
import html
import io
import json
import re
import time
from datetime import datetime
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName, happened
from postroad_ingress_http.history.messages import MessageHistory
from postroad_testing.days import day_with_room
from postroad_testing.factories import recipient, submission

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def accept(site: Any, address: str, **changes: Any) -> str:
    """Let a message to that address be accepted now; return its id."""
    now = changes.pop("received", time.time())
    one = submission(
        recipients=(recipient(address, id=new_id(now)),),
        **{"account": "main", "received": now, "id": new_id(now), **changes},
    )
    await site.database.messages.apply([events.accepted(one, one.recipients[0])])
    return one.recipients[0].id


async def found(api: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await api.get("/v1/messages", params=query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_messages_are_found_by_what_people_remember(api: httpx.AsyncClient, site: Any):
    message = await accept(
        site, "Ann@Search.example", subject="Your Order 4711 is on its way", credential="shop9",
        envelope="bounces@shop9.example", tags=("s9",), sender="news@shop9.example",
    )  # fmt: skip
    other = await accept(site, "bob@elsewhere.example", subject="Your order", credential="shop8")
    for query in (
        {"recipient": "ann@SEARCH.example"},
        {"recipient": "@search.example"},
        {"subject": "order 4711"},
        {"login": "shop9"},
        {"envelope": "BOUNCES@shop9.example"},
        {"sender": "News@shop9.example"},
        {"tag": "s9", "state": "accepted"},
    ):
        assert await found(api, **query) == [message], query
    assert await found(api, subject="order", login="shop8") == [other]
    assert await found(api, subject="4711", login="shop8") == []


async def test_reactions_are_filters(api: httpx.AsyncClient, site: Any):
    message = await accept(site, "react@react.example")
    await accept(site, "quiet@react.example")
    query = {"recipient": "@react.example"}
    for name in ("opened", "clicked", "complained"):
        assert await found(api, **query, **{name: "true"}) == []
    await site.database.messages.count_reactions({message: (2, 1)})
    complaint = happened(EventName.COMPLAINED, message, time.time(), {}, account="main")
    await site.database.messages.apply([complaint])
    for name in ("opened", "clicked", "complained"):
        assert await found(api, **query, **{name: "true"}) == [message]
        assert len(await found(api, **query, **{name: "false"})) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "lost"),
        ("recipient", "no address"),
        ("recipient", "@"),
        ("opened", "maybe"),
        ("source", "fax"),
        ("start", "yesterday"),
    ],
)
async def test_what_cannot_be_searched_for_is_refused_by_name(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, name: str, value: str
):
    answer = await api.get("/v1/messages", params={name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == name
    page = await browser.get("/dashboard/messages", params={name: value})
    assert page.status_code == 400
    assert 'role="alert"' in page.text


async def test_search_of_the_dashboard_finds_today_and_says_when_nothing_matches(
    browser: httpx.AsyncClient, site: Any
):
    today = str(await day_with_room())
    await accept(site, "today@today.example")
    page = (await browser.get("/dashboard/messages", params={"start": today, "end": today})).text
    assert "today@today.example" in page
    page = (await browser.get("/dashboard/messages", params={"recipient": "@none.example"})).text
    assert "No message matches." in page
    assert "No messages yet" not in page
    wrong = await browser.get("/dashboard/messages", params={"id": "12345"})
    assert wrong.status_code == 400
    assert 'value="12345"' in wrong.text
    message = new_id()
    there = await browser.get("/dashboard/messages", params={"id": message})
    assert there.headers["location"] == f"/dashboard/messages/{message}"


async def test_search_for_what_is_rare_among_frequent_things_says_how_far_it_is(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any, monkeypatch: pytest.MonkeyPatch
):
    began = time.time() - 86_400
    told = []
    for number in range(1300):
        now = began + number
        one = submission(
            recipients=(recipient(f"r{number}@far.example", id=new_id(now)),),
            account="main", received=now, id=new_id(now),
            tags=("far", "even" if number % 2 else "odd"),
            credential="even" if number % 2 or not number else "odd",
        )  # fmt: skip
        told.append(events.accepted(one, one.recipients[0]))
    await site.database.messages.apply(told)
    search = {"login": "even", "tag": "odd"}
    for criteria, number in ((search, 1), ({**search, "subject": "none"}, 0)):
        monkeypatch.setattr(site.database.messages, "look_seconds", 0.0)
        pages = await all_pages(api, criteria)
        assert [len(page["items"]) for page in pages] == [0] * (len(pages) - 1) + [number]
        assert all(began < page["searched_back_to"] < time.time() for page in pages[:-1])
        assert pages[-1]["searched_back_to"] is None
        monkeypatch.setattr(site.database.messages, "look_seconds", 600.0)
        assert len(await found(api, **criteria)) == number
    monkeypatch.setattr(site.database.messages, "look_seconds", 0.0)
    counted = await api.get("/v1/jobs/count", params=search)
    assert counted.json()["total"] == 1
    page = await browser.get("/dashboard/messages", params=search)
    assert page.status_code == 200
    assert "none found yet" in page.text
    assert "Searched back to" in page.text
    while next_page := re.search(r'href="(\?[^"]*)" rel="next" data-search-on', page.text):
        page = await browser.get(f"/dashboard/messages{html.unescape(next_page[1])}")
        assert page.status_code == 200
    assert "r0@far.example" in page.text
    assert "Searched back to" not in page.text


async def test_events_are_searched_in_the_messages_that_are_found_in_time(
    site: Any, monkeypatch: pytest.MonkeyPatch
):
    began = time.time() - 3600
    told = []
    for number in range(1100):
        now = began + number
        tags = ("both", "even" if number % 2 else "odd")
        one = submission(
            recipients=(recipient(f"r{number}@both.example", id=new_id(now)),),
            account="main", received=now, id=new_id(now), tags=tags,
        )  # fmt: skip
        told.append(events.accepted(one, one.recipients[0]))
    await site.database.messages.apply(told)
    monkeypatch.setattr(site.database.messages, "look_seconds", 0.0)
    history = MessageHistory(site.database.messages, site.database.archive, time.time)
    found = await history.newest_ids("main", "@both.example", ["odd"])
    assert found == [event.message for event in reversed(told) if "odd" in event.facts["tags"]]
    hurried = await history.newest_ids("main", "@both.example", ["odd"], seconds=0.0)
    assert hurried == found[: len(hurried or [])]
    assert len(hurried or []) == 500


async def all_pages(api: httpx.AsyncClient, query: dict[str, str]) -> list[dict[str, Any]]:
    """Return the pages of a search, until there is no cursor."""
    pages: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while not pages or cursor:
        answer = await api.get("/v1/messages", params={**query, **cursor})
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        cursor = {"cursor": pages[-1]["cursor"]} if pages[-1]["cursor"] else {}
    return pages


async def test_what_was_found_is_exported_whole(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    told = []
    for number in range(1100):
        now = time.time()
        one = submission(
            recipients=(recipient(f"r{number}@export.example", id=new_id(now)),),
            account="main", received=now, subject="=1+1" if number else 'with "quotes", ü',
        )  # fmt: skip
        told.append(events.accepted(one, one.recipients[0]))
    await site.database.messages.apply(told)
    query = {"recipient": "@export.example"}
    answer = await api.get("/v1/messages/export", params={**query, "format": "jsonl"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert {line["id"] for line in lines} == {event.message for event in told}
    assert len(lines) == 1100
    moments = {line["id"]: line["created"] for line in lines}
    for client, path in ((api, "/v1/messages/export"), (browser, "/dashboard/messages/export")):
        answer = await client.get(path, params={**query, "format": "csv"})
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert len(rows) == 1100
        assert {row["subject"] for row in rows} == {"'=1+1", 'with "quotes", ü'}
        for row in rows:
            assert datetime.fromisoformat(row["created"]).timestamp() == int(moments[row["id"]])
    assert (await api.get("/v1/messages/export", params={"state": "x"})).status_code == 400
    assert (await api.get("/v1/messages/export", params={"format": "pdf"})).status_code == 400
    assert (await api.get("/v1/messages/export", params={"unknown": "x"})).status_code == 400


async def test_messages_of_another_account_are_not_found(api: httpx.AsyncClient, site: Any):
    await accept(site, "x@foreign.example", account="other", subject="foreign")
    assert await found(api, recipient="@foreign.example") == []
    assert await found(api, subject="foreign") == []
    assert (await api.get("/v1/messages/export?subject=foreign&format=jsonl")).text == ""
