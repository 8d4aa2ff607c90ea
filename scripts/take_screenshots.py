"""Takes the pictures of the dashboard in docs/images.

Starts a stack of its own in a temporary folder, gives it some days of figures and some mail
(`screenshot_data`), and photographs each page in the Chromium of the distribution.
"""

import base64
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, sync_playwright
from screenshot_data import furnish

from postroad_stack.document import StackDocument
from postroad_stack.stack import Stack

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
MOST_OCTETS = 80_000
WIDTH = 1040
QUALITY = 80
SHOTS = {
    "overview": ("/dashboard?period=week", 1000),
    "messages": ("/dashboard/messages", 760),
    "message": ("/dashboard/messages/{message}", 860),
    "message-html": ("/dashboard/messages/{message}?tab=html", 860),
    "message-failed": ("/dashboard/messages/{failed}", 760),
    "statistics": ("/dashboard/stats?period=month", 860),
    "statistics-providers": ("/dashboard/stats?period=month&parts=provider#parts", 760),
    "jobs": ("/dashboard/jobs", 480),
    "job-new": ("/dashboard/jobs/new?act=resend&state=failed", 620),
    "templates": ("/dashboard/templates", 420),
    "template": ("/dashboard/templates/{template}", 860),
    "bounces": ("/dashboard/bounces", 620),
    "suppressions": ("/dashboard/suppressions", 860),
    "feeds": ("/dashboard/feeds", 560),
    "logins": ("/dashboard/logins", 480),
    "login": ("/dashboard/logins/{login}", 860),
    "tokens": ("/dashboard/tokens", 860),
    "webhooks": ("/dashboard/webhooks", 560),
    "webhook": ("/dashboard/webhooks/{hook}", 860),
    "domains": ("/dashboard/domains", 480),
    "domain": ("/dashboard/domains/shop.example", 860),
    "users": ("/dashboard/users", 420),
    "account": ("/dashboard/account", 420),
    "accounts": ("/dashboard/accounts", 620),
    "start": ("/dashboard/start", 860),
    "audit": ("/dashboard/audit", 760),
    "profile": ("/dashboard/profile", 620),
    "lanes": ("/dashboard/lanes", 620),
    "lane": ("/dashboard/lanes/one?key=192.0.2.10|mx.slow.example", 700),
    "queues": ("/dashboard/queues", 760),
    "reference": ("/docs", 620),
}
"""By the name of the picture: the page, and how much of it is shown."""


def main() -> None:
    """Take all pictures."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("there is no Chromium on the PATH")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Stack.start(Path(folder) / "state") as stack:
        names = furnish(stack)
        with sync_playwright() as playwright:
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            chromium = playwright.chromium.launch(executable_path=browser, args=flags)
            context = chromium.new_context(base_url=stack.document.http)
            _log_in(context, stack.document)
            for name, (path, height) in SHOTS.items():
                _take(context, name, path.format(**names), height)
            chromium.close()
        stack.stop(wipe=True)


def _log_in(context: BrowserContext, document: StackDocument) -> None:
    assert document.dashboard is not None  # noqa: S101 - it was started
    page = context.new_page()
    page.goto("/dashboard/login")
    page.get_by_label("E-mail").fill(document.dashboard.email)
    page.get_by_label("Password").fill(document.dashboard.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/dashboard")
    page.goto("/dashboard/start")
    page.locator("form[action$='/leave'] button").first.click()
    page.close()


def _take(context: BrowserContext, name: str, path: str, height: int) -> None:
    """Photograph the top of a page, or what its address points to; the picture must be small."""
    page = context.new_page()
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto(path, wait_until="networkidle")
    if name == "template":  # its preview comes a moment later
        page.frame_locator("iframe").frame_locator("iframe").locator("h1").wait_for()
    bars: Any = page.locator(".chart.wide .bar")
    if bars.count() > 3:
        bars.nth(3).evaluate("bar => bar.focus({ preventScroll: true })")
    session = context.new_cdp_session(page)
    shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    page.close()
    picture = base64.b64decode(shot["data"])
    target = IMAGES / f"{name}.webp"
    target.write_bytes(picture)
    sys.stdout.write(f"{target.name}: {len(picture)} octets\n")
    if len(picture) > MOST_OCTETS:
        sys.exit(f"{target} is larger than {MOST_OCTETS} octets")


if __name__ == "__main__":
    main()
