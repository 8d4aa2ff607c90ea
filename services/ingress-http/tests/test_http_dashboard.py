"""The dashboard as a browser without scripts sees it."""

import re
from html import unescape
from typing import Any

import httpx
import pytest

from postroad_common.schemas import events
from postroad_common.schemas.events import EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.lanes import EffectKind, LaneEffect, LaneState, Phase
from postroad_common.secrets import hash_password, hash_token, verify_password
from postroad_testing import factories
from postroad_testing.factories import archived

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = (
    "",
    "/messages",
    "/bounces",
    "/jobs",
    "/suppressions",
    "/feeds",
    "/feeds/deployment",
    "/logins",
    "/logins/new",
    "/tokens",
    "/webhooks",
    "/domains",
    "/lanes",
    "/queues",
    "/start",
    "/templates",
    "/templates/new",
)


async def form(browser: httpx.AsyncClient, page: str, path: str, **data: str) -> httpx.Response:
    found = re.search(r'name="csrf" value="(\w+)"', (await browser.get(page)).text)
    assert found, "the page has no form"
    csrf = found[1]
    answer = await browser.post(path, data={"csrf": csrf, **data})
    return await shown(browser, answer)


async def shown(browser: httpx.AsyncClient, answer: httpx.Response) -> httpx.Response:
    """Return the page that shows a secret, where the answer leads there; else the answer."""
    if answer.headers.get("location") != "/dashboard/secret":
        return answer
    page = await browser.get("/dashboard/secret")
    assert "Shown already" in (await browser.get("/dashboard/secret")).text
    return page


@pytest.mark.parametrize("page", PAGES)
async def test_page_is_shown_to_those_who_are_logged_in(browser: httpx.AsyncClient, page: str):
    answer = await browser.get(f"/dashboard{page}")
    assert answer.status_code == 200, answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert " style=" not in answer.text
    assert not re.search(r"\son\w+=", answer.text)


@pytest.mark.parametrize("page", PAGES)
async def test_page_leads_strangers_to_the_log_in(site: Any, page: str):
    async with site.client() as stranger:
        answer = await stranger.get(f"/dashboard{page}")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/dashboard/login?next=/dashboard{page}"


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/messages?state=failed&subject=a+b", "/messages?state=failed&subject=a+b"),
        ("GET", "/stats?of=x%26y&z=%2F%2F", "/stats?of=x%26y&z=%2F%2F"),
        ("POST", "/webhooks", "/webhooks?state=failed&z=//"),
    ],
)
async def test_who_was_logged_out_comes_back_to_the_page_with_its_query(
    site: Any, method: str, path: str, target: str
):
    async with site.client() as client:
        form = {"page": f"/dashboard{target}"} if method == "POST" else None
        answer = await client.request(method, f"/dashboard{path}", data=form)
        log_in = (await client.get(answer.headers["location"])).text
        assert ("nothing was done" in log_in) == (method == "POST")
        (back,) = re.findall(r'name="next" value="([^"]*)"', log_in)
        assert unescape(back) == f"/dashboard{target}"
        data = {"csrf": site.csrf_of(log_in), "email": site.email, "password": site.password}
        answer = await client.post("/dashboard/login", data={**data, "next": unescape(back)})
    assert answer.headers["location"] == f"/dashboard{target}"


async def test_cookie_cannot_be_read_by_scripts_nor_sent_across_sites(site: Any):
    async with site.client() as client:
        csrf = site.csrf_of((await client.get("/dashboard/login")).text)
        answer = await client.post(
            "/dashboard/login",
            data={"csrf": csrf, "email": site.email.upper(), "password": site.password},
        )
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("admin@example.com", "wrong"),
        ("nobody@x.example", "correct horse battery"),
        ("", ""),
    ],
)
async def test_wrong_password_is_told_and_no_session_begins(site: Any, email: str, password: str):
    async with site.client() as client:
        csrf = site.csrf_of((await client.get("/dashboard/login")).text)
        data = {"csrf": csrf, "email": email, "password": password}
        answer = await client.post("/dashboard/login", data=data)
        assert answer.status_code == 401
        assert "wrong" in answer.text
        assert "postroad_session" not in client.cookies


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example",
        "/dashboard//evil",
        "/dashboard\\x",
        "/v1",
        "/dashboardx?/",
    ],
)
async def test_log_in_never_leads_elsewhere(site: Any, target: str):
    async with site.client() as client:
        csrf = site.csrf_of((await client.get("/dashboard/login", params={"next": target})).text)
        data = {"csrf": csrf, "email": site.email, "password": site.password, "next": target}
        answer = await client.post("/dashboard/login", data=data)
    assert answer.headers["location"] == "/dashboard"


