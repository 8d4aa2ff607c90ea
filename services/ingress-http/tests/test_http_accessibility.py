"""Every page of the dashboard in Chromium: axe finds nothing, nothing is wider than the screen."""

import json
import re
import time
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.features import Features
from postroad_common.schemas.lanes import EffectKind, LaneEffect, LaneState, Phase
from postroad_common.store.rollupparts import LOGIN, PROVIDER, WHOLE, MailPart
from postroad_common.store.rollups import RollupKey, hour_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
COLOURS = ["color-contrast", "link-in-text-block"]  # all that axe says of colours
PHONE, DESK = 360, 1280
WIDTHS = (PHONE, 640, 1040, DESK)  # the second is the last at 200 %
HOSTILE = "<script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
WIDER = """Math.max(
  document.documentElement.scrollWidth - innerWidth,
  ...[...document.querySelectorAll(".scroll:has(> .stack)")].map(
    (one) => one.scrollWidth - one.clientWidth
  ),
)"""
OPEN = "for (const one of document.querySelectorAll('main details')) one.open = true"
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


async def _furnish(site: Any) -> dict[str, str]:
    """Make something for each page; return the names of what the paths need."""
    message = await site.mail(f"{'long' * 14}@{'x' * 60}.example", HOSTILE * 2)
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


async def _faults(page: Page, *rules: str) -> list[str]:
    """Return what axe finds, by all of its rules or by some.

    Frames are left out: no script runs in the mail that they show, so axe would wait for them.
    """
    options: dict[str, Any] = {"resultTypes": ["violations"], "iframes": False}
    if rules:
        options["runOnly"] = list(rules)
    found = await page.evaluate("options => axe.run(options).then(all => all.violations)", options)
    return [
        f"{fault['id']}: {node['html'][:150]}" for fault in found for node in fault["nodes"][:2]
    ]


async def test_every_page_is_accessible_and_fits_narrow_screens_in_every_look(
    page: Page, site: Any
):
    """Each page is loaded once, and then seen in light and dark at the widths of phone and desk.

    Only colours differ in the dark, so only their rules are asked there. In forced colours no rule
    is left to ask: the visitor has chosen the colours, and what is shown is the same.
    """
    names = await _furnish(site)
    script, wrong = Axe().axe_script, {}
    await page.emulate_media(reduced_motion="reduce")
    for path in PAGES:
        await page.set_viewport_size({"width": PHONE, "height": 800})
        answer = await page.goto(f"/dashboard{path.format(**names)}")
        assert answer is not None
        assert answer.status == REFUSED.get(path, 200), path
        wide = {0: await page.evaluate(WIDER)}
        await page.evaluate(OPEN)
        await page.evaluate(script)
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 900})
            wide[width] = await page.evaluate(WIDER)
            if width in {PHONE, DESK}:
                await page.emulate_media(color_scheme="light")
                light = await _faults(page)
                await page.emulate_media(color_scheme="dark")
                if faults := light + await _faults(page, *COLOURS):
                    wrong[f"{path} {width}"] = faults
        if max(wide.values()) > 0:
            wrong[path] = [f"{over} px too wide at {width}" for width, over in wide.items()]
        assert await page.evaluate("window.owned") is None
    assert not wrong, json.dumps(wrong, indent=1)
    assert not re.search(r"href=\"javascript:", await page.content())
