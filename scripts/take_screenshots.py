"""Takes the pictures of the dashboard in docs/images.

Starts a stack of its own in a temporary folder, gives it some days of figures and some mail, and
photographs pages in the Chromium of the distribution.
"""

import asyncio
import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, sync_playwright

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.lanes import LaneState, Phase
from postroad_common.store.database import Database
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_stack.document import StackDocument
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
MOST_OCTETS = 150_000
PEOPLE = ("ann", "bob", "carla", "dirk", "emma", "femke", "gus", "hanna", "ilse", "jan")
SUBJECTS = ("Your order {} is on its way", "Invoice {}", "News of the week, {}", "Reset code {}")
TAGS = ("orders", "invoices", "news", "accounts")
HTML = (
    "<h1>Hello {name}</h1><p>Your order is on its way. <a href='https://shop.example/track'>"
    "Follow it</a>.</p>"
)
SHOTS = {
    "overview": ("/dashboard?period=week", 1000),
    "statistics": ("/dashboard/stats?period=month", 860),
    "message": ("/dashboard/messages/{message}", 820),
    "lanes": ("/dashboard/lanes", 620),
    "webhook": ("/dashboard/webhooks/{hook}", 860),
}


def main() -> None:
    """Take all pictures."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("there is no Chromium on the PATH")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Stack.start(Path(folder) / "state") as stack:
        names = _furnish(stack)
        with sync_playwright() as playwright:
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            chromium = playwright.chromium.launch(executable_path=browser, args=flags)
            context = chromium.new_context(
                base_url=stack.document.http, viewport={"width": 1040, "height": 900}
            )
            _log_in(context, stack.document)
            for name, (path, height) in SHOTS.items():
                _take(context, name, path.format(**names), height)
            chromium.close()
        stack.stop(wipe=True)


def _furnish(stack: Stack) -> dict[str, str]:
    """Send mail, and write figures of the days before; return the names of what the paths need."""
    api = stack.api()
    api.post("/v1/domains", {"domain": "shop.example", "trusted": True})
    hook = api.post("/v1/webhooks", {"url": "http://127.0.0.1:9/hooks/mail"})
    api.post("/v1/credentials", {"name": "web shop"})
    ids: list[str] = []
    for number in range(24):
        name = PEOPLE[number % len(PEOPLE)]
        recipient = f"{name}@{('example.net', 'example.org', 'mail.example')[number % 3]}"
        ids += api.post(
            "/v1/send",
            {
                "from": "The Shop <shop@shop.example>",
                "recipient": recipient,
                "to": recipient,
                "subject": SUBJECTS[number % 4].format(20_400 + number),
                "html": HTML.format(name=name.capitalize()),
                "tags": [TAGS[number % 4]],
            },
        )
    wait_until(lambda: (api.message(ids[-4]) or {}).get("state") == "delivered")
    asyncio.run(_write(stack.document.mongodb))
    return {"message": ids[-4], "hook": hook["id"]}


async def _write(uri: str) -> None:
    """Write the figures of two months, and lanes that receivers slow down."""
    database = Database(uri)
    now = time.time()
    days = {
        RollupKey("main", hour_of(now - day * 86_400)[:10], tag): _figures(day, share)
        for day in range(60)
        for tag, share in (("", 1.0), *zip(TAGS, (0.4, 0.3, 0.2, 0.1), strict=True))
    }
    await database.rollups.add(new_id(), days)
    reason = "421 4.7.28 Too many connections from your network"
    await database.lanes.save(
        {
            "192.0.2.10|mx.mail.example": LaneState(
                phase=Phase.CLOSED, waiting=182, window=2, reason=reason
            ),
            "192.0.2.10|mx.slow.example": LaneState(
                phase=Phase.LIMITED, connections=2, window=2, rate=4.5, waiting=61,
                reason="450 4.2.1 This mailbox receives mail at too high a rate",
            ),
            "192.0.2.10|mx.fast.example": LaneState(
                phase=Phase.OPEN, connections=8, busy=5, window=12, waiting=24
            ),
        }
    )  # fmt: skip
    await database.close()


def _figures(day: int, share: float) -> Counter[str]:
    """Return the numbers of one day, more in the middle of the week and lately."""
    mails = int(share * (9000 + 2500 * math.sin(day) - 2800 * (day % 7 in {0, 6}) - 40 * day))
    return Counter(
        accepted=mails, delivered=mails * 97 // 100, failed=mails * 2 // 100,
        suppressed=mails // 100, deferred=mails // 9, deferred_unique=mails // 15,
        bounced=mails // 120, bounced_hard=mails // 180, bounced_soft=mails // 360,
        complained=mails // 2500, opened=mails // 2, opened_unique=mails * 38 // 100,
        opened_machine=mails // 6, clicked=mails // 8, clicked_unique=mails // 11,
        clicked_machine=mails // 40, unsubscribed=mails // 700,
    )  # fmt: skip


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
    """Photograph the top of a page; the picture must not be large."""
    page = context.new_page()
    page.set_viewport_size({"width": 1040, "height": height})
    page.goto(path)
    bars: Any = page.locator(".chart.wide .bar")
    if bars.count() > 3:
        bars.nth(3).evaluate("bar => bar.focus({ preventScroll: true })")
    target = IMAGES / f"{name}.png"
    page.screenshot(path=target)
    page.close()
    size = target.stat().st_size
    sys.stdout.write(f"{target.name}: {size} octets\n")
    if size > MOST_OCTETS:
        sys.exit(f"{target} is larger than {MOST_OCTETS} octets")


if __name__ == "__main__":
    main()