async def test_many_wrong_passwords_are_slowed_down(site: Any):
    async with site.client("192.0.2.77") as client:
        statuses = set()
        for _ in range(25):
            csrf = site.csrf_of((await client.get("/dashboard/login")).text)
            data = {"csrf": csrf, "email": "guess@x.example", "password": "wrong"}
            answer = await client.post("/dashboard/login", data=data)
            statuses.add(answer.status_code)
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                break
    assert 429 in statuses


async def test_form_without_the_token_of_the_session_changes_nothing(
    browser: httpx.AsyncClient, site: Any
):
    before = await site.database.credentials.list("main")
    for data in ({}, {"csrf": "0" * 64}, {"csrf": ""}):
        answer = await browser.post("/dashboard/logins", data={**data, "name": "forged"})
        assert answer.status_code == 403
    assert await site.database.credentials.list("main") == before


async def test_forged_cookie_is_nobody(browser: httpx.AsyncClient, site: Any):
    cookie = browser.cookies["postroad_session"]
    for forged in (cookie[:-2], "x" + cookie[1:], cookie + "AA", "", "äöü"):
        async with site.client() as client:
            headers = [(b"Cookie", f"postroad_session={forged}".encode())]
            answer = await client.get("/dashboard", headers=headers)
        assert answer.status_code == 303


async def test_changed_password_ends_sessions(site: Any):
    await site.database.users.create("gone@x.example", "main", hash_password(site.password))
    async with site.client() as client:
        csrf = site.csrf_of((await client.get("/dashboard/login")).text)
        data = {"csrf": csrf, "email": "gone@x.example", "password": site.password}
        await client.post("/dashboard/login", data=data)
        assert (await client.get("/dashboard/logins")).status_code == 200
        await site.database.users.set_password("gone@x.example", hash_password("another"))
        assert (await client.get("/dashboard/logins")).status_code == 303


async def test_logging_out_ends_the_session_of_the_browser(browser: httpx.AsyncClient):
    answer = await form(browser, "/dashboard", "/dashboard/logout")
    assert answer.status_code == 303
    assert (await browser.get("/dashboard")).status_code == 303


async def test_login_is_created_with_its_switches_and_its_password_shown_once(
    browser: httpx.AsyncClient, site: Any
):
    answer = await form(
        browser, "/dashboard/logins/new", "/dashboard/logins",
        name="Shop <b>", clicktracking="true", forward_bounces="true",
    )  # fmt: skip
    username, password = re.findall(r'data-copy="([^"]+)"', answer.text)
    login = await site.database.credentials.find(username)
    assert login is not None
    assert verify_password(login.password_hash, password)
    assert login.features == Features(clicktracking=True)
    page = f"/dashboard/logins/{username}"
    shown = (await browser.get(page)).text
    assert password not in shown
    assert "Shop &lt;b&gt;" in shown
    await form(browser, page, page, name="Shop", inlinecss="true")
    login = await site.database.credentials.find(username)
    assert login is not None
    assert (login.name, login.features) == ("Shop", Features(inlinecss=True))
    assert not login.forward_bounces
    for action, disabled in (("disable", True), ("enable", False)):
        await form(browser, page, f"{page}/{action}")
        login = await site.database.credentials.find(username)
        assert login is not None
        assert login.disabled is disabled
    rotated = await form(browser, page, f"{page}/rotate")
    assert re.findall(r'data-copy="([^"]+)"', rotated.text)[1] != password
    await form(browser, page, f"{page}/delete")
    assert await site.database.credentials.find(username) is None
    assert (await browser.get(page)).status_code == 404


async def test_token_is_created_shown_once_and_revoked(browser: httpx.AsyncClient, site: Any):
    page = "/dashboard/tokens"
    answer = await form(browser, page, page, **{"name": "CI", "scopes[]": "send"})
    (secret,) = re.findall(r'data-copy="([^"]+)"', answer.text)
    token = await site.database.tokens.find_by_hash(hash_token(secret))
    assert token is not None
    assert token.scopes == ("send",)
    assert secret not in (await browser.get(page)).text
    await form(browser, page, f"{page}/{token.id}/delete")
    assert await site.database.tokens.find_by_hash(hash_token(secret)) is None


