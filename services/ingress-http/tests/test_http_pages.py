"""Pages of bounces, tokens, domains and logins: what they find, offer and tell."""

import re
import time
from datetime import timedelta
from html import unescape
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName
from postroad_common.secrets import hash_token
from postroad_common.store.accounts import Account
from postroad_common.store.rollups import RollupKey
from postroad_testing.days import day_with_room
from postroad_testing.factories import submission

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def csrf_of(browser: httpx.AsyncClient, site: Any) -> dict[str, str]:
    return {"csrf": site.csrf_of((await browser.get("/dashboard/profile")).text)}


async def test_bounces_are_found_by_class_severity_recipient_event_and_time(
    browser: httpx.AsyncClient, site: Any
):
    today = await day_with_room()
    one = submission("hard@bounced.example", "soft@bounced.example", account="main")
    day = time.time() - 5 * 86_400
    happened = [
        *(events.accepted(one, recipient) for recipient in one.recipients),
        events.happened(
            EventName.BOUNCED, one.recipients[0].id, time.time(),
            {"class": "no-such-user", "hard": True, "diagnostic": "550 gone"}, account="main",
        ),
        events.happened(
            EventName.BOUNCED, one.recipients[1].id, day,
            {"class": "mailbox-full", "diagnostic": "552 full"}, account="main",
        ),
        events.happened(
            EventName.FAILED, one.recipients[1].id, time.time(),
            {"reply": "550 no such user", "code": 550, "stage": "rcpt"}, account="main",
        ),
    ]  # fmt: skip
    await site.database.events.insert(happened)
    await site.database.messages.apply(happened)
    yesterday = str(today - timedelta(days=1))
    for query, expected in (
        ({}, {"550 gone", "552 full", "550 no such user"}),
        ({"severity": "hard"}, {"550 gone"}),
        ({"severity": "soft"}, {"552 full"}),
        ({"class": "mailbox-full"}, {"552 full"}),
        ({"event": "failed"}, {"550 no such user"}),
        ({"recipient": "Soft@bounced.example"}, {"552 full", "550 no such user"}),
        ({"start": yesterday}, {"550 gone", "550 no such user"}),
        ({"end": yesterday}, {"552 full"}),
        ({"recipient": "nobody@bounced.example"}, set()),
    ):
        page = await browser.get("/dashboard/bounces", params=query)
        assert page.status_code == 200
        shown = {told for told in ("550 gone", "552 full", "550 no such user") if told in page.text}
        assert shown == expected, query
        if query == {"event": "failed"}:  # a failure is classified when it is shown
            assert "The address does not exist at the receiving server." in page.text
            assert ">no-such-user</td>" in page.text
    for wrong in ({"severity": "odd"}, {"class": "x"}, {"event": "opened"}, {"start": "soon"}):
        assert (await browser.get("/dashboard/bounces", params=wrong)).status_code == 400


async def test_a_token_is_given_scopes_to_look_by_their_meaning_and_an_end(
    browser: httpx.AsyncClient, site: Any
):
    csrf = await csrf_of(browser, site)
    page = await browser.get("/dashboard/tokens")
    assert "Addresses that get no mail." in page.text
    assert '<option value="messages:read">look</option>' in page.text
    form = {
        **csrf, "name": "Reports", "scopes[]": ["", "messages:read", "", "domains"],
        "expires": "2222-01-01T12:00",
    }  # fmt: skip
    made = await browser.post("/dashboard/tokens", data=form)
    (secret,) = re.findall(
        r'data-copy="([^"]+)"', (await browser.get(made.headers["location"])).text
    )
    token = await site.database.tokens.find_by_hash(hash_token(secret))
    assert token.scopes == ("messages:read", "domains")
    assert token.expires == 7_952_385_600.0
    none = await browser.post("/dashboard/tokens", data={**csrf, "name": "x", "scopes[]": ["", ""]})
    assert none.status_code == 400
    assert "at least one scope" in none.text


async def test_a_domain_shows_what_dns_said_and_gives_its_zone(
    browser: httpx.AsyncClient, site: Any
):
    csrf = await csrf_of(browser, site)
    added = await browser.post("/dashboard/domains", data={**csrf, "name": "zone.example"})
    page = added.headers["location"]
    domain = await site.database.domains.find("main", "zone.example")
    await site.database.domains.set_checks(
        domain,
        {"ownership": "different"},
        verified=False,
        keys=domain.keys,
        due=time.time() + 250,
        found={"ownership": ["somebody <else>"]},
    )
    shown = (await browser.get(page)).text
    assert "somebody &lt;else&gt;" in shown
    assert "next check" in shown
    assert "in 4 min" in shown
    assert 'data-live="15"' in shown
    assert "0 of 1 records" in (await browser.get("/dashboard/domains")).text
    zone = await browser.get(f"{page}/zone")
    assert zone.headers["content-disposition"] == 'attachment; filename="zone.example.zone"'
    assert "_dmarc" in zone.text
    checked = await browser.post(f"{page}/verify", data=csrf)
    assert checked.headers["location"] == page
    assert "DNS was asked" in (await browser.get(page)).text


async def test_a_login_shows_when_it_was_used_and_for_how_many_messages(
    browser: httpx.AsyncClient, site: Any
):
    csrf = await csrf_of(browser, site)
    await browser.post("/dashboard/logins", data={**csrf, "name": "used"})
    (login,) = await site.database.credentials.list("main", limit=10)
    page = f"/dashboard/logins/{login.username}"
    assert "never" in (await browser.get(page)).text
    one = submission("a@used.example", "b@used.example", account="main", credential=login.username)
    await site.database.messages.apply([events.accepted(one, each) for each in one.recipients])
    shown = (await browser.get(page)).text
    assert f'<a href="/dashboard/messages?login={login.username}">2</a>' in shown
    assert "never" not in shown


async def test_accounts_are_found_by_id_with_their_numbers_of_a_month(
    browser: httpx.AsyncClient, site: Any
):
    for number in range(22):
        await site.database.accounts.create(Account(f"page-{number:02}", f"Page {number}"))
    today = time.strftime("%Y-%m-%d", time.gmtime())
    counts = {"accepted": 1200, "delivered": 1000, "bounced_hard": 7, "complained": 3}
    await site.database.rollups.add(new_id(), {RollupKey("page-01", today, ""): counts})
    page = (await browser.get("/dashboard/accounts", params={"id": "Page-"})).text
    assert "1,200 accepted, 1,000 delivered, 7 hard bounces, 3 complaints (0.30 %" in page
    assert "complaints above 0.3 %" in page
    assert "<code>page-19</code>" in page
    assert "<code>page-20</code>" not in page
    older = re.search(r'href="(\?id=page-&amp;cursor=[^"]*)" rel="next"', page)
    assert older
    rest = (await browser.get(f"/dashboard/accounts{unescape(older[1])}")).text
    assert re.findall(r"<code>(page-\d\d)</code>", rest) == ["page-20", "page-21"]
    assert "No account fits" in (await browser.get("/dashboard/accounts?id=nobody")).text
