"""The sender's own failures: who is told of them, and which recipients they suppress."""

import time
from typing import TYPE_CHECKING

import pytest

from postroad_bounce_processor.suppression import DAY
from postroad_common.broker.topology import FAILURES
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import EventName
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundRecipient
from postroad_common.schemas.returns import SUPPRESSION
from postroad_common.store.strikes import Strike

if TYPE_CHECKING:
    from conftest import Bench  # the service's own, beside this file


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
