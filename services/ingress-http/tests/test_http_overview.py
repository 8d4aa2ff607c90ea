"""The first page: what needs attention, and the numbers and charts of a period."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.lanes import LaneState, Phase
from postroad_common.schemas.submission import Recipient
from postroad_common.secrets import hash_password
from postroad_common.store.deliveries import DeliveryState, Result, Try
from postroad_common.store.rollupparts import DOMAIN, LOGIN, PROVIDER, TAG, MailPart
from postroad_common.store.rollups import RollupKey, hour_of
from postroad_ingress_http.dashboard.charts import Chart, Series
from postroad_ingress_http.dashboard.figures import Tile
from postroad_ingress_http.dashboard.periods import DAY, HOUR, WEEK, Period, PeriodChoice
from postroad_ingress_http.dashboard.troubles import FEWEST_FAILURES
from postroad_testing import factories

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALM = "All is well"
ACCOUNT = "calm"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def owner(site: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is no operator."""
    email = "owner@calm.example"
    await site.database.users.create(email, ACCOUNT, hash_password(site.password), role="owner")
    async with site.client() as client:
        del client.headers["Authorization"]
        csrf = site.csrf_of((await client.get("/dashboard/login")).text)
        data = {"csrf": csrf, "email": email, "password": site.password}
        assert (await client.post("/dashboard/login", data=data)).status_code == 303
        yield client


async def webhook_fails(site: Any, now: float) -> None:
    outbox = site.database.outbox
    hook = await site.database.webhooks.create(
        account=ACCOUNT, url="https://fails.example/hook", events=(), secret="whsec_QUJD"
    )
    delivery = await outbox.add_call(hook, "test", {})
    turn = await outbox.turns.take("me", now + 10, 60.0)
    assert turn is not None
    attempt = Try(now, 503, "", 0.1, "<b>busy</b>")
    await outbox.note([Result(delivery, attempt, DeliveryState.PENDING, now + 298)])
    await outbox.turns.end(turn, hold=now + 298, failures=3, failing_since=now - 7200)


async def domain_lost_its_records(site: Any, now: float) -> None:
    made = await site.dependencies.domains.add(ACCOUNT, "lost.example")
    checks = {"ownership": "ok", "spf": "missing"}
    await site.database.domains.set_checks(
        made, checks, verified=True, keys=made.keys, due=now + 9999
    )


async def complaints_are_high(site: Any, now: float) -> None:
    key = RollupKey(ACCOUNT, hour_of(now)[:10], "")
    simulated = {"simulated_delivered": 500, "simulated_complained": 490}
    counts = {"delivered": 1500, "complained": 494, **simulated}
    await site.database.rollups.add(new_id(), {key: counts})


async def mail_fails(site: Any, now: float) -> None:
    key = RollupKey(ACCOUNT, hour_of(now)[:10], "")
    await site.database.rollups.add(new_id(), {key: {"failed": 500}})
    told = {"reply": "550 blocked using zen.spamhaus.org", "code": 550}
    await site.database.events.insert(
        [
            events.happened(EventName.FAILED, new_id(), now, told, account=ACCOUNT)
            for _ in range(FEWEST_FAILURES)
        ]
    )


async def mail_waits(site: Any, now: float) -> None:
    moment = now - 3661
    recipient = Recipient(id=new_id(moment), address="waits@x.example")
    submission = factories.submission(
        account=ACCOUNT, received=moment, sender="shop@unproved.example", recipients=(recipient,)
    )
    await site.database.messages.apply([events.accepted(submission, recipient)])


async def mail_is_deferred(site: Any, now: float) -> None:
    moment = now - 20_000
    recipient = Recipient(id=new_id(moment), address="late@x.example")
    submission = factories.submission(account=ACCOUNT, received=moment, recipients=(recipient,))
    told = [
        events.accepted(submission, recipient),
        events.happened(EventName.DEFERRED, recipient.id, now, {"attempt": 4}, account=ACCOUNT),
    ]
    await site.database.messages.apply(told)


Cause = Callable[[Any, float], Awaitable[None]]
TROUBLES: tuple[tuple[Cause | None, tuple[str, ...]], ...] = (
    (
        webhook_fails,
        (
            "A webhook fails",
            "2 h ago",
            "3 calls in a row",
            "status 503",
            "&lt;b&gt;busy",
            "in 4 min",
        ),
    ),
    (domain_lost_its_records, ("DNS records of lost.example", "Missing or different: spf")),
    (complaints_are_high, ("Complaints are above 0.3 %", "0.40 %", "4 complaints about 1,000")),
    (
        mail_fails,
        ("25.0 % of the mail fails", "500 of 2,000 messages", "(10 of the last 10): The receiving"),
    ),
    (mail_waits, ("Accepted mail waits", "began", "1 h 1 min ago", "To waits@x.example")),
    (None, ("unproved.example sends without being verified", "messages are from it")),
    (mail_is_deferred, ("Mail has been deferred for hours", "after 5 attempts")),
)


