"""What REST tells of the past: statistics, log files, own mail, and one address's data."""

import csv
import io
import time
import xml.etree.ElementTree as ET
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import Event, EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.store.deliveries import WebhookDelivery
from postroad_common.store.rollupparts import DOMAIN, LOGIN, PROVIDER, TAG, MailPart
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_common.store.strikes import Strike
from postroad_common.store.suppressions import Suppression
from postroad_testing import factories

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = "2026-11-20"
NOON = 1_795_176_000.0  # of that day


async def record(site: Any, *found: Event) -> None:
    """Do what feedback does with events."""
    await site.database.events.insert(found)
    await site.database.messages.apply(found)


def sent(address: str, **changes: Any) -> tuple[Event, str]:
    values: dict[str, Any] = {
        "account": "main",
        "received": NOON,
        "envelope": "a@a.example",
        "subject": "Dear Ann",
        "tags": ("news", "x"),
        "expires": 2e9,
        "features": Features(inlinecss=True, bouncetracking=True),
    }
    submission = factories.submission(address, **(values | changes))
    recipient = submission.recipients[0]
    return events.accepted(submission, recipient), recipient.id


def own_mail(subject: str) -> OutboundMessage:
    """Return a notification that Postroad writes."""
    recipient = factories.outbound_recipient("a@a.example", id=new_id(NOON), notify=("never",))
    return factories.outbound(
        account="main",
        kind="dsn",
        envelope="",
        mail_from="",
        recipients=(recipient,),
        subject=subject,
        received=NOON,
        expires=2e9,
    )


def fact(name: EventName, message: str, **data: Any) -> Event:
    return events.happened(name, message, NOON + 60, data, account="main")


async def test_stats_are_the_counters_by_day_and_tag(api: httpx.AsyncClient, site: Any):
    rollups = site.database.rollups
    await rollups.add(
        new_id(),
        {
            RollupKey("main", "2026-11-01", ""): {"accepted": 5, "opened": 2},
            RollupKey("main", "2026-11-03", ""): {"accepted": 7},
            RollupKey("main", "2026-11-03", "news"): {"accepted": 3},
            RollupKey("other", "2026-11-03", ""): {"accepted": 99},
        },
    )
    found = (await api.get("/v1/stats?start=2026-11-01&end=2026-11-03")).json()
    assert found["totals"] == {"accepted": 12, "opened": 2}
    assert [(day["day"], day["counts"]["accepted"]) for day in found["days"]] == [
        ("2026-11-01", 5),
        ("2026-11-03", 7),
    ]
    first = "2026-11-01 23:59:59"
    for start, end in (
        (first, "2026-11-03T00:00:00Z"),
        ("1793577599", "2026-11-04T00:30:00+01:00"),
    ):
        same = await api.get("/v1/stats", params={"start": start, "end": end})
        assert same.json() == found, (start, end)
    of_tag = (await api.get("/v1/stats?tag=news&start=2026-11-01&end=2026-11-30")).json()
    assert (of_tag["tag"], of_tag["totals"]) == ("news", {"accepted": 3})
    assert "news" in (await api.get("/v1/stats/tags?start=2026-11-01")).json()
    for wrong in ("start=2026-02-30", "start=x", "start=2026-11-02&end=2026-11-01"):
        assert (await api.get(f"/v1/stats?{wrong}")).status_code == 400, wrong


