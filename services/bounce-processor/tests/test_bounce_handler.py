"""Returns through the running service, with real RabbitMQ and MongoDB."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from postroad_bounce_processor.reporting.forward import MARK
from postroad_bounce_processor.suppression import DAY
from postroad_common.broker.topology import FAILURES, RETURNS
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import EventName, happened
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundRecipient
from postroad_common.schemas.submission import Client
from postroad_common.store.strikes import Strike

if TYPE_CHECKING:
    from conftest import Bench  # the service's own, beside this file

DATA = Path(__file__).parent / "data"
HARD = (DATA / "postfix-user-unknown.eml").read_bytes()
FULL = (DATA / "postfix-quota.eml").read_bytes()
DELAYED = (DATA / "postfix-delayed.eml").read_bytes()
VACATION = (DATA / "autoresponder-full-text.eml").read_bytes()
COMPLAINT = (DATA / "complaint-abuse.eml").read_bytes()
UNKNOWN = (DATA / "unknown-format.eml").read_bytes()


async def test_hard_bounce_is_recorded_suppressed_and_forwarded(bench: "Bench"):
    message = await bench.message()
    item = await bench.returned(message, HARD, client=Client(ip="192.0.2.9", helo="mx.example.net"))
    await bench.until(lambda: bool(bench.events and bench.outbound))
    (event,) = bench.events
    assert event.event is EventName.BOUNCED
    assert event.message == message
    assert event.account == "acc"
    assert event.id == f"{message}.bounced.{item.id}"
    assert event.facts["class"] == "no-such-user"
    assert event.facts["hard"] is True
    assert event.facts["code"] == 550
    assert event.facts["enhanced"] == "5.1.1"
    assert event.facts["host"] == "mx.example.net"
    assert event.facts["forwarded"] is True
    entry = await bench.database.suppressions.get("acc", "kim@example.net")
    assert entry is not None
    assert entry.kind == "hard"
    assert entry.message == message
    assert entry.reason.startswith("no-such-user: 550 5.1.1")
    assert entry.expires is not None
    assert entry.expires > time.time() + 100 * DAY
    ((outbound, body),) = bench.outbound
    assert outbound.kind == "forward"
    assert outbound.mail_from == ""
    assert outbound.envelope == ""
    assert outbound.recipients[0].address == "orders@sender.example"
    assert outbound.recipients[0].notify == ("never",)
    assert outbound.size == len(body)
    assert body.endswith(HARD)
    assert MARK.encode() in body
    assert event.facts["forward"] == outbound.id
    (begun,) = bench.own
    assert (begun.event, begun.message) == (EventName.ACCEPTED, outbound.id)
    assert begun.facts["source"] == "forward"
    assert begun.facts["about"] == message
    assert begun.facts["recipient"] == "orders@sender.example"
    assert begun.facts["subject"] == outbound.subject == "Undelivered Mail Returned to Sender"
    assert await bench.count(RETURNS.name) == 0


async def test_the_same_return_twice_leads_to_the_same_ids(bench: "Bench"):
    message = await bench.message()
    item = await bench.returned(message, HARD)
    await bench.put(RETURNS.name, encode(item, HARD))
    await bench.until(lambda: len(bench.events) == 2 and len(bench.outbound) == 2)
    assert len({event.id for event in bench.events}) == 1
    assert len({outbound.id for outbound, _ in bench.outbound}) == 1
    assert len({body for _, body in bench.outbound}) == 1


async def test_soft_bounce_is_recorded_and_not_suppressed(bench: "Bench"):
    message = await bench.message()
    await bench.returned(message, FULL)
    await bench.until(lambda: bool(bench.events and bench.outbound))
    assert bench.events[0].facts["class"] == "mailbox-full"
    assert bench.events[0].facts["hard"] is False
    assert await bench.database.suppressions.get("acc", "kim@example.net") is None


async def test_soft_bounces_over_weeks_suppress_for_a_while(bench: "Bench"):
    now = time.time()
    await bench.database.strikes.add(
        Strike("acc", "Kim@example.net", now - age * DAY) for age in (9, 4)
    )
    await bench.returned(await bench.message(), FULL)
    await bench.until(lambda: bool(bench.events))
    entry = await bench.database.suppressions.get("acc", "kim@example.net")
    assert entry is not None
    assert entry.kind == "soft"
    assert entry.expires is not None
    assert now + 20 * DAY < entry.expires < now + 40 * DAY
    assert "3 days" in entry.reason


async def test_soft_bounces_with_a_delivery_in_between_do_not_suppress(bench: "Bench"):
    now = time.time()
    await bench.database.strikes.add(
        Strike("acc", "kim@example.net", now - age * DAY) for age in (9, 4)
    )
    other = await bench.message(received=now - 2 * DAY)
    await bench.database.messages.apply(
        [happened(EventName.DELIVERED, other, now - 2 * DAY, {}, account="acc")]
    )
    await bench.returned(await bench.message(), FULL)
    await bench.until(lambda: bool(bench.events))
    assert await bench.database.suppressions.get("acc", "kim@example.net") is None


async def test_of_a_simulated_address_all_is_told_and_nothing_learnt(bench: "Bench"):
    address = "bounced+1@simulator.invalid"
    message = await bench.message(recipient=address)
    for raw in (HARD, COMPLAINT):
        await bench.returned(message, raw.replace(b"kim@example.net", address.encode()))
    outbound = {"recipients": (OutboundRecipient(id=new_id(), address=address),)}
    await bench.failed(code=550, enhanced="5.1.1", reply="550 5.1.1 no", message=outbound)
    await bench.until(lambda: len(bench.events) == 2 and len(bench.outbound) == 3)
    told = {event.event: event.facts for event in bench.events}
    assert told[EventName.BOUNCED]["hard"] is True
    assert told[EventName.BOUNCED]["simulated"] is told[EventName.COMPLAINED]["simulated"] is True
    assert sorted(one.kind for one, _ in bench.outbound) == ["dsn", "forward", "forward"]
    assert await bench.database.suppressions.get("acc", address) is None


async def test_complaint_is_recorded_and_suppressed_for_good(bench: "Bench"):
    message = await bench.message()
    await bench.returned(message, COMPLAINT, mail_from="fbl@provider.example")
    await bench.until(lambda: bool(bench.events and bench.outbound))
    assert bench.events[0].event is EventName.COMPLAINED
    assert bench.events[0].facts["type"] == "abuse"
    entry = await bench.database.suppressions.get("acc", "kim@example.net")
    assert entry is not None
    assert entry.kind == "complaint"
    assert entry.expires is None


async def test_automatic_reply_is_a_response_and_never_suppresses(bench: "Bench"):
    message = await bench.message()
    await bench.returned(message, VACATION)
    await bench.until(lambda: bool(bench.events and bench.outbound))
    assert bench.events[0].event is EventName.RESPONSE
    assert bench.events[0].facts["type"] == "automatic"
    assert await bench.database.suppressions.get("acc", "kim@example.net") is None


async def test_report_of_a_delay_is_no_bounce_and_not_forwarded_unasked(bench: "Bench"):
    message = await bench.message()
    await bench.returned(message, DELAYED)
    asked = await bench.message(notify=("failure", "delay"))
    await bench.returned(asked, DELAYED)
    await bench.until(lambda: len(bench.events) == 2 and len(bench.outbound) == 1)
    await bench.idle()
    assert {event.event for event in bench.events} == {EventName.RESPONSE}
    assert {event.facts["type"] for event in bench.events} == {"delayed"}
    assert len(bench.outbound) == 1
    forwarded = {event.message: event.facts["forwarded"] for event in bench.events}
    assert forwarded == {message: False, asked: True}


async def test_notify_never_holds_back_reports_and_lets_other_returns_through(bench: "Bench"):
    message = await bench.message(notify=("never",))
    await bench.returned(message, HARD)
    await bench.returned(message, VACATION)
    await bench.returned(message, UNKNOWN)
    await bench.until(lambda: len(bench.events) == 3 and len(bench.outbound) == 2)
    await bench.idle()
    bodies = [body for _, body in bench.outbound]
    assert sum(body.endswith(VACATION) for body in bodies) == 1
    assert sum(body.endswith(UNKNOWN) for body in bodies) == 1
    assert len(bench.named(EventName.BOUNCED)) == 1


@pytest.mark.parametrize(
    "facts",
    [
        {"forward_bounces": False},
        {"envelope": ""},
        {"envelope": "b123@bounce.example"},
    ],
)
async def test_return_is_recorded_and_not_forwarded(bench: "Bench", facts: dict[str, object]):
    message = await bench.message(**facts)
    await bench.returned(message, HARD)
    await bench.until(lambda: bool(bench.events))
    await bench.idle()
    assert bench.events[0].event is EventName.BOUNCED
    assert bench.events[0].facts["forwarded"] is False
    assert bench.outbound == []


async def test_our_own_forward_coming_back_is_not_forwarded_again(bench: "Bench"):
    message = await bench.message()
    await bench.returned(message, HARD)
    await bench.until(lambda: bool(bench.outbound))
    came_back = bench.outbound.pop()[1]
    await bench.returned(message, came_back)
    await bench.until(lambda: len(bench.events) == 2)
    await bench.idle()
    assert bench.outbound == []


async def test_return_before_its_message_is_held_until_the_log_has_it(bench: "Bench"):
    now = time.time()
    message = new_id(now)
    await bench.returned(message, HARD)
    await bench.idle()
    assert bench.events == []
    known = await bench.message()
    record = await bench.database.messages.get("acc", known)
    assert record is not None
    # The facts of the late message, as feedback writes them when the log catches up.
    facts = {
        "recipient": record.recipient,
        "envelope": record.envelope,
        "forward_bounces": True,
        "received": now,
    }
    await bench.database.messages.apply(
        [happened(EventName.ACCEPTED, message, now, facts, account="acc")]
    )
    await bench.until(lambda: bool(bench.events and bench.outbound))
    assert bench.events[0].message == message
    assert bench.events[0].account == "acc"


async def test_return_of_a_message_that_nobody_knows_is_recorded_in_the_end(bench: "Bench"):
    message = new_id()
    await bench.returned(message, HARD, received=time.time() - 700)
    await bench.until(lambda: bool(bench.events))
    assert bench.events[0].message == message
    assert bench.events[0].account == ""
    assert bench.events[0].facts["recipient"] == "kim@example.net"


async def test_rubbish_on_the_queues_is_set_aside_and_the_rest_goes_on(bench: "Bench"):
    await bench.put(RETURNS.name, b"rubbish")
    await bench.put(FAILURES.name, b"PRF1\x00\x00\x00\x02{}")
    await bench.idle()
    assert await bench.count(f"{RETURNS.name}.dead") == 1
    assert await bench.count(f"{FAILURES.name}.dead") == 1


async def test_thousand_returns_for_one_message_are_cut_short(bench: "Bench"):
    message = await bench.message(forward_bounces=False)
    await asyncio.gather(*(bench.returned(message, VACATION) for _ in range(200)))
    await bench.idle()
    assert len(bench.events) == 25


@pytest.mark.parametrize("charset", [b"utf-7", b"utf-16-le", b"unicode_escape"])
async def test_a_return_that_decodes_to_lone_surrogates_is_handled(bench: "Bench", charset: bytes):
    """Nothing can encode them: such text would come back for ever."""
    evil = b"=?" + charset + b"?Q?+2AA-=00=D8\\ud800?="
    raw = (
        HARD.replace(b"Subject: Undelivered", b"Subject: " + evil + b" Undelivered", 1)
        .replace(b"charset=us-ascii", b"charset=" + charset)
        .replace(b"User unknown", b"User unknown " + evil + b" \xed\xa0\x80 \xff")
    )
    message = await bench.message()
    await bench.returned(message, raw)
    await bench.returned("", raw, feedback="open")
    await bench.until(lambda: bool(bench.events and bench.outbound))
    await bench.idle()
    assert bench.events[0].event is EventName.BOUNCED
    assert bench.events[0].facts["class"] == "no-such-user"
    kept = await bench.database.feedback_reports.list("")
    assert kept
    kept[0].text.encode()
    kept[0].subject.encode()
    assert await bench.count(f"{RETURNS.name}.dead") == 0