async def test_troubles_are_told_first_with_a_link_to_what_helps(
    owner: httpx.AsyncClient, site: Any
):
    assert CALM in (await owner.get("/dashboard")).text
    for cause, texts in TROUBLES:
        if cause is not None:
            await cause(site, time.time())
        page = (await owner.get("/dashboard")).text
        assert [text for text in texts if text not in page] == [], cause
        assert CALM not in page
    assert page.index("Needs attention") < page.index('aria-label="Totals"')
    listed = page.partition("Needs attention</h2>")[2].partition("</section>")[0]
    links = re.findall(r'<a class="button" href="([^"]+)">', listed)
    assert len(links) == len(TROUBLES)
    for link in links:
        assert (await owner.get(link.replace("&amp;", "&"))).status_code == 200, link


async def test_troubles_of_the_installation_are_for_operators_only(
    browser: httpx.AsyncClient, owner: httpx.AsyncClient, site: Any
):
    reason = "421 4.7.0 slow down"
    await site.database.lanes.save(
        {
            "a|mx.shut.example": LaneState(phase=Phase.CLOSED, waiting=3, reason=reason),
            "a|mx.tier.example": LaneState(phase=Phase.CLOSED, requeued=40),
            "a|mx.empty.example": LaneState(phase=Phase.CLOSED),
            "a|mx.stop.example": LaneState(phase=Phase.PAUSED, reason="we repair"),
            "a|mx.fine.example": LaneState(phase=Phase.OPEN, waiting=3),
        }
    )
    page = (await browser.get("/dashboard")).text
    assert "2 lanes are closed by receivers" in page
    assert "mx.tier.example" in page
    assert f"mx.shut.example ({reason})" in page
    assert "1 lane is stopped by operators" in page
    assert "mx.empty.example" not in page
    assert "mx.fine.example" not in page
    assert "closed by receivers" not in (await owner.get("/dashboard")).text


@pytest.mark.parametrize(
    ("value", "before", "change"),
    [(112, 100, "+12 %"), (50, 100, "-50 %"), (100, 100, "±0 %"), (5, 0, "new"), (0, 0, ""),
     (0, 3, "-100 %"), (20_000, 10, "+199,900 %")],
)  # fmt: skip
async def test_number_is_compared_with_the_period_before(value: int, before: int, change: str):
    assert Tile("Accepted", value, "", before).change == change


@pytest.mark.parametrize(
    ("query", "step", "count"),
    [({}, HOUR, 24), ({"period": "week"}, DAY, 7), ({"period": "week", "by": "hour"}, HOUR, 168),
     ({"period": "month", "by": "hour"}, DAY, 30), ({"period": "quarter"}, WEEK, 13),
     ({"period": "year", "by": "x"}, WEEK, 52), ({"period": "x"}, HOUR, 24)],
)  # fmt: skip
async def test_period_has_the_steps_that_suit_it(query: dict[str, str], step: int, count: int):
    now = datetime(2026, 11, 29, 12, 34, tzinfo=UTC).timestamp()
    period = PeriodChoice.read(query).period(now)
    assert (period.step, period.count) == (step, count)
    assert period.end - period.step <= now < period.end
    assert period.before.end == period.start
    if step == WEEK:
        assert datetime.fromtimestamp(period.start, UTC).strftime("%a %H") == "Mon 00"


async def test_chart_stacks_its_numbers_and_has_them_as_a_table():
    period = Period.until(10 * 86_400.0 + 5, 86_400, 3600)
    hour = 10 * 86_400
    sums = period.sums({(hour, "x"): 3, (hour - 3600, "x"): 2, (0, "x"): 9, (hour, "y"): 1})["x"]
    assert (sums[-2:], sum(sums)) == ([2, 3], 5)
    told = Series("only told", [7] * 24, drawn=False)
    chart = Chart(
        "<T>", period, [Series("<x>", sums), Series("z", sums), told], ZoneInfo("Asia/Tokyo")
    )
    html = chart.html()
    assert "<x>" not in html
    assert "<T>" not in html
    assert html.count('class="s1"') == 2 * 2 + 1  # two shapes, and the legend
    assert html.count('tabindex="0"') == 2 * 24 + 1  # bars, and the table
    assert "Sun 11 Jan 09:00 JST: 3 &lt;x&gt;, 3 z, 7 only told" in html
    first, second = re.findall(
        r'class="s[12]" x="[^"]+" y="([\d.]+)" width="[^"]+" height="([\d.]+)"', html
    )[-2:]
    assert float(second[0]) + float(second[1]) == pytest.approx(float(first[0]), abs=0.2)
    assert html.count('<th scope="row">') == 24
    assert "only told: " not in html.split('class="legend"')[1].split("</ul>")[0]


