"""Acts on all messages of a search: confirmed, done once each, told of, and stopped."""

import asyncio
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.submission import Submission
from postroad_common.store.accounts import Account
from postroad_common.store.audit import Actor
from postroad_common.store.jobs import BulkJob, Marker
from postroad_common.store.suppressions import Suppression
from postroad_ingress_http.dashboard import jobs as pages
from postroad_ingress_http.jobs.acts import JobActs
from postroad_ingress_http.jobs.idling import Idling
from postroad_ingress_http.jobs.mandate import Mandates
from postroad_ingress_http.jobs.worker import PAGE, JobWorker
from postroad_testing.days import day_with_room
from postroad_testing.factories import MIME, archived, recipient, submission

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def keep(site: Any, tag: str, *addresses: str, account: str = "main") -> Submission:
    """Have messages with the tag, whose content is kept."""
    one = submission(*addresses, account=account, tags=(tag,))
    happened = [events.accepted(one, each) for each in one.recipients]
    await site.database.messages.apply(happened)
    await site.database.archive.add([archived(one, MIME)])
    return one


def hurried() -> Callable[[], float]:
    """Return a clock by which a job has never to wait."""
    seconds = itertools.count(time.time(), 100.0)
    return lambda: next(seconds)


def worker_of(site: Any) -> JobWorker:
    its = site.dependencies
    acts = JobActs(its.history, its.acceptance, its.message_direction, its.suppressions, its.clock)
    mandates = Mandates(its.tokens, its.users, its.clock)
    return JobWorker(site.database.jobs, its.messages, acts, mandates, hurried())


async def work_off(site: Any, account: str, job_id: str) -> BulkJob:
    worker = worker_of(site)
    while await worker.work():
        pass
    job = await site.database.jobs.find(account, job_id)
    assert job is not None
    return job


async def order(browser: httpx.AsyncClient, site: Any, act: str, **search: str) -> str:
    """Confirm an act on what a search finds; return the page of its job."""
    asked = await browser.get("/dashboard/jobs/new", params={"act": act, **search})
    assert asked.status_code == 200, asked.text
    found = re.search(r'name="job" value="(\w+)"', asked.text)
    assert found
    form = {"csrf": site.csrf_of(asked.text), "act": act, "job": found[1], **search}
    for _ in range(2):  # a page that is sent twice orders once
        answer = await browser.post("/dashboard/jobs", data=form)
        assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def test_all_of_a_search_is_sent_again_once(browser: httpx.AsyncClient, site: Any):
    tag = new_id()[-12:]
    addresses = [f"r{number}@jobs.example" for number in range(PAGE + 3)]
    await keep(site, tag, *addresses)
    lost = submission("lost@jobs.example", account="main", tags=(tag,))
    await site.database.messages.apply([events.accepted(lost, lost.recipients[0])])
    entry = Suppression("main", addresses[0], "entered", "manual", time.time(), None)
    await site.database.suppressions.add([entry])
    await site.empty()

    listed = await browser.get("/dashboard/messages", params={"tag": tag})
    assert f"{PAGE + 4} match" in listed.text
    assert f"/dashboard/jobs/new?tag={tag}&amp;act=resend" in listed.text
    confirmed = await browser.get("/dashboard/jobs/new", params={"act": "resend", "tag": tag})
    assert f"Send again: {PAGE + 4} messages" in confirmed.text
    page = await order(browser, site, "resend", tag=tag)
    begun = await browser.get(page)
    assert f"0 of {PAGE + 4} messages" in begun.text
    assert 'data-live="3"' in begun.text
    assert 'http-equiv="refresh"' in begun.text

    await keep(site, tag, "later@jobs.example")
    job = await work_off(site, "main", page.rpartition("/")[2])
    assert job.counts == {"done": PAGE + 2, "skipped": 2, "failed": 0}
    assert {(reason.code, reason.number) for reason in job.reasons} == {
        ("suppressed", 1),
        ("not_kept", 1),
    }
    sent = [one for one, _ in await site.submissions()]
    assert sorted(one.recipients[0].address for one in sent) == sorted(addresses[1:])
    assert {one.credential for one in sent} == {site.email}

    shown = await browser.get(page)
    assert 'data-live=""' in shown.text
    assert 'http-equiv="refresh"' not in shown.text
    assert "The recipient is suppressed." in shown.text
    done = await browser.get(page, params={"ending": "done"})
    assert set(re.findall(r">(\w{21})<", done.text)) <= {one.recipients[0].id for one in sent}
    assert 'rel="next"' in done.text
    assert "Send again" in (await browser.get("/dashboard/jobs")).text
    told = await site.database.audit.list("main", noun="jobs", target=job.id)
    assert [entry.action for entry in told] == ["jobs.update", "jobs.create"]
    assert {entry.actor.id for entry in told} == {site.email}
    assert told[0].after["result"] == dict(job.counts)


