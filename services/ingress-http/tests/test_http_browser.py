"""The dashboard in a real browser: what refreshes, the keyboard, narrow screens, accessibility.

Chromium of the distribution is driven by Playwright; where there is none, the tests are skipped.
Nothing waits for a clock: a page refreshes itself at once when it comes into view.
"""

import json
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from postroad_common.listener import HttpListener
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.lanes import EffectKind, LaneEffect, LaneState, Phase
from postroad_common.schemas.submission import Recipient
from postroad_common.store.rollupparts import LOGIN, PROVIDER, WHOLE, MailPart
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_ingress_http.http.connection import GuardedHttp
from postroad_testing import factories

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_MS = 60_000
expect.set_options(timeout=_PATIENCE_MS)
_ONLY_FAULTS = {"resultTypes": ["violations"]}
SEEN = "document.dispatchEvent(new Event('visibilitychange'))"
HOSTILE = "<script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
PAGES = (
    "", "?period=week&by=hour", "/stats?period=quarter", "/stats?period=day&parts=login",
    "/messages", "/messages?recipient=nobody@none.example", "/messages/{message}",
    "/messages/{message}?tab=changes", "/messages/{message}?tab=html",
    "/bounces", "/suppressions", "/feeds", "/logins", "/logins/new", "/tokens", "/webhooks",
    "/webhooks/{hook}", "/webhooks/{hook}/deliveries/{delivery}", "/domains",
    "/domains/wide.example", "/users", "/account", "/audit", "/accounts", "/profile", "/lanes",
    "/lanes/one?key=a|mx.wide.example", "/queues", "/start", "/templates",
    "/templates/new", "/jobs", "/jobs/new?act=suppress&state=accepted", "/logins/{login}",
    "/feeds/deployment", "/queues/sender.shard.dead", "/profile/factor/new",
    "/messages?start=soon", "/bounces?recipient=nobody", "/messages/none", "/nowhere",
)  # fmt: skip
REFUSED = {"/messages?start=soon": 400, "/bounces?recipient=nobody": 400, "/messages/none": 404,
           "/nowhere": 404}  # fmt: skip
WIDER = "document.documentElement.scrollWidth - innerWidth"
OPEN = "for (const one of document.querySelectorAll('main details')) one.open = true"