def number_in(text: str) -> int:
    return int(text.replace(",", ""))


async def test_statistics_have_every_chart_and_the_rates_of_tags(
    browser: httpx.AsyncClient, site: Any
):
    today = hour_of(time.time())[:10]
    counts = {"accepted": 2000, "delivered": 1900, "bounced": 19, "opened_unique": 950}
    await site.database.rollups.add(new_id(), {RollupKey("main", today, "promo"): counts})
    many = {"accepted": 9, "delivered": 9}
    tags = {RollupKey("main", today, f"small{number}"): many for number in range(6)}
    tags[RollupKey("main", today, "")] = {"accepted": 2500, "failed": 1}
    await site.database.rollups.add(new_id(), tags)
    page = (await browser.get("/dashboard/stats?parts=tag")).text
    shown = sum(map(number_in, re.findall(r"</i>(?:promo|small\d): ([\d,]+)", page)))
    (other,) = re.findall(r"all other mail: ([\d,]+)", page)
    (accepted,) = re.findall(r'Accepted</span>\s*<span class="value">([\d,]+)', page)
    assert number_in(other) == number_in(accepted) - shown
    assert re.search(r'href="/dashboard/messages\?state=failed&amp;start=[\d-]{10}">Failed', page)
    for text in ("several tags", "Bounces and complaints", "95.0 %", "50.0 %", "1.0 %", "by day"):
        assert text in page, text
    page = (await browser.get("/dashboard/stats?period=quarter&tag=promo")).text
    assert "2,000" in page
    assert "week from" in page
    assert "95.0 % of accepted" in page
    assert (await browser.get("/dashboard/stats?period=day&by=week&tag=x")).status_code == 200


async def test_statistics_and_overview_are_of_a_provider_login_or_sender_domain(
    browser: httpx.AsyncClient, site: Any
):
    await site.database.credentials.create(
        account="main",
        username="part-login",
        password_hash="x",
        name="Newsletter <b>",
        features=Features(),
    )
    now = hour_of(time.time())
    of_provider = {"delivered": 3200, "failed": 800, "opened_unique": 1600}
    numbers = {
        MailPart(PROVIDER, "big & co"): of_provider,
        **{MailPart(PROVIDER, f"small{number}"): {"delivered": 1} for number in range(5)},
        MailPart(LOGIN, "part-login"): {"accepted": 4321, "delivered": 4321},
        MailPart(DOMAIN, "parts.example"): {"accepted": 8765},
    }
    hourly = {MailPart(TAG, "a promo.tag"): {"accepted": 2468, "delivered": 1234}}
    for store, moment in ((site.database.hours, now), (site.database.rollups, now[:10])):
        await store.add(
            new_id(),
            {RollupKey("main", moment, "", part): counts for part, counts in numbers.items()},
        )
    for path in ("/dashboard?period=day", "/dashboard?period=week", "/dashboard/stats?period=day"):
        page = (await browser.get(f"{path}&of=provider:big+%26+co")).text
        assert "80.0 % of delivered and failed" in page, path
        assert '<option value="provider:big &amp; co" selected>' in page, path
        assert '<span class="label">Accepted' not in page, path
        page = (await browser.get(f"{path}&login=part-login")).text
        assert "4,321" in page, path
        assert "selected>Newsletter &lt;b&gt;</option>" in page, path
        assert "8,765" in (await browser.get(f"{path}&domain=parts.example")).text, path
    stats = (await browser.get("/dashboard/stats?period=week")).text
    assert "Delivered by receiving provider over time" in stats
    assert "3,200 big &amp; co" in stats
    assert "provider=big%20%26%20co" in stats
    assert "all others" in stats
    assert "50.0 %" in stats
    for parts, text in (("login", "Newsletter &lt;b&gt;"), ("domain", "parts.example")):
        assert text in (await browser.get(f"/dashboard/stats?period=day&parts={parts}")).text
    await site.database.hours.add(
        new_id(), {RollupKey("main", now, "", part): counts for part, counts in hourly.items()}
    )
    by_hour = (await browser.get("/dashboard/stats?period=day&parts=tag&of=tag:a+promo.tag")).text
    assert "Accepted by tag over time" in by_hour
    assert "2,468 a promo.tag" in by_hour
    assert "50.0 % of accepted" in by_hour
    assert '<option value="tag:a promo.tag" selected>' in by_hour
    assert "2,468" in (await browser.get("/dashboard?period=day&tag=a+promo.tag")).text