async def test_a_job_that_was_broken_off_is_taken_up_and_does_nothing_twice(
    browser: httpx.AsyncClient, site: Any
):
    tag = new_id()[-12:]
    await keep(site, tag, *(f"r{number}@broken.example" for number in range(8)))
    await site.empty()
    page = await order(browser, site, "resend", tag=tag)
    job = await site.database.jobs.find("main", page.rpartition("/")[2])
    worker = worker_of(site)
    records = await site.dependencies.messages.search("main", limit=8, before=job.position)
    markers = await site.database.jobs.begin(job, [one.id for one in records], time.time())
    for number in range(4):  # a process that dies after the act: two ends are written, two not
        ended = await worker.acts.do(job, records[number], markers[number])
        if number < 2:
            await site.database.jobs.end(job, ended)
    dead = {one.recipients[0].id for one, _ in await site.submissions()}
    assert dead == {marker.made for marker in markers[:4]}

    job = await work_off(site, "main", job.id)
    assert job.counts["done"] == 8
    repeated = [one.recipients[0].id for one, _ in await site.submissions()]
    assert sorted(repeated) == sorted(marker.made for marker in markers[2:])
    # Two processes that did the same page count it once.
    await site.database.jobs.progress(
        job, [Marker(records[0].id, "", "done")], lease=time.time() + 100
    )
    first = BulkJob(**{**{name: getattr(job, name) for name in BulkJob.__slots__}, "position": "0"})
    await site.database.jobs.progress(first, [Marker("0", "", "done")], lease=0.0)
    again = await site.database.jobs.find("main", job.id)
    assert again.counts["done"] == 9


async def test_addresses_are_suppressed_and_freed_but_for_those_that_complained(
    browser: httpx.AsyncClient, site: Any
):
    tag = new_id()[-12:]
    addresses = [f"{name}@freed.example" for name in ("ann", "bob", "cem")]
    await keep(site, tag, *addresses)
    complaint = Suppression("main", addresses[2], "spam", "complaint", time.time(), None)
    await site.database.suppressions.add([complaint])
    await site.empty()

    async def held() -> list[str]:
        found = await site.database.suppressions.list("main", domain="freed.example")
        return [entry.address for entry in found]

    page = await order(browser, site, "suppress", tag=tag)
    job = await work_off(site, "main", page.rpartition("/")[2])
    assert job.counts == {"done": 2, "skipped": 1, "failed": 0}
    assert await held() == addresses
    entry = await site.database.suppressions.get("main", addresses[0])
    assert entry.reason == f"suppressed by {site.email}"
    told = await site.database.audit.list("main", noun="suppressions", target=addresses[0])
    assert told[0].actor.id == site.email

    page = await order(browser, site, "lift-and-resend", tag=tag)
    job = await work_off(site, "main", page.rpartition("/")[2])
    assert job.counts == {"done": 2, "skipped": 1, "failed": 0}
    assert await held() == addresses[2:]
    sent = {one.recipients[0].address for one, _ in await site.submissions()}
    assert sent == set(addresses[:2])
    assert "The recipient has complained." in (await browser.get(page)).text

    page = await order(browser, site, "lift", tag=tag)
    job = await work_off(site, "main", page.rpartition("/")[2])
    assert job.counts == {"done": 0, "skipped": 3, "failed": 0}


async def test_all_that_wait_are_tried_now_and_cancelled(browser: httpx.AsyncClient, site: Any):
    tag = new_id()[-12:]
    one = await keep(site, tag, "ann@waits.example", "bob@waits.example", "gone@waits.example")
    gone = one.recipients[2]
    arrived = events.happened(
        events.EventName.DELIVERED, gone.id, time.time(), {"reply": "250 ok"}, account="main"
    )
    await site.database.messages.apply([arrived])
    for act in ("retry", "cancel"):
        page = await order(browser, site, act, tag=tag)
        job = await work_off(site, "main", page.rpartition("/")[2])
        assert job.counts == {"done": 2, "skipped": 1, "failed": 0}
        given = [
            await site.database.message_directives.get(recipient.id) for recipient in one.recipients
        ]
        assert [directive and directive.action for directive in given] == [act, act, None]
        assert given[0].by == site.email
    assert "it is delivered" in (await browser.get(page)).text