async def test_webhook_is_created_switched_off_and_deleted(browser: httpx.AsyncClient, site: Any):
    page = "/dashboard/webhooks"
    answer = await form(browser, page, page, url="https://hooks.example/d")
    assert "whsec_" in answer.text
    (hook,) = [h for h in await site.database.webhooks.list("main") if h.url.endswith("/d")]
    for _ in range(2):  # pressed on a page that does not know yet that it is disabled, too
        await form(browser, page, f"{page}/{hook.id}/switch", wish="disable")
        changed = await site.database.webhooks.get("main", hook.id)
        assert changed is not None
        assert changed.disabled
    await form(browser, page, f"{page}/{hook.id}/switch", wish="start")
    changed = await site.database.webhooks.get("main", hook.id)
    assert changed is not None
    assert not changed.disabled
    await form(browser, page, f"{page}/{hook.id}/delete")
    assert await site.database.webhooks.get("main", hook.id) is None
    bad = await form(browser, page, page, url="javascript:alert(1)")
    assert bad.status_code == 400
    assert "http or https" in bad.text


async def test_address_is_suppressed_and_taken_back(browser: httpx.AsyncClient, site: Any):
    page = "/dashboard/suppressions"
    await form(browser, page, page, address="Stop@x.example", reason="<script>asked</script>")
    shown = (await browser.get(page)).text
    assert "stop@x.example" in shown
    assert "<script>asked" not in shown
    odd = await browser.get(page, params={"list": "x" * 300})
    assert odd.status_code == 400
    assert re.search(r'name="list"[^>]* aria-invalid="true"', odd.text)
    assert "at most 200 printable characters" in odd.text
    await form(browser, page, f"{page}/delete", address="stop@x.example")
    assert await site.database.suppressions.get("main", "stop@x.example") is None


async def test_domain_is_added_with_the_records_to_publish(browser: httpx.AsyncClient):
    page = "/dashboard/domains"
    answer = await form(browser, page, page, name="Dash.Example")
    assert answer.headers["location"] == "/dashboard/domains/dash.example"
    shown = (await browser.get(answer.headers["location"])).text
    assert "v=spf1 include:_senderspf.mail.postroad.test a mx ~all" in shown
    assert "_domainkey.dash.example" in shown
    assert "PRIVATE" not in shown
    first = re.findall(r"pr\d{8}\w*r(?=\._domainkey)", shown)[0]
    await form(browser, "/dashboard/domains/dash.example", "/dashboard/domains/dash.example/keys")
    shown = (await browser.get("/dashboard/domains/dash.example")).text
    assert f"{first}._domainkey" not in shown
    await form(browser, page, "/dashboard/domains/dash.example/delete")
    assert (await browser.get("/dashboard/domains/dash.example")).status_code == 404


async def test_message_with_hostile_content_is_shown_harmlessly(
    browser: httpx.AsyncClient, site: Any
):
    evil = "<script>alert(1)</script>"
    raw = f"Content-Type: text/html\r\n\r\n{evil}<img src=http://x.example/>".encode()
    submission = factories.submission(
        "evil@x.example",
        account="main",
        credential=evil,
        received=1_790_000_000.0,
        envelope=evil,
        subject=evil,
        expires=2e9,
        tags=(evil,),
    )
    recipient = submission.recipients[0]
    await site.database.archive.add([archived(submission, raw)])
    failed = events.happened(
        EventName.FAILED, recipient.id, 1_790_000_001.0,
        {
            "reply": f"550 {evil}", "nested": {"deep": [evil]},
            "conversation": f"# hello\nC: RCPT TO:<{evil}>\nS: 550 {evil}\n{evil}",
        },
        account="main",
    )  # fmt: skip
    happened = [events.accepted(submission, recipient), failed]
    await site.database.events.insert(happened)
    await site.database.messages.apply(happened)
    for page in (f"/messages/{recipient.id}", "/messages", "/bounces", ""):
        shown = (await browser.get(f"/dashboard{page}")).text
        assert evil not in shown, page
    page = (await browser.get(f"/dashboard/messages/{recipient.id}")).text
    framed = await browser.get(f"/dashboard/messages/{recipient.id}?tab=html")
    assert 'sandbox=""' in framed.text
    assert "550 &lt;script&gt;" in page
    for line in ("Postroad: </span><code>RCPT TO:&lt;&lt;", "Server: </span><code>550 &lt;script"):
        assert line in page
    preview = await browser.get(f"/dashboard/messages/{recipient.id}/preview")
    assert evil in preview.text
    policy = preview.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    found = await browser.get("/dashboard/messages", params={"id": recipient.id})
    assert found.headers["location"] == f"/dashboard/messages/{recipient.id}"


async def test_lane_is_paused_and_resumed(browser: httpx.AsyncClient, site: Any):
    await site.database.lanes.save({"192.0.2.1|mx.example": LaneState(phase=Phase.OPEN, window=3)})
    page = "/dashboard/lanes"
    for name in ("pause", "resume"):
        await form(browser, page, page, key="192.0.2.1|mx.example", directive=name)
        lane = await site.database.lanes.get("192.0.2.1|mx.example")
        assert bool(lane.directives.paused) is (name == "pause")
        assert lane.directives.given.by == "admin@example.com"


