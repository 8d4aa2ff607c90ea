"""Returns and failures through the running service, with real RabbitMQ and MongoDB."""

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
from postroad_common.schemas.returns import SUPPRESSION
from postroad_common.schemas.submission import BodyReference, Client
from postroad_common.store.bodies import BodyGone
from postroad_common.store.strikes import Strike
from postroad_testing.waiting import until

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


async def test_large_return_travels_on_by_reference(bench: "Bench"):
    raw = HARD + b"x" * 78 + b"\r\n" + b"QUJD\r\n" * 300_000
    stored = await bench.database.bodies.put(raw, time.time() + 3600)
    message = await bench.message()
    await bench.returned(message, raw, body=stored)
    await bench.until(lambda: bool(bench.outbound and bench.events))
    ((outbound, head),) = bench.outbound
    assert outbound.body == stored
    assert raw[: outbound.skip].endswith(b"\r\n\r\n")
    assert head.endswith(raw[: outbound.skip])
    assert outbound.size == len(head) + len(raw) - outbound.skip
    assert bench.events[0].facts["class"] == "no-such-user"


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


async def test_failure_without_tracking_is_reported_to_the_envelope_sender(bench: "Bench"):
    failure = await bench.failed(b"Subject: Your order\r\n\r\n")
    await bench.until(lambda: bool(bench.outbound))
    ((outbound, body),) = bench.outbound
    assert outbound.kind == "dsn"
    assert outbound.mail_from == ""
    assert outbound.recipients[0].address == "orders@sender.example"
    assert outbound.recipients[0].notify == ("never",)
    assert outbound.submission == failure.outbound.submission
    assert b"Final-Recipient: rfc822; kim@example.net\r\nAction: failed" in body
    assert b"Subject: Your order" in body
    await bench.until(lambda: len(bench.own) == 2)
    told = {event.event: event for event in bench.own}
    assert told[EventName.ACCEPTED].message == outbound.id
    assert told[EventName.ACCEPTED].facts["source"] == "dsn"
    failed_id = failure.outbound.recipients[0].id
    assert told[EventName.NOTIFIED].message == failed_id
    assert told[EventName.NOTIFIED].facts == {
        "outcome": "failed",
        "to": "orders@sender.example",
        "notification": outbound.id,
    }
    await bench.idle()
    entry = await bench.database.suppressions.get("acc", "kim@example.net")
    assert entry is not None
    assert entry.kind == "hard"


@pytest.mark.parametrize(
    "message",
    [
        {"envelope": ""},
        {"kind": "dsn"},
        {"kind": "forward"},
        {"bouncetracking": True, "forward_bounces": False},
        {
            "recipients": (
                OutboundRecipient(id=new_id(), address="kim@example.net", notify=("never",)),
            )
        },
    ],
)
async def test_failure_that_must_not_be_reported_is_not(bench: "Bench", message: dict[str, object]):
    await bench.failed(message=message)
    await bench.idle()
    assert bench.outbound == []


async def test_failure_with_tracking_is_reported_if_the_login_forwards(bench: "Bench"):
    await bench.failed(message={"bouncetracking": True, "forward_bounces": True})
    await bench.until(lambda: bool(bench.outbound))
    assert bench.outbound[0][0].kind == "dsn"


async def test_only_recipients_that_asked_are_in_the_report(bench: "Bench"):
    recipients = (
        OutboundRecipient(id=new_id(), address="a@example.net", notify=("success",)),
        OutboundRecipient(id=new_id(), address="b@example.net", notify=("failure",)),
        OutboundRecipient(id=new_id(), address="c@example.net", notify=("never",)),
        OutboundRecipient(id=new_id(), address="d@example.net"),
    )
    await bench.failed(message={"recipients": recipients}, outcome="delivered", reply="250 ok")
    await bench.failed(message={"recipients": recipients}, reply="554 spam", enhanced="")
    await bench.until(lambda: len(bench.outbound) == 2)
    reported = [
        [name for name in "abcd" if f"Final-Recipient: rfc822; {name}@".encode() in body]
        for _, body in bench.outbound
    ]
    assert sorted(reported) == [["a"], ["b", "d"]]


async def test_ret_full_of_a_stored_message_returns_all_of_it(bench: "Bench"):
    stored = b"X-Old: header\r\n\r\n" + b"line of text\r\n" * 10_000
    skip = stored.index(b"\r\n\r\n") + 4
    reference = await bench.database.bodies.put(stored, time.time() + 3600)
    await bench.failed(
        b"Subject: new header\r\n\r\n",
        message={
            "ret": "full",
            "body": reference,
            "skip": skip,
            "patches": [{"at": skip + 14, "data": "cGF0Y2hlZA0K"}],
            "size": len(stored),
        },
    )
    await bench.until(lambda: bool(bench.outbound))
    ((outbound, head),) = bench.outbound
    assert outbound.body is not None
    content = await bench.database.bodies.get(outbound.body)
    assert content[: outbound.skip] == head
    assert outbound.size == len(content)
    expected = b"Subject: new header\r\n\r\nline of text\r\npatched\r\nline of text\r\n"
    assert expected in content
    assert b"X-Old" not in content


async def test_failure_before_the_recipient_was_named_suppresses_nobody(bench: "Bench"):
    await bench.failed(stage="mail")
    await bench.failed(stage="connect")
    await bench.failed(stage="dot")
    # After RCPT was taken this is the answer of a filter.
    await bench.failed(stage="dot", reply="550 5.1.1 <kim@example.net> User unknown")
    await bench.failed(reply="550 5.7.1 spam", enhanced="5.7.1")
    await bench.failed(outcome="expired", reply="450 4.2.2 full", code=450, enhanced="4.2.2")
    await bench.until(lambda: len(bench.outbound) == 6)
    await bench.idle()
    assert await bench.database.suppressions.list("acc") == []