async def test_a_job_is_stopped(browser: httpx.AsyncClient, site: Any):
    tag = new_id()[-12:]
    await keep(site, tag, *(f"r{number}@stopped.example" for number in range(PAGE + 5)))
    page = await order(browser, site, "suppress", tag=tag)
    assert await worker_of(site).work()
    csrf = {"csrf": site.csrf_of((await browser.get(page)).text)}
    assert (await browser.post(f"{page}/stop", data=csrf)).status_code == 303
    job = await work_off(site, "main", page.rpartition("/")[2])
    assert job.finished is not None
    assert job.handled == PAGE
    assert (await browser.post(f"{page}/stop", data=csrf)).status_code == 409
    assert "stopped" in (await browser.get(page)).text


async def test_a_job_of_an_account_that_may_not_send_waits(site: Any):
    account = f"paused-{new_id()[-6:]}".lower()
    await site.database.accounts.create(Account(account, suspended=True))
    await site.database.users.create("boss@paused.example", account, "x")
    await keep(site, "t", "r@paused.example", account=account)
    job_id = new_id()
    actor = Actor("user", "boss@paused.example", account)
    now = time.time()
    await site.database.jobs.order(job_id, actor, "resend", {"tag": "t"}, total=1, now=now + 1)
    assert await worker_of(site).work()
    job = await site.database.jobs.find(account, job_id)
    assert "suspended" in job.note
    assert job.finished is None
    assert job.handled == 0


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"act": "resend"}, "Search for something first"),
        ({"act": "resend", "state": "lost"}, "One of accepted"),
        ({"act": "explode", "tag": "t"}, "One of retry"),
    ],
)
async def test_an_act_that_cannot_be_meant_is_refused(
    browser: httpx.AsyncClient, query: dict[str, str], told: str
):
    answer = await browser.get("/dashboard/jobs/new", params=query)
    assert answer.status_code == 400
    assert told in answer.text


async def test_an_old_confirmation_is_refused(browser: httpx.AsyncClient, site: Any):
    csrf = site.csrf_of((await browser.get("/dashboard/profile")).text)
    form = {"csrf": csrf, "act": "resend", "tag": "t", "job": new_id(time.time() - 7200)}
    assert (await browser.post("/dashboard/jobs", data=form)).status_code == 409
    form["job"] = "' or 1"
    assert (await browser.post("/dashboard/jobs", data=form)).status_code == 409


async def test_a_search_is_saved_by_name_and_removed(browser: httpx.AsyncClient, site: Any):
    csrf = site.csrf_of((await browser.get("/dashboard/profile")).text)
    form = {"csrf": csrf, "name": "Bounces <of> the shop", "state": "bounced", "tag": "shop"}
    saved = await browser.post("/dashboard/searches", data=form)
    assert saved.status_code == 303
    shown = await browser.get(saved.headers["location"])
    assert "The search Bounces &lt;of&gt; the shop is saved." in shown.text
    assert '<a href="/dashboard/messages?tag=shop&amp;state=bounced">' in shown.text
    for wrong in ({"csrf": csrf, "name": "x"}, {**form, "name": " "}, {**form, "state": "lost"}):
        assert (await browser.post("/dashboard/searches", data=wrong)).status_code == 400
    found = re.search(r"/dashboard/searches/\w+/delete", shown.text)
    assert found
    removed = await browser.post(found[0], data={"csrf": csrf})
    assert removed.headers["location"] == "/dashboard/messages"
    assert "the shop" not in (await browser.get("/dashboard/messages")).text
    assert (await browser.post(found[0], data={"csrf": csrf})).status_code == 404