async def test_stats_of_parts_by_hour_day_and_week(api: httpx.AsyncClient, site: Any):
    gmail, login, token = (
        MailPart(PROVIDER, "google"),
        MailPart(LOGIN, "a.login"),
        MailPart(LOGIN, "token1"),
    )
    day = {
        RollupKey("main", "2026-10-05", "", login): {"accepted": 5},
        RollupKey("main", "2026-10-05", "", token): {"accepted": 1},
        RollupKey("main", "2026-10-05", "", gmail): {"delivered": 4, "opened": 2},
        RollupKey("main", "2026-10-05", "", MailPart(PROVIDER, "other")): {"failed": 7},
        RollupKey("main", "2026-10-11", "", login): {"accepted": 3},
        RollupKey("main", "2026-10-12", "", token): {"accepted": 30},
        RollupKey("main", "2026-10-12", "", MailPart(DOMAIN, "shop.test")): {"accepted": 33},
        RollupKey("other", "2026-10-12", "", token): {"accepted": 99},
    }
    await site.database.rollups.add(new_id(), day)
    hours = {
        RollupKey("main", "2026-10-05T23", "", login): {"accepted": 5},
        RollupKey("main", "2026-10-05T23", "", MailPart(TAG, "a.tag")): {"accepted": 4},
        RollupKey("main", "2026-10-06T00", "", MailPart(TAG, "a.tag")): {"accepted": 2},
        RollupKey("main", "2026-10-06T00", "", MailPart(TAG, "b")): {"accepted": 7},
    }
    await site.database.hours.add(new_id(), hours)

    async def stats(**query: str) -> Any:
        answer = await api.get(
            "/v1/stats", params={"start": "2026-10-01", "end": "2026-10-31"} | query
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    of_login = await stats(login="a.login", step="week")
    assert of_login["days"] == [{"day": "2026-10-05", "counts": {"accepted": 8}}]
    assert (of_login["login"], of_login["totals"]) == ("a.login", {"accepted": 8})
    of_hours = await stats(login="a.login", step="hour")
    assert (of_hours["hours"], of_hours["days"]) == (
        [{"hour": "2026-10-05T23", "counts": {"accepted": 5}}],
        [],
    )
    of_tag = await stats(tag="a.tag", step="hour", by="tag")
    assert (of_tag["tag"], of_tag["totals"]) == ("a.tag", {"accepted": 6})
    assert of_tag["hours"] == [
        {"hour": "2026-10-05T23", "counts": {"accepted": 4}},
        {"hour": "2026-10-06T00", "counts": {"accepted": 2}},
    ]
    assert of_tag["groups"] == [
        {"name": "b", "counts": {"accepted": 7}},
        {"name": "a.tag", "counts": {"accepted": 6}},
    ]
    assert (await stats(provider="google"))["totals"] == {"delivered": 4, "opened": 2}
    assert (await stats(domain="shop.test"))["totals"] == {"accepted": 33}
    assert (await stats(by="provider"))["groups"] == [
        {"name": "other", "counts": {"failed": 7}},
        {"name": "google", "counts": {"delivered": 4, "opened": 2}},
    ]
    groups = (await stats(by="login"))["groups"]
    assert [(group["name"], group["counts"]["accepted"]) for group in groups] == [
        ("token1", 31),
        ("a.login", 8),
    ]
    assert "groups" not in await stats()
    for wrong in ("tag=a&login=b", "by=colour", "step=year"):
        assert (await api.get(f"/v1/stats?{wrong}")).status_code == 400, wrong


async def test_overview_of_a_week_shows_the_counters_of_a_tag(
    browser: httpx.AsyncClient, site: Any
):
    today = time.strftime("%Y-%m-%d", time.gmtime())
    await site.database.rollups.add(
        new_id(),
        {
            RollupKey("main", today, ""): {"delivered": 4321},
            RollupKey("main", today, "tag&1"): {"delivered": 1234},
        },
    )
    assert "4,321" in (await browser.get("/dashboard?period=week")).text
    page = (await browser.get("/dashboard?period=month&tag=tag%261")).text
    assert "1,234" in page
    assert "4,321" not in page


async def test_overview_of_a_day_is_made_of_the_counters_of_its_hours(
    browser: httpx.AsyncClient, site: Any
):
    now = time.time()
    await site.database.hours.add(
        new_id(),
        {
            RollupKey("main", hour_of(now), ""): {"accepted": 3000, "deferred_unique": 77},
            RollupKey("main", hour_of(now - 3600), ""): {"accepted": 4000, "opened_machine": 5555},
            RollupKey("main", hour_of(now - 40 * 3600), ""): {"accepted": 123_456},
            RollupKey("other", hour_of(now), ""): {"accepted": 123_456},
        },
    )
    page = (await browser.get("/dashboard")).text
    assert "7,000" in page
    assert "5,555 by machines" in page
    assert ">77<" in page


async def test_log_files_of_a_day_in_every_form(api: httpx.AsyncClient, site: Any):
    first, message = sent("log@x.example")
    await record(
        site,
        first,
        fact(EventName.DELIVERED, message, attempt=2, ip="192.0.2.7", reply='250 "ok",\nthanks'),
        fact(
            EventName.FAILED, message, attempt=0, code=550, enhanced="5.1.1", reply="550 <no> & ü"
        ),
        fact(EventName.CLICKED, message, url="https://a.example/?x=1,2", ip="192.0.2.9"),
    )
    await site.database.rollups.add(new_id(), {RollupKey("main", DAY, ""): {"accepted": 1}})
    assert DAY in (await api.get("/v1/logfiles")).json()
    names = (await api.get(f"/v1/logfiles/{DAY}")).json()
    assert {f"attempts.{DAY}.log", f"failures.{DAY}.log", f"abuses.{DAY}.log"} <= set(names)

    def mine(rows: list[list[str]]) -> list[list[str]]:
        return [row for row in rows if row[0] == message]

    attempts = await api.get(f"/v1/logfiles/attempts.{DAY}.log")
    (row,) = mine(list(csv.reader(io.StringIO(attempts.text, newline=""))))
    assert row == [
        message,
        f"{DAY} 12:00:00",
        "a@a.example",
        "log@x.example",
        "inlinecss;trackbounces",
        "news;x",
        "0",
    ]
    deliveries = (await api.get(f"/v1/logfiles/deliveries.{DAY}.log/header")).text
    header, *rows = csv.reader(io.StringIO(deliveries, newline=""))
    assert header == ["id", "time", "envelope", "recipient", "from", "to", "attempt", "tags",
                      "templateid"]  # fmt: skip
    assert mine(rows)[0][5:7] == ["192.0.2.7", "2"]
    (failure,) = [
        item
        for item in (await api.get(f"/v1/logfiles/failures.{DAY}.log/json")).json()
        if item["id"] == message
    ]
    assert (failure["code"], failure["status"]) == ("550", "5.1.1")
    assert failure["description"] == "550 <no> & ü"
    tree = ET.fromstring((await api.get(f"/v1/logfiles/failures.{DAY}.log/xml")).content)  # noqa: S314 - our own
    (found,) = [item for item in tree.iter("record") if item.findtext("id") == message]
    assert found.findtext("description") == "550 <no> & ü"
    assert (await api.get("/v1/logfiles/opens.2020-01-01.log")).text == ""
    assert (await api.get("/v1/logfiles/opens.2020-01-01.log/json")).json() == []
    for wrong in ("attempts", "odd.2026-11-20.log", "opens.2026-13-01.log", f"opens.{DAY}.log/pdf"):
        assert (await api.get(f"/v1/logfiles/{wrong}")).status_code == 404, wrong


async def test_long_log_files_are_whole(
    api: httpx.AsyncClient, site: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postroad_ingress_http.exports.logfiles.PAGE", 7)
    _, message = sent("long@x.example")
    told = [
        events.happened(
            EventName.OPENED, message, 1_700_000_000.0 + number // 3, {}, account="main"
        )
        for number in range(50)
    ]
    await site.database.events.insert(told)
    text = (await api.get("/v1/logfiles/opens.2023-11-14.log")).text
    assert len(text.splitlines()) == 50


async def test_own_mail_is_complete_and_apart_from_the_mail_handed_in(
    api: httpx.AsyncClient, site: Any
):
    first, message = sent("about@x.example")
    notification = own_mail("Not delivered: your mail")
    own = notification.id
    delivered = events.attempted(EventName.DELIVERED, notification, own, NOON + 1, {"reply": "250"})
    await record(site, first, events.written(notification, message), delivered)
    half = new_id(NOON)
    await record(site, fact(EventName.DELIVERED, half, attempt=0))
    listed = (await api.get("/v1/messages?limit=500")).json()["items"]
    assert message in {item["id"] for item in listed}
    assert not {own, half} & {item["id"] for item in listed}
    (item,) = (await api.get("/v1/messages?source=dsn")).json()["items"]
    assert (item["id"], item["recipient"], item["state"]) == (own, "a@a.example", "delivered")
    assert item["subject"] == "Not delivered: your mail"
    one = (await api.get(f"/v1/messages/{own}")).json()
    assert [entry["event"] for entry in one["timeline"]] == ["accepted", "delivered"]
    assert one["timeline"][0]["about"] == message
    assert (await api.get(f"/v1/messages/{half}")).status_code == 404
    told = (await api.get("/v1/events?event=delivered&limit=500")).json()["items"]
    assert own not in {entry["message"] for entry in told}
    assert (await api.get("/v1/messages?source=odd")).status_code == 400


async def test_address_is_exported_with_all_that_is_stored(api: httpx.AsyncClient, site: Any):
    told = [sent("Ann.Export@x.example") for _ in range(3)]
    await record(site, *(event for event, _ in told))
    await site.database.suppressions.add(
        [Suppression("main", "ann.export@x.example", "full", "soft", NOON, None)]
    )
    await site.database.strikes.add([Strike("main", "ann.export@x.example", NOON)])
    found = (await api.get("/v1/addresses/Ann.Export@X.example")).json()
    assert found["address"] == "Ann.Export@x.example"
    assert found["suppression"]["reason"] == "full"
    assert found["soft_bounces"] == [NOON - 43_200]
    assert {message["id"] for message in found["messages"]} == {message for _, message in told}
    assert found["messages"][0]["timeline"][0]["event"] == "accepted"
    assert found["cursor"] is None
    assert (await api.get("/v1/addresses/nobody")).status_code == 400
    empty = (await api.get("/v1/addresses/nobody@x.example")).json()
    assert (empty["messages"], empty["suppression"]) == ([], None)


async def test_export_comes_in_pages(
    api: httpx.AsyncClient, site: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postroad_ingress_http.api.addresses.PAGE", 2)
    told = [sent("pages@x.example") for _ in range(5)]
    await record(site, *(event for event, _ in told))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await api.get(f"/v1/addresses/pages@x.example?cursor={cursor}")).json()
        seen += [message["id"] for message in page["messages"]]
        cursor = page["cursor"]
    assert sorted(seen) == sorted(message for _, message in told)


async def test_conversation_is_in_the_timeline_and_not_in_lists_of_events(
    api: httpx.AsyncClient, site: Any
):
    first, message = sent("talk@x.example")
    said = "# connected\nC: DATA\nS: 354 go"
    await record(site, first, fact(EventName.DELIVERED, message, attempt=0, conversation=said))
    timeline = (await api.get(f"/v1/messages/{message}")).json()["timeline"]
    assert timeline[-1]["conversation"] == ["# connected", "C: DATA", "S: 354 go"]
    assert "conversation" not in timeline[0]
    for path in ("?recipient=talk@x.example", f"/messageid/{message}", "/email/talk@x.example"):
        listed = (await api.get(f"/v1/events{path}")).text
        assert '"deliver' in listed
        assert "conversation" not in listed


async def test_erased_address_is_nowhere_any_more(api: httpx.AsyncClient, site: Any):
    address = "gone@x.example"
    database = site.database
    body = await database.bodies.put(b"Subject: Dear Ann\r\n\r\nsecret", 2e9)
    first, message = sent(address, body=body)
    notice = own_mail(f"Not delivered: your mail to {address}")
    own = notice.id
    await record(
        site,
        first,
        fact(
            EventName.FAILED,
            message,
            attempt=0,
            reply=f"550 <{address.upper()}> unknown",
            conversation="C: RCPT TO:<x@y.example> ORCPT=rfc822;gone+40x.example",
        ),
        fact(EventName.BOUNCED, message, recipient=address, host="mx.x.example"),
        fact(EventName.OPENED, message, ip="192.0.2.1", user_agent="Ann's phone", machine=False),
        events.written(notice, message),
    )
    kept, other = sent("stays@x.example")
    await record(site, kept)
    hook = await database.webhooks.create(
        account="main", url="https://h.example/", events=(), secret="whsec_x"
    )
    await database.outbox.add(
        [
            WebhookDelivery(
                id=new_id(), webhook=hook.id, account="main", event="failed", message=message,
                body=f'{{"data":{{"recipient":"{address}"}}}}', created=NOON, due=2e9,
            )
        ]
    )  # fmt: skip
    await database.suppressions.add([Suppression("main", address, "no", "hard", NOON, None)])
    await database.strikes.add([Strike("main", address, NOON)])
    answer = (await api.delete(f"/v1/addresses/{address}")).json()
    assert (answer["messages"], answer["complete"], answer["suppression"]) == (1, True, True)
    found = (await api.get(f"/v1/messages/{message}")).json()
    assert (found["recipient"], found["subject"], found["state"]) == ("erased", "", "bounced")
    timeline = {entry["event"]: entry for entry in found["timeline"]}
    assert timeline["failed"]["reply"] == "550 <erased> unknown"
    assert "conversation" not in timeline["failed"]
    assert timeline["opened"]["ip"] == timeline["opened"]["user_agent"] == "erased"
    assert timeline["bounced"]["host"] == "mx.x.example"
    assert (await api.get(f"/v1/messages/{own}")).json()["subject"] == ""
    assert await database.outbox.log("main", hook.id) == []
    assert await database.strikes.days("main", address) == frozenset()
    assert (await api.get(f"/v1/html/{message}")).status_code == 404
    assert await database.bodies._files.count_documents({}) == 0
    names = await database._database.list_collection_names()
    for name in names:
        async for document in database._database[name].find({}):
            assert address not in str(document).lower(), name
    assert (await api.get(f"/v1/messages/{other}")).json()["recipient"] == "stays@x.example"


async def test_erasing_can_go_on_sending_nothing_there(api: httpx.AsyncClient, site: Any):
    entry = Suppression("main", "never@x.example", "complained", "complaint", NOON, None)
    await site.database.suppressions.add([entry])
    answer = (await api.delete("/v1/addresses/never@x.example?keep_suppression=true")).json()
    assert not answer["suppression"]
    assert (await api.get("/v1/suppressions/never@x.example")).status_code == 200


async def test_erasing_is_bounded_and_goes_on_when_asked_again(
    api: httpx.AsyncClient, site: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postroad_ingress_http.api.addresses.ERASED_AT_ONCE", 2)
    monkeypatch.setattr("postroad_ingress_http.api.addresses.ROUNDS", 2)
    await record(site, *(sent("many@x.example")[0] for _ in range(6)))
    first = (await api.delete("/v1/addresses/many@x.example")).json()
    assert (first["messages"], first["complete"]) == (4, False)
    second = (await api.delete("/v1/addresses/many@x.example")).json()
    assert (second["messages"], second["complete"]) == (2, True)


async def test_body_that_others_still_need_is_not_deleted(api: httpx.AsyncClient, site: Any):
    body = await site.database.bodies.put(b"shared", 2e9)
    mine, _ = sent("one@x.example", body=body, submission="s1", id="s1")
    theirs, _ = sent("two@x.example", body=body, id="s1")
    await record(site, mine, theirs)
    await api.delete("/v1/addresses/one@x.example")
    assert await site.database.bodies.get(body) == b"shared"
    await site.database.bodies.delete(body)