def _chromium() -> str:
    """Return the path of a Chromium, or skip."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(_NAMES)} is on the PATH")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(site: Any) -> AsyncIterator[str]:
    """Yield the URL under which the dashboard is served."""
    listener = HttpListener(site.app, "127.0.0.1", 0, http=GuardedHttp)
    await listener.start()
    yield f"http://127.0.0.1:{listener.port}"
    await listener.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    path = _chromium()
    flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=flags, timeout=2 * _PATIENCE_MS
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def context(chromium: Browser, address: str, site: Any) -> AsyncIterator[BrowserContext]:
    """Yield a browser in Tokyo in which the operator has logged in, by the form."""
    made = await chromium.new_context(base_url=address, timezone_id="Asia/Tokyo")
    made.set_default_timeout(_PATIENCE_MS)
    page = await made.new_page()
    await page.goto("/dashboard/messages")
    await page.get_by_label("E-mail").fill(site.email)
    await page.get_by_label("Password").fill(site.password)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/dashboard/messages")
    await page.close()
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """Yield a page that must not report an error of a script or of the security policy."""
    wrong: list[str] = []
    made = await context.new_page()
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if "Policy" in said.text else None)
    yield made
    await made.close()
    assert wrong == []


async def _mail(site: Any, recipient: str, subject: str, moment: float | None = None) -> str:
    """Record an accepted message; return its id."""
    now = time.time() if moment is None else moment
    to = Recipient(id=new_id(now), address=recipient)
    submission = factories.submission(
        account="main", received=now, subject=subject, recipients=(to,), sender="shop@wide.example"
    )
    told = [events.accepted(submission, to)]
    await site.database.events.insert(told)
    await site.database.messages.apply(told)
    return to.id


async def _count(site: Any, **counts: int) -> None:
    await site.database.hours.add(new_id(), {RollupKey("main", hour_of(time.time()), ""): counts})


async def test_overview_follows_what_happens_and_keeps_focus_and_details(page: Page, site: Any):
    await _mail(site, "first@live.example", HOSTILE)
    await page.goto("/dashboard")
    await expect(page.locator("#numbers time").first).to_contain_text("JST")
    await page.locator("details.numbers summary").first.click()
    bar = page.locator(".chart.wide").first.locator(".bar").last
    await bar.focus()
    await _count(site, accepted=7654, delivered=7000)
    await _mail(site, "second@live.example", "new")
    await page.evaluate(SEEN)
    await expect(page.locator(".tile .value").first).to_contain_text("7,65")
    await expect(page.get_by_text("second@live.example")).to_be_visible()
    await expect(page.locator("details.numbers").first).to_have_attribute("open", "")
    await expect(bar).to_be_focused()
    told = page.locator(".chart.wide").first.locator(".told")
    await expect(told.filter(has_text="7,000 delivered")).to_have_count(1)
    await expect(bar.locator(".told")).to_be_visible()
    assert await page.evaluate("window.owned") is None


async def test_page_that_gets_no_answer_says_so_and_tries_again(page: Page):
    note = page.locator("[data-live-note]")
    await page.goto("/dashboard/queues")
    await page.route("**/dashboard/queues", lambda route: route.abort())
    await page.evaluate(SEEN)
    await expect(note).to_contain_text(re.compile("does not answer; next try in [1248]+0 s"))
    await page.unroute("**/dashboard/queues")
    await page.evaluate(SEEN)
    await expect(note).to_contain_text("Updated")
    await note.get_by_role("button", name="Pause").click()
    await expect(note.get_by_role("button", name="Go on")).to_be_visible()


async def test_page_of_somebody_logged_out_stops(chromium: Browser, address: str, site: Any):
    async with await chromium.new_context(base_url=address) as alone:
        alone.set_default_timeout(_PATIENCE_MS)
        page = await alone.new_page()
        await page.goto("/dashboard/login")
        await page.get_by_label("E-mail").fill(site.email)
        await page.get_by_label("Password").fill(site.password)
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url("**/dashboard")
        await alone.clear_cookies()
        await page.evaluate(SEEN)
        await expect(page.locator("[data-live-note]")).to_contain_text("You are logged out")


async def test_mail_in_flight_is_followed_until_it_has_arrived(page: Page, site: Any):
    message = await _mail(site, "flies@live.example", "In flight")
    await page.goto(f"/dashboard/messages/{message}")
    await expect(page.locator("#state")).to_have_text("accepted")
    facts = {"attempt": 0, "reply": "250 2.0.0 Ok", "conversation": "C: QUIT"}
    told = [events.happened(EventName.DELIVERED, message, time.time(), facts, account="main")]
    await site.database.events.insert(told)
    await site.database.messages.apply(told)
    await page.evaluate(SEEN)
    await expect(page.locator("#state")).to_have_text("delivered")
    await expect(page.locator(".timeline")).to_contain_text("250 2.0.0 Ok")
    await expect(page.locator("[data-live-note]")).to_contain_text("Nothing more is expected")


async def test_message_is_found_by_its_recipient(page: Page, site: Any):
    message = await _mail(site, "Wanted@find.example", "Where are you")
    await page.goto("/dashboard/messages")
    await page.get_by_label("Recipient").fill("wanted@find.example")
    await page.get_by_role("button", name="Search", exact=True).click()
    await page.get_by_role("link", name="Wanted@find.example").click()
    await page.wait_for_url(f"**/{message}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Where are you")


async def test_dashboard_is_used_by_the_keyboard_alone(page: Page):
    await page.goto("/dashboard")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/dashboard#content")
    bars = page.locator(".chart.wide").first.locator(".bar")
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await bars.last.evaluate("bar => bar === document.activeElement"):
            break
    await expect(bars.last).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    await expect(bars.nth(22)).to_be_focused()
    await expect(bars.nth(22).locator(".told")).to_be_visible()
    await page.keyboard.press("Home")
    await expect(bars.first).to_be_focused()
    await page.keyboard.press("Tab")
    table = page.locator("details.numbers").first
    await expect(table.locator("summary")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(table.locator("td").first).to_be_visible()


async def test_refused_form_has_the_focus_of_screen_readers_and_the_input(page: Page):
    await page.goto("/dashboard/webhooks")
    field = page.get_by_label("URL")
    await field.fill("ftp://hooks.example/typed")
    await page.get_by_role("button", name="Create webhook").click()
    await expect(page.get_by_role("alert")).to_contain_text("http")
    await expect(field).to_have_value("ftp://hooks.example/typed")
    await expect(field).to_have_attribute("aria-invalid", "true")


async def test_first_steps_lead_to_a_delivered_test_mail(page: Page, site: Any):
    await page.goto("/dashboard/start")
    await page.get_by_label("From").fill("me@wide.example")
    recipient = page.locator("[name=recipient]")
    await recipient.fill("nobody")
    await page.get_by_role("button", name="Send a test mail").click()
    await expect(recipient).to_have_attribute("aria-invalid", "true")
    await recipient.fill("ann@live.example")
    await page.get_by_role("button", name="Send a test mail").click()
    await page.wait_for_url("**/start?mail=*")
    message = page.url.rpartition("=")[2]
    sent = await site.submissions()
    (mail,) = [one for one, _ in sent if message in {to.id for to in one.recipients}]
    facts = {"attempt": 0, "reply": "250 2.0.0 Ok", "next": 0}
    arrived = events.happened(EventName.DELIVERED, message, time.time(), facts, account="main")
    told = [events.accepted(mail, mail.recipients[0]), arrived]
    await site.database.events.insert(told)
    await site.database.messages.apply(told)
    await page.evaluate(SEEN)
    await expect(page.locator("#test-mail .state-delivered")).to_be_visible()
    await expect(page.locator("[data-live-note]")).to_contain_text("Nothing more is expected")
    await expect(page.locator("[data-live-note] button")).to_be_hidden()


async def test_lane_is_paused_and_resumed(page: Page, site: Any):
    await site.database.lanes.save({"a|mx.walk.example": LaneState(phase=Phase.OPEN)})
    await page.goto("/dashboard/lanes?site=mx.walk.example")
    await page.get_by_role("button", name="Pause mx.walk.example").click()
    await expect(page.get_by_role("status")).to_contain_text("paused")
    await page.goto("/dashboard/lanes?site=mx.walk.example")
    await page.get_by_role("button", name="Resume mx.walk.example").click()
    await expect(page.get_by_role("status")).to_contain_text("resumed")


async def test_webhook_is_repaired_and_replayed(page: Page, site: Any):
    hook = await site.database.webhooks.create(
        account="main", url="http://10.0.0.1/hook", events=(), secret="whsec_QQ"
    )
    reason = {"disabled": True, "reason": "no answer for three days"}
    await site.database.webhooks.update("main", hook.id, reason)
    await page.goto(f"/dashboard/webhooks/{hook.id}")
    await expect(page.get_by_role("alert")).to_contain_text("no answer for three days")
    await expect(page.get_by_text("10.0.0.1 is no public address")).to_be_visible()
    await page.get_by_label("URL").fill("https://repaired.example/hook")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("The webhook is changed.")).to_be_visible()
    await expect(page.get_by_text("is no public address")).to_have_count(0)
    await page.get_by_role("button", name="Start again").click()
    await expect(page.get_by_text("The webhook is started again.")).to_be_visible()
    await page.get_by_role("button", name="Post again").click()
    await expect(page.get_by_text("The events of that time are posted again.")).to_be_visible()
    await expect(page.get_by_role("cell", name="in work")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("cell", name="in work")).to_have_count(1)


async def _furnish(site: Any) -> dict[str, str]:
    """Make something for each page; return the names of what the paths need."""
    message = await _mail(site, f"{'long' * 14}@{'x' * 60}.example", HOSTILE * 2)
    hook = await site.database.webhooks.create(
        account="main",
        url=f"https://{'w' * 60}.example/{'path/' * 30}",
        events=(),
        secret="whsec_QQ",
    )
    delivery = await site.database.outbox.add_call(hook, "test", {"message": HOSTILE * 5})
    await site.dependencies.domains.add("main", "wide.example")
    since = time.time() - 60
    pause = LaneEffect(kind=EffectKind.PAUSE, value=since, since=since, reason="421 4.7.0 " * 20)
    state = LaneState(
        phase=Phase.CLOSED, waiting=9, reason="421 4.7.0 Try again " * 8, effects=[pause]
    )
    await site.database.lanes.save({"a|mx.wide.example": state})
    login = await site.database.credentials.create(
        account="main",
        username=f"n{new_id()}",
        password_hash="-",
        name=HOSTILE,
        features=Features(),
    )
    counts = {"accepted": 1234, "delivered": 1200}
    parts = (WHOLE, MailPart(LOGIN, login.username), MailPart(PROVIDER, HOSTILE[:60]))
    hour = hour_of(time.time())
    await site.database.hours.add(
        new_id(), {RollupKey("main", hour, "", part): counts for part in parts}
    )
    names = {"message": message, "hook": hook.id, "delivery": delivery}
    return names | {"login": login.username}


async def test_every_page_is_accessible_and_fits_narrow_screens(page: Page, site: Any):
    names = await _furnish(site)
    axe, faults = Axe(), {}
    for number, path in enumerate(f"/dashboard{path.format(**names)}" for path in PAGES):
        scheme: Literal["light", "dark"] = "dark" if number % 2 else "light"
        forced: Literal["active", "none"] = "active" if number % 3 == 0 else "none"
        await page.emulate_media(color_scheme=scheme, forced_colors=forced, reduced_motion="reduce")
        await page.set_viewport_size({"width": 360, "height": 800})
        answer = await page.goto(path)
        assert answer is not None
        assert answer.status == REFUSED.get(path.removeprefix("/dashboard"), 200), path
        wide = await page.evaluate(WIDER)
        await page.evaluate(OPEN)
        wide = max(wide, await page.evaluate(WIDER))
        for width in (640, 1280):  # the former is the latter at 200 %
            await page.set_viewport_size({"width": width, "height": 900})
            wide = max(wide, await page.evaluate(WIDER))
        if number % 4 < 2:
            await page.set_viewport_size({"width": 360, "height": 800})
        # The contrast of forced colours is that which the visitor has chosen.
        rules = {"rules": {"color-contrast": {"enabled": forced == "none"}}}
        found = (await axe.run(page, options=_ONLY_FAULTS | rules)).response["violations"]
        told = [
            f"{fault['id']}: {node['html'][:150]}" for fault in found for node in fault["nodes"][:2]
        ]
        if told or wide > 0:
            faults[f"{path} {scheme} {forced}"] = [*told, f"{wide} px too wide"]
        assert await page.evaluate("window.owned") is None
    assert not faults, json.dumps(faults, indent=1)
    assert not re.search(r"href=\"javascript:", await page.content())


async def test_search_goes_on_by_itself_until_it_has_found_something_or_seen_all(
    page: Page, site: Any, monkeypatch: pytest.MonkeyPatch
):
    began = time.time() - 86_400
    told = []
    for number in range(1300):
        to = Recipient(id=new_id(began + number), address=f"r{number}@byitself.example")
        half = number % 2 if number else 1
        submission = factories.submission(
            account="main", received=began + number, recipients=(to,), credential=f"half{half}",
            tags=(f"half{number % 2}",),
        )  # fmt: skip
        told.append(events.accepted(submission, to))
    await site.database.messages.apply(told)
    monkeypatch.setattr(site.database.messages, "look_seconds", 0.0)
    await page.goto("/dashboard/messages?login=half1&tag=half0")
    await expect(page.get_by_role("link", name="r0@byitself.example")).to_be_visible()
    await expect(page.get_by_text("Searched back to")).to_have_count(0)
    await expect(page).to_have_url(re.compile("cursor="))
    await page.goto("/dashboard/messages?login=half0&tag=half1")
    await expect(page.get_by_text("No message matches.")).to_be_visible()