@pytest.mark.parametrize(
    ("stage", "reply", "enhanced", "days"),
    [
        ("rcpt", "550 5.1.1 User unknown", "5.1.1", 180),
        ("route", "550 5.1.2 the domain example.net does not exist", "5.1.2", 30),
        ("route", "556 5.1.10 example.net takes no mail (null MX)", "5.1.10", 30),
    ],
)
async def test_failure_that_names_the_recipient_or_its_domain_suppresses(
    bench: "Bench", stage: str, reply: str, enhanced: str, days: int
):
    failure = await bench.failed(
        stage=stage, reply=reply, enhanced=enhanced, code=int(reply[:3]), time=time.time()
    )
    await bench.idle()
    entry = await bench.database.suppressions.get("acc", "kim@example.net")
    assert entry is not None
    assert entry.expires == pytest.approx(failure.time + days * DAY)


async def test_the_same_failure_reported_twice_is_one_notification(bench: "Bench"):
    first = await bench.failed()
    again = first.model_copy(update={"id": new_id(), "time": first.time + 1})
    await bench.put(FAILURES.name, encode(again, b"Subject: x\r\n\r\n"))
    await bench.until(lambda: len(bench.outbound) == 2)
    assert len({outbound.id for outbound, _ in bench.outbound}) == 1


async def test_a_suppressed_recipient_is_reported_as_notify_asks_and_not_suppressed_again(
    bench: "Bench",
):
    before = {
        "outcome": "failed",
        "stage": SUPPRESSION,
        "reply": "550 5.7.1 Not sent: on the suppression list of this account: user unknown",
        "enhanced": "5.7.1",
        "host": "",
        "attempts": 0,
    }
    recipients = [
        OutboundRecipient(id=new_id(), address=f"{notify}@example.net", notify=(notify,))
        for notify in ("failure", "never")
    ]
    failure = await bench.failed(
        message={"recipients": tuple(recipients), "envelope": "asks@sender.example"}, **before
    )
    await bench.failed(message={"envelope": ""}, **before)
    await bench.failed(message={"bouncetracking": True, "forward_bounces": False}, **before)
    await bench.idle()
    ((outbound, body),) = bench.outbound
    assert outbound.recipients[0].address == "asks@sender.example"
    assert outbound.mail_from == ""
    assert b"Final-Recipient: rfc822; failure@example.net" in body
    assert b"never@example.net" not in body
    assert b"Action: failed" in body
    assert b"Status: 5.7.1" in body
    assert b"suppression list" in body
    assert b"Last-Attempt-Date" not in body
    for address in ("failure@example.net", "never@example.net", "kim@example.net"):
        assert await bench.database.suppressions.get("acc", address) is None
    strikes = await bench.database.strikes.add([Strike("acc", "failure@example.net", 1.0)])
    assert strikes["acc", "failure@example.net"] == {0}
    (notified,) = [
        event
        for event in bench.own
        if event.event is EventName.NOTIFIED and event.message == recipients[0].id
    ]
    assert notified.facts["to"] == failure.outbound.envelope


async def _stored(bench: "Bench", raw: bytes) -> BodyReference:
    """Store a return as the ingress does: for a week."""
    return await bench.database.bodies.put(raw + b"QUJD\r\n" * 20_000, time.time() + 7 * DAY)


async def _is_there(bench: "Bench", reference: BodyReference) -> bool:
    try:
        await bench.database.bodies.get(reference)
    except BodyGone:
        return False
    return True


async def _is_gone(bench: "Bench", reference: BodyReference) -> bool:
    return not await _is_there(bench, reference)


@pytest.mark.parametrize("kept", ["not forwarded", "of no message", "complaint"])
async def test_a_large_return_that_goes_nowhere_is_deleted_at_once(bench: "Bench", kept: str):
    stored = await _stored(bench, HARD)
    message = await bench.message(forward_bounces=False)
    if kept == "of no message":
        await bench.returned(new_id(), b"", body=stored, received=time.time() - DAY)
    elif kept == "complaint":
        await bench.returned("", b"", body=stored, feedback="open")
    else:
        await bench.returned(message, b"", body=stored)
    await until(lambda: _is_gone(bench, stored), what="the body is deleted")


async def test_large_returns_beyond_the_pace_are_deleted_at_once(bench: "Bench"):
    message = await bench.message(forward_bounces=False)
    for _ in range(30):
        await bench.returned(message, HARD)
    await bench.until(lambda: len(bench.events) == 25)
    stored = await _stored(bench, HARD)
    await bench.returned(message, b"", body=stored)
    await until(lambda: _is_gone(bench, stored), what="the body is deleted")


@pytest.mark.parametrize("shared", [True, False])
async def test_a_large_return_that_is_needed_still_goes_soon_after(bench: "Bench", *, shared: bool):
    stored = await _stored(bench, HARD)
    message = await bench.message(forward_bounces=not shared)
    await bench.returned(message, b"", body=stored, shared=shared)
    await bench.until(lambda: bool(bench.events))
    await bench.idle()
    await bench.database.bodies.purge(time.time() + DAY)
    assert await _is_there(bench, stored)

    async def purged() -> bool:
        await bench.database.bodies.purge(time.time() + 3 * DAY)
        return await _is_gone(bench, stored)

    await until(purged, what="the body expires within days")


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
