"""What is on the pictures of the dashboard: mail, what became of it, and some weeks of figures."""

import asyncio
import math
import time
from collections import Counter

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName
from postroad_common.schemas.lanes import LaneState, Phase
from postroad_common.store.database import Database
from postroad_common.store.rollupparts import DOMAIN, LOGIN, PROVIDER, WHOLE, MailPart
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_sink.client import SinkClient
from postroad_stack.rest import Json, RestClient
from postroad_stack.stack import Stack
from postroad_testing.waiting import wait_until

ACCOUNT = "main"
PEOPLE = ("ann", "bob", "carla", "dirk", "emma", "femke", "gus", "hanna", "ilse", "jan")
PLACES = ("example.net", "example.org", "mail.example")
SUBJECTS = ("Your order {} is on its way", "Invoice {}", "News of the week, {}", "Reset code {}")
TAGS = ("orders", "invoices", "news", "accounts")
SHARES = {"google": 0.44, "microsoft": 0.27, "yahoo": 0.12, "icloud": 0.08, "other": 0.09}
HTML = (
    "<h1>Hello {name}</h1><p>Your order is on its way. <a href='https://shop.example/track'>"
    "Follow it</a>.</p>"
)
TEMPLATE = "<h1>Hello {{ name }}</h1><p>Your parcel {{ parcel }} leaves today.</p>"


def furnish(stack: Stack) -> dict[str, str]:
    """Send mail, and write figures of the days before; return the names of what the paths need."""
    api = stack.api()
    api.post("/v1/domains", {"domain": "shop.example", "trusted": True})
    hook = api.post("/v1/webhooks", {"url": "http://127.0.0.1:9/hooks/mail"})
    login = api.post("/v1/credentials", {"name": "Web shop"})
    api.post("/v1/credentials", {"name": "Newsletter"})
    api.post("/v1/suppressions", {"address": "old@example.net", "reason": "asked by phone"})
    template = api.post(
        "/v1/templates", {"name": "Parcel", "subject": "Parcel {{ parcel }}", "html": TEMPLATE}
    )
    _misbehave(stack)
    ids = [_send(api, number) for number in range(24)]
    wait_until(lambda: _has_come_to(api, ids[20], "delivered"))
    wait_until(lambda: _has_come_to(api, ids[3], "failed"))
    wait_until(lambda: _has_come_to(api, ids[5], "deferred"))
    asyncio.run(_write(stack.document.mongodb, ids, login["username"]))
    return {
        "message": ids[20],
        "failed": ids[3],
        "deferred": ids[5],
        "hook": hook["id"],
        "login": login["username"],
        "template": template["id"],
    }


def _misbehave(stack: Stack) -> None:
    """Have one recipient not exist, and one that takes nothing now."""
    rules: list[Json] = [
        {"recipient": "dirk@*", "reply": "550 5.1.1 No such user here"},
        {"recipient": "femke@*", "reply": "450 4.2.2 Mailbox is full, try later"},
    ]
    SinkClient(stack.sink_url).behave(*rules)


def _send(api: RestClient, number: int) -> str:
    name = PEOPLE[number % len(PEOPLE)]
    recipient = f"{name}@{PLACES[number % 3]}"
    sent = api.post(
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
    return str(next(iter(sent)))


def _has_come_to(api: RestClient, message: str, state: str) -> bool:
    return (api.message(message) or {}).get("state") == state


async def _write(uri: str, ids: list[str], login: str) -> None:
    """Write the figures of two months, reactions, and lanes that receivers slow down."""
    database = Database(uri)
    now = time.time()
    parts: list[tuple[MailPart, float]] = [
        (WHOLE, 1.0),
        *((MailPart(PROVIDER, name), share) for name, share in SHARES.items()),
        *((MailPart(LOGIN, name), share) for name, share in ((login, 0.7), ("dashboard", 0.3))),
        *((MailPart(DOMAIN, f"{name}.example"), 0.5) for name in ("shop", "news")),
    ]
    days = {
        RollupKey(ACCOUNT, hour_of(now - day * 86_400)[:10], "", part): _figures(day, share, part)
        for day in range(60)
        for part, share in parts
    } | {
        RollupKey(ACCOUNT, hour_of(now - day * 86_400)[:10], tag): _figures(day, share, WHOLE)
        for day in range(60)
        for tag, share in zip(TAGS, (0.4, 0.3, 0.2, 0.1), strict=True)
    }
    hours = {
        RollupKey(ACCOUNT, hour_of(now - hour * 3600), "", part): _figures(hour, share / 24, part)
        for hour in range(1, 14 * 24)
        for part, share in parts
    }
    await database.rollups.add(new_id(), days)
    await database.hours.add(new_id(), hours)
    await _react(database, ids, now)
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


async def _react(database: Database, ids: list[str], now: float) -> None:
    """Have a mail opened and a link of it followed, and another one come back."""
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X)"
    visit = {"machine": False, "ip": "198.51.100.7", "user_agent": agent}
    told = [
        events.happened(EventName.OPENED, ids[20], now + 40, visit, account=ACCOUNT),
        events.happened(
            EventName.CLICKED,
            ids[20],
            now + 55,
            {**visit, "url": "https://shop.example/track", "link": 0},
            account=ACCOUNT,
        ),
        events.happened(
            EventName.BOUNCED,
            ids[8],
            now + 70,
            {"class": "mailbox-full", "diagnostic": "552 5.2.2 Mailbox is full", "code": 552},
            account=ACCOUNT,
        ),
    ]
    await database.events.insert(told)
    await database.messages.apply(told)
    await database.messages.count_reactions({ids[20]: (1, 1)})


def _figures(step: int, share: float, part: MailPart) -> Counter[str]:
    """Return the numbers of one day, more in the middle of the week and lately."""
    mails = int(
        share * (9000 + 2500 * math.sin(step) - 2800 * (step % 7 in {0, 6}) - 40 * (step % 60))
    )
    counts = Counter(
        accepted=mails, delivered=mails * 97 // 100, failed=mails * 2 // 100,
        suppressed=mails // 100, deferred=mails // 9, deferred_unique=mails // 15,
        bounced=mails // 180 + mails // 360, bounced_hard=mails // 180, bounced_soft=mails // 360,
        complained=mails // 2500, opened=mails // 2, opened_unique=mails * 38 // 100,
        opened_machine=mails // 6, clicked=mails // 8, clicked_unique=mails // 11,
        clicked_machine=mails // 40, unsubscribed=mails // 700,
    )  # fmt: skip
    if part.by == PROVIDER:
        del counts["accepted"], counts["suppressed"]
    return counts
