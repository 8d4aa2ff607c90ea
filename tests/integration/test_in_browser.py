"""What a customer does first and most, in Chromium on the whole stack, up to the mail at the sink.

Everything else of the dashboard is walked through in `services/ingress-http/tests`.
"""

import smtplib
import ssl
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from postroad_common.mail.identifiers import new_id
from postroad_testing.chromium import chromium_flags, chromium_path

pytestmark = pytest.mark.timeout(600)
_PATIENCE_MS = 90_000
expect.set_options(timeout=_PATIENCE_MS)


@pytest.fixture
def page(road: Any) -> Iterator[Page]:
    """Yield a page of somebody who has logged in to the dashboard by its form."""
    path = chromium_path()
    document = road.stack.document
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=chromium_flags(), timeout=2 * _PATIENCE_MS
        )
        context = browser.new_context(base_url=document.http)
        context.set_default_timeout(_PATIENCE_MS)
        made = context.new_page()
        made.goto("/dashboard/login")
        made.get_by_label("E-mail").fill(document.dashboard.email)
        made.get_by_label("Password").fill(document.dashboard.password)
        made.get_by_role("button", name="Log in").click()
        made.wait_for_url("**/dashboard")
        yield made
        browser.close()


def fact(page: Page, name: str) -> str:
    """Return what a page shows beside `name`, without the word of its button."""
    shown = page.locator("dt", has_text=name).locator("xpath=following-sibling::dd[1]")
    code = shown.locator("code")
    return (code if code.count() else shown).inner_text()


def test_login_made_in_a_browser_sends_and_its_mail_is_found_read_and_sent_again(
    road: Any, page: Page, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    name = f"Shop {new_id()}"
    page.goto("/dashboard/logins")
    page.get_by_role("link", name="New login").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create login").click()
    page.wait_for_url("**/dashboard/secret")
    username, password = fact(page, "Username"), fact(page, "Password")
    expect(page.get_by_text("YOUR-PASSWORD")).to_be_visible()
    page.get_by_role("link", name="Done").click()
    page.goto("/dashboard/logins")
    page.get_by_role("link", name=name).click()
    assert fact(page, "Username") == username
    host, port = fact(page, "Server"), int(fact(page, "Ports").split(" with STARTTLS")[0])

    recipient = f"{new_id()}@receiver.test"
    with smtplib.SMTP(host, port, "app.test", 90) as client:
        client.starttls(context=ssl.create_default_context(cafile=road.stack.document.ca))
        client.login(username, password)
        sent = road.submit_on(client, make_mail(subject), [recipient])
    road.wait_state(sent.id, "delivered")

    page.goto("/dashboard/messages")
    page.get_by_label("Recipient").fill(recipient)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("link", name=recipient).click()
    page.wait_for_url(f"**/{sent.id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(subject)
    expect(page.locator("#state")).to_have_text("delivered")
    expect(page.locator("#facts")).to_contain_text(name)

    def is_read() -> bool:
        page.goto(f"/dashboard/messages/{sent.id}?tab=text")
        return "Dear reader, see" in page.locator("#text").inner_text()

    road.until(is_read, "the text of the mail is shown")
    page.get_by_text("Send again…", exact=True).click()
    page.get_by_role("button", name="Send again", exact=True).click()
    expect(page.locator(".notice")).to_contain_text("Sent again.")
    second = urlsplit(page.url).path.rpartition("/")[2]
    assert second != sent.id
    road.wait_state(second, "delivered")
    arrived = road.received(subject, 2)
    assert [each.recipients for each in arrived] == [(recipient,), (recipient,)]
    page.goto(f"/dashboard/messages?recipient={recipient}")
    expect(page.get_by_role("link", name=recipient)).to_have_count(2)


def test_first_steps_lead_to_a_test_mail_that_arrives(road: Any, page: Page) -> None:
    recipient = f"{new_id()}@receiver.test"
    page.goto("/dashboard/start")
    page.get_by_label("From").fill("me@shop.test")
    page.locator("[name=recipient]").fill(recipient)
    page.get_by_role("button", name="Send a test mail").click()
    page.wait_for_url("**/start?mail=*")
    expect(page.locator("#test-mail .state-delivered")).to_be_visible()
    expect(page.locator("#test-mail")).to_contain_text(recipient)
    message = page.url.rpartition("=")[2]
    assert road.wait_state(message, "delivered")["recipient"] == recipient
    assert len(road.sink.messages(recipient=recipient)) == 1