async def test_job_whose_messages_cannot_be_counted_quickly_is_offered_all_the_same(
    browser: httpx.AsyncClient, site: Any, monkeypatch: pytest.MonkeyPatch
):
    tag = new_id()[-12:]
    now = time.time() - 3600
    told = []
    for number in range(1200):
        one = submission(
            recipients=(recipient(f"r{number}@slow.example", id=new_id(now + number)),),
            account="main", received=now + number, tags=(tag, f"{tag}{number % 2}"),
            credential=f"{tag}{number % 2 if number else 1}",
        )  # fmt: skip
        told.append(events.accepted(one, one.recipients[0]))
    await site.database.messages.apply(told)
    search = {"tag": f"{tag}0", "login": f"{tag}1"}
    orders = site.dependencies.jobs
    hurried = await orders.count("main", search, seconds=0.0)
    assert (hurried.total, hurried.whole) == (0, False)
    assert (await orders.count("main", search)).total == 1
    monkeypatch.setattr(pages, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(site.database.messages, "look_seconds", 0.0)
    for asked, told in (
        (search, "all messages found"),
        ({"tag": f"{tag}0"}, "at least 500 messages"),
    ):
        shown = await browser.get("/dashboard/jobs/new", params={"act": "suppress", **asked})
        assert f"Suppress addresses: {told}" in shown.text
    page = await order(browser, site, "suppress", **search)
    job = await work_off(site, "main", page.rpartition("/")[2])
    assert (job.total, job.counts["done"]) == (1, 1)
    assert await site.database.suppressions.get("main", "r0@slow.example") is not None


async def test_job_over_rest_is_counted_confirmed_done_and_told(api: httpx.AsyncClient, site: Any):
    today = str(await day_with_room())
    tag = new_id()[-12:]
    one = await keep(site, tag, "a@rest.example", "b@rest.example", "c@rest.example")
    entry = Suppression("main", "c@rest.example", "entered", "manual", time.time(), None)
    await site.database.suppressions.add([entry])
    for query, number in (({}, 3), ({"end": today}, 0), ({"recipient": "b@rest.example"}, 1)):
        counted = await api.get("/v1/jobs/count", params={"tag": tag, **query})
        assert counted.json()["total"] == number, (query, counted.text)
    counted = (await api.get("/v1/jobs/count", params={"tag": tag})).json()
    assert {found["id"] for found in counted["newest"]} == {each.id for each in one.recipients}
    await site.empty()

    given = {"act": "resend", "search": {"tag": tag}}
    await keep(site, tag, "later@rest.example")  # not there when it was counted
    for body, status, code in (
        (given, 400, "missing"),
        ({**given, "confirm": 2, "job": counted["job"]}, 409, "count_differs"),
        ({**given, "confirm": 3}, 409, "count_differs"),
        ({**given, "confirm": 3, "job": "1"}, 409, "conflict"),
        ({**given, "confirm": 3, "act": "erase"}, 400, "invalid"),
        ({"act": "resend", "search": {"tags": tag}, "confirm": 3}, 400, "unknown_field"),
        ({"act": "resend", "search": {}, "confirm": 3}, 400, "bad_request"),
    ):
        refused = await api.post("/v1/jobs", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code), body
    for _ in range(2):  # an order that is repeated is one
        body = {**given, "confirm": 3, "job": counted["job"]}
        ordered = await api.post("/v1/jobs", json=body)
        assert ordered.status_code == 201, ordered.text
    assert (ordered.json()["state"], ordered.json()["total"]) == ("running", 3)

    await work_off(site, "main", counted["job"])
    path = f"/v1/jobs/{counted['job']}"
    job = (await api.get(path)).json()
    assert (job["state"], job["counts"]) == ("finished", {"done": 2, "skipped": 1, "failed": 0})
    assert [reason["code"] for reason in job["reasons"]] == ["suppressed"]
    sent = {one.recipients[0].id: one for one, _ in await site.submissions()}
    done = (await api.get(f"{path}/messages", params={"ending": "done"})).json()["items"]
    assert {item["made"] for item in done} == set(sent)
    assert {one.recipients[0].address for one in sent.values()} == {
        "a@rest.example",
        "b@rest.example",
    }
    (skipped,) = (await api.get(f"{path}/messages", params={"ending": "skipped"})).json()["items"]
    assert (skipped["message"], skipped["made"]) == (one.recipients[2].id, None)
    page = (await api.get("/v1/jobs", params={"limit": 1})).json()
    assert page["items"][0]["id"] == counted["job"]
    assert (await api.post(f"{path}/stop")).status_code == 409
    told = await site.database.audit.list("main", noun="jobs", target=counted["job"])
    assert told[-1].actor.kind == "token"


async def test_job_of_a_token_sends_no_more_than_the_token_and_is_stopped(
    api: httpx.AsyncClient, site: Any
):
    tag = new_id()[-12:]
    await keep(site, tag, "a@bound.example")
    search = {"search": {"tag": tag}, "confirm": 1}
    await site.empty()
    for fields, refused in (
        ({"scopes": ["messages"]}, True),
        ({"scopes": ["messages", "send"], "sender_domains": ["other.example"]}, False),
        ({"scopes": ["messages", "send"], "test": True}, False),
    ):
        made = (await api.post("/v1/tokens", json={"name": "x", **fields})).json()
        async with site.client(Authorization=f"Bearer {made['token']}") as client:
            answer = await client.post("/v1/jobs", json={"act": "resend", **search})
        assert answer.status_code == (403 if refused else 201), answer.text
        if not refused:
            await work_off(site, "main", answer.json()["id"])
    bound, tested = (await api.get("/v1/jobs", params={"limit": 2})).json()["items"][::-1]
    assert [reason["code"] for reason in bound["reasons"]] == ["sender_not_allowed"]
    assert tested["counts"]["done"] == 1
    assert (await site.last())[0].test is True

    ordered = (await api.post("/v1/jobs", json={"act": "suppress", **search})).json()
    stopped = await api.post(f"/v1/jobs/{ordered['id']}/stop")
    assert (stopped.status_code, stopped.json()["state"]) == (202, "stopping")
    await work_off(site, "main", ordered["id"])
    assert (await api.get(f"/v1/jobs/{ordered['id']}")).json()["state"] == "stopped"
    assert await site.database.suppressions.get("main", "a@bound.example") is None


async def test_job_ends_with_the_right_to_order_it(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, site: Any
):
    tag = new_id()[-12:]
    await keep(site, tag, "kept@mandate.example")
    search = {"search": {"tag": tag, "start": time.time() - 3600}, "confirm": 1}
    jobs: dict[str, str] = {}
    for kind, fields in (
        ("revoked", {}),
        ("expired", {"expires": time.time() + 3600}),
    ):
        asked = {"name": kind, "scopes": ["messages", "suppressions"], **fields}
        made = (await api.post("/v1/tokens", json=asked)).json()
        async with site.client(Authorization=f"Bearer {made['token']}") as client:
            answer = await client.post("/v1/jobs", json={"act": "suppress", **search})
        assert answer.status_code == 201, answer.text
        jobs[kind] = answer.json()["id"]
        if kind == "revoked":
            assert (await api.delete(f"/v1/tokens/{made['id']}")).status_code == 204
    for kind, role in (("removed", None), ("reader", "reader")):
        email = f"{kind}{tag}@mandate.example".lower()
        if role:
            await site.database.users.create(email, "main", "x", role=role)
        jobs[kind] = new_id()
        await site.database.jobs.order(
            jobs[kind], Actor("user", email, "main"), "suppress", {"tag": tag}, total=1,
            now=time.time(),
        )  # fmt: skip
    worker = worker_of(site)
    late = replace(worker.mandates, clock=lambda: time.time() + 7200)
    worker = replace(worker, mandates=late)
    while await worker.work():
        pass
    for kind, note in (
        ("revoked", "The token that ordered it was revoked."),
        ("expired", "The token that ordered it has expired."),
        ("removed", "The user who ordered it was removed."),
        ("reader", "Whoever ordered it may not do this any more."),
    ):
        shown = (await api.get(f"/v1/jobs/{jobs[kind]}")).json()
        assert (shown["state"], shown["note"]) == ("stopped", note)
        ended = (await site.database.audit.list("main", noun="jobs", target=jobs[kind]))[0]
        assert (ended.after["note"], ended.after["stopped"]) == (note, True)
        assert note in (await browser.get(f"/dashboard/jobs/{jobs[kind]}")).text
    assert await site.database.suppressions.get("main", "kept@mandate.example") is None


async def test_worker_without_jobs_looks_less_often_until_there_is_an_order(
    browser: httpx.AsyncClient, site: Any
):
    idling = Idling()
    idling.seconds = 0.001
    await idling.wait()
    assert idling.seconds == 0.002
    idling.reset()
    assert idling.seconds == 1.0
    idling = site.dependencies.jobs.idling
    idling.seconds = 0.001
    await idling.wait()  # earlier orders are forgotten
    idling.seconds = 600.0
    tag = new_id()[-12:]
    await keep(site, tag, "idle@jobs.example")
    location = await order(browser, site, "resend", tag=tag)
    async with asyncio.timeout(120):
        await idling.wait()
    assert idling.seconds == 1.0
    await work_off(site, "main", location.rpartition("/")[2])
