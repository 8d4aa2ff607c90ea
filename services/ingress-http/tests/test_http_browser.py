"""The dashboard in a real browser: what refreshes, the keyboard, and walks through its acts.

Chromium of the distribution is driven by Playwright; where there is none, the tests are skipped.
Nothing waits for a clock: a page refreshes itself at once when it comes into view. How every page
looks to machines is in `test_http_accessibility.py`.
"""

import re
import time
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName
from postroad_common.schemas.lanes import LaneState, Phase
from postroad_common.schemas.submission import Recipient
from postroad_common.secrets import hash_password
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_testing import factories

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
SEEN = "document.dispatchEvent(new Event('visibilitychange'))"
HOSTILE = "<script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"


async def _count(site: Any, **counts: int) -> None:
    await site.database.hours.add(new_id(), {RollupKey("main", hour_of(time.time()), ""): counts})


async def test_overview_follows_what_happens_and_keeps_focus_and_details(page: Page, site: Any):
    await site.mail("first@live.example", HOSTILE)
    await page.goto("/dashboard")
    await expect(page.locator("#numbers time").first).to_contain_text("JST")
    await page.locator("details.numbers summary").first.click()
    bar = page.locator(".chart.wide").first.locator(".bar").last
    await bar.focus()
    await _count(site, accepted=7654, delivered=7000)
    await site.mail("second@live.example", "new")
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
        page = await site.log_in_browser(alone)
        await alone.clear_cookies()
        await page.evaluate(SEEN)
        await expect(page.locator("[data-live-note]")).to_contain_text("You are logged out")


async def test_mail_in_flight_is_followed_until_it_has_arrived(page: Page, site: Any):
    message = await site.mail("flies@live.example", "In flight")
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
    message = await site.mail("Wanted@find.example", "Where are you")
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


async def test_form_sent_after_the_session_has_ended_is_found_again_after_logging_in(
    chromium: Browser, address: str, site: Any
):
    async with await chromium.new_context(base_url=address) as alone:
        page = await site.log_in_browser(alone)
        await page.goto("/dashboard/suppressions")
        form = page.locator("form[action='/dashboard/suppressions'][method=post]")
        await form.locator("[name=address]").fill("typed@unsent.example")
        await form.locator("[name=reason]").fill("asked by phone")
        await alone.clear_cookies()
        await form.get_by_role("button").first.click()
        await expect(page.get_by_text("nothing was done")).to_be_visible()
        await page.get_by_label("E-mail").fill(site.email)
        await page.get_by_label("Password").fill(site.password)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_text("Here is again what you had typed.")).to_be_visible()
        await expect(form.locator("[name=address]")).to_have_value("typed@unsent.example")
        await expect(form.locator("[name=reason]")).to_have_value("asked by phone")
        assert await page.evaluate("sessionStorage.length") == 0
        await form.get_by_role("button").first.click()
        await expect(page.get_by_text("typed@unsent.example is suppressed.")).to_be_visible()


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
    gone = {"disabled": True, "reason": "the end point answered 410 Gone"}
    await site.database.webhooks.update("main", hook.id, gone)
    # The page that is open says so by itself, and offers what helps.
    await expect(page.get_by_role("alert")).to_contain_text("410 Gone", timeout=60_000)
    await page.get_by_role("button", name="Start again").click()
    await expect(page.get_by_text("The webhook is started again.")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_reader_sees_no_button_and_a_form_of_better_days_is_refused(
    chromium: Browser, address: str, site: Any
):
    email = f"{new_id()}@browser.example"
    database = site.database
    await database.users.create(email, "main", hash_password(site.password), role="developer")
    message = await site.mail("role@live.example", "For eyes only")
    async with await chromium.new_context(base_url=address) as alone:
        page = await site.log_in_browser(alone, email)
        suppress, confirmed = (
            page.locator("summary", has_text="Suppress address…"),
            page.get_by_role("button", name="Suppress address", exact=True),
        )
        await page.goto(f"/dashboard/messages/{message}")
        await suppress.click()
        await database.users.set_role("main", email, "reader")
        await confirmed.click()
        await expect(page.locator("main")).to_contain_text("lacks the scope `messages`")
        assert await database.suppressions.get("main", "role@live.example") is None
        await page.goto(f"/dashboard/messages/{message}")
        await expect(page.get_by_role("heading", level=1)).to_have_text("For eyes only")
        await expect(suppress).to_have_count(0)
        await page.goto("/dashboard/logins")
        await expect(page.get_by_role("heading", level=1)).to_have_text("SMTP logins")
        await expect(page.get_by_role("link", name="New login")).to_have_count(0)
        menu = page.get_by_role("navigation").first
        await expect(menu.get_by_role("link", name="Messages")).to_have_count(1)
        for hidden in ("Users", "Lanes", "REST tokens"):
            await expect(menu.get_by_role("link", name=hidden)).to_have_count(0)
        answer = await page.goto("/dashboard/users")
        assert answer is not None
        assert answer.status == 403
        await expect(page.locator("main")).to_contain_text("lacks the scope `users:read`")
        await database.users.set_role("main", email, "developer")
        await page.goto("/dashboard/logins")
        await expect(page.get_by_role("link", name="New login")).to_be_visible()


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