async def test_lane_with_a_reason_alone_shows_it(browser: httpx.AsyncClient, site: Any):
    state = LaneState(phase=Phase.CLOSED, reason="421 4.7.0 Come back later", effects=[])
    key = "192.0.2.9|mx.reason.example"
    await site.database.lanes.save({key: state})
    page = (await browser.get("/dashboard/lanes/one", params={"key": key})).text
    assert "<p>421 4.7.0 Come back later</p>" in page
    assert "Nothing holds it back" not in page


async def test_lane_page_shows_why_and_takes_every_directive(browser: httpx.AsyncClient, site: Any):
    key = "192.0.2.7|(a|b).mx.example:2525#03"
    evil = "<script>450 slower</script>"
    effect = LaneEffect(kind=EffectKind.RATE, value=0.5, reason=evil, since=1.79e9)
    single = LaneEffect(kind=EffectKind.CONNECTIONS, value=1, reason=evil, since=1.79e9)
    state = LaneState(phase=Phase.LIMITED, effects=[effect, single], waiting=7)
    await site.database.lanes.save({key: state})
    path = "/dashboard/lanes"
    assert "(a|b).mx.example" in (await browser.get(path, params={"site": "A|B).mx"})).text
    assert "(a|b).mx.example" not in (await browser.get(path, params={"phase": "paused"})).text
    page = f"{path}/one?key=192.0.2.7%7C%28a%7Cb%29.mx.example%3A2525%2303"
    shown = (await browser.get(page)).text
    assert "at most 0.5 messages/s" in shown
    assert "at most 1 connection<" in shown
    assert "&lt;script&gt;450 slower" in shown
    assert evil not in shown

    async def direct(name: str, **fields: str) -> dict[str, Any]:
        answer = await form(browser, page, path, key=key, directive=name, **fields)
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == page
        lane = await site.database.lanes.get(key)
        found: dict[str, Any] = lane.directives.document()
        return found

    assert (await direct("drain", reason="fix"))["reason"] == "fix"
    found = await direct("resume")
    assert "drain" not in found
    found = await direct("cap", connections="2", rate="")
    assert (found["connections"], found.get("rate")) == (2.0, None)
    found = await direct("bounce", reply="550 5.4.1 no")
    assert found["bounce"]["reply"] == "550 5.4.1 no"
    assert "550 5.4.1 no" in (await browser.get(page)).text
    assert "bounce" not in await direct("bounce no more")
    found = await direct("redirect", host="10.0.0.1", port="2525", tls="none")
    assert found["redirect"] == {"host": "10.0.0.1", "port": 2525, "tls": "none"}
    assert found["cancel"].keys() == {"pause", "connections", "rate"}
    assert "redirect" not in await direct("redirect no more")
    assert (await direct("simulate", **{"simulate[]": "rate"}))["simulate"] == ["rate"]
    assert "simulate" not in await direct("simulate")
    assert await direct("cancel")
    for name, fields in (("bounce", {"reply": "250 ok"}), ("cap", {"rate": "x"}), ("dance", {})):
        answer = await form(browser, page, path, key=key, directive=name, **fields)
        assert answer.status_code == 400, name


async def test_dead_letters_are_shown_put_back_and_thrown_away(
    browser: httpx.AsyncClient, site: Any
):
    evil = "<script>reason</script>"
    page = "/dashboard/queues/transformer.accepted.dead"
    headers = {"x-postroad-reason": evil, "x-postroad-queue": "transformer.accepted"}
    publish = site.context.publisher.publish
    for body in (b"one", b"two"):
        await publish("", "transformer.accepted.dead", body, headers=headers)
    shown = (await browser.get(page)).text
    assert "&lt;script&gt;reason" in shown
    assert evil not in shown
    await form(browser, page, f"{page}/replay")
    assert "There is nothing here" in (await browser.get(page)).text
    assert await site.dependencies.queues.all()  # and they are where they came from
    await publish("", "transformer.accepted.dead", b"three", headers=headers)
    await form(browser, page, f"{page}/purge")
    assert "There is nothing here" in (await browser.get(page)).text
    await site.empty()
    assert (await browser.get("/dashboard/queues/transformer.accepted")).status_code == 409


async def test_errors_are_pages_too(browser: httpx.AsyncClient):
    answer = await browser.get("/dashboard/messages/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is no such message" in answer.text
    answer = await browser.get("/dashboard/nowhere")
    assert answer.status_code == 404
    assert "<!doctype html>" in answer.text
