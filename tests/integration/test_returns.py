"""What comes back, on the whole road: each kind of return, and each notification, in a timeline."""

import asyncio
import smtplib
import time
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import httpx
import pytest

from postroad_common.broker.topology import ACCEPTED
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import encode
from postroad_testing import factories
from postroad_testing.days import day_with_room
from postroad_testing.queues import Queues

Make = Callable[..., EmailMessage]

REPORT = """\
From: Mail Delivery System <mailer-daemon@mx.receiver.test>
To: {envelope}
Subject: {subject}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.receiver.test

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {diagnostic}

--b--
"""
COMPLAINT = """\
From: <fbl@provider.test>
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: text/plain

This is an email abuse report.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Loop/1.0
Version: 1
Original-Rcpt-To: {recipient}

--b
Content-Type: message/rfc822

Subject: the mail

--b--
"""
VACATION = """\
From: {recipient}
To: {envelope}
Subject: Out of office: {subject}
Auto-Submitted: auto-replied

I am away; mail to this address does not exist for me until Monday. 550 5.1.1
"""


def give_back(road: Any, envelope: str, text: str, sender: str = "") -> tuple[int, bytes]:
    """Return a mail to the MX listener, as any server does."""
    mx = road.stack.document.mx
    with smtplib.SMTP(mx.host, mx.port, "mx.receiver.test", 90) as client:
        client.ehlo()
        assert client.mail(sender)[0] == 250
        code, reply = client.rcpt(envelope)
        if code != 250:
            return code, reply
        code, reply = client.data(text.replace("\n", "\r\n").encode())
        return code, reply


def sent(road: Any, make_mail: Make, recipient: str, **options: Any) -> tuple[str, str]:
    """Deliver a mail; return its message id and the address that its returns go to."""
    subject = f"Mail {new_id()}"
    accepted = road.submit(make_mail(subject), [recipient], **options)
    [arrived] = road.received(subject)
    return accepted.id, arrived.envelope


def address(kind: str) -> str:
    return f"{kind}-{new_id()}@receiver.test"


def test_bounce_is_seen_with_its_class_and_the_forward_has_a_record_of_its_own(
    road: Any, make_mail: Make
) -> None:
    recipient, owner = address("gone"), address("owner")
    message, envelope = sent(road, make_mail, recipient, envelope=owner)
    text = REPORT.format(
        envelope=envelope, recipient=recipient, subject="Undelivered Mail", action="failed",
        status="5.1.1", diagnostic="550 5.1.1 User unknown",
    )  # fmt: skip
    assert give_back(road, envelope.upper(), text)[0] == 250
    found = road.wait_state(message, "bounced")
    [bounced] = [event for event in found["timeline"] if event["event"] == "bounced"]
    assert (bounced["class"], bounced["hard"], bounced["code"], bounced["enhanced"]) == (
        "no-such-user",
        True,
        550,
        "5.1.1",
    )
    assert road.api.get(f"/v1/suppressions/{recipient}")["kind"] == "hard"
    forward = road.wait_state(bounced["forward"], "delivered")
    assert (forward["source"], forward["recipient"]) == ("forward", owner)
    assert forward["subject"] == "Undelivered Mail"
    assert forward["timeline"][0]["about"] == message
    listed = road.api.get("/v1/messages", recipient=owner)["items"]
    assert listed == []
    assert [m["id"] for m in road.api.get("/v1/messages", recipient=owner, source="forward")["items"]] == [bounced["forward"]]  # fmt: skip  # noqa: E501


def test_complaint_is_seen_and_suppresses_for_good(road: Any, make_mail: Make) -> None:
    recipient = address("angry")
    message, envelope = sent(road, make_mail, recipient)
    text = COMPLAINT.format(recipient=recipient)
    assert give_back(road, envelope, text, "fbl@provider.test")[0] == 250
    complained = road.wait_event(message, "complained")
    assert complained["type"] == "abuse"
    entry = road.api.get(f"/v1/suppressions/{recipient}")
    assert (entry["kind"], entry["expires"]) == ("complaint", None)
    again = road.submit(make_mail("again"), [recipient])
    assert road.wait_state(again.id, "suppressed")["recipient"] == recipient


@pytest.mark.parametrize("features", ["tracked", "plain"])
def test_complaint_of_a_feedback_loop_finds_its_message_whatever_is_redacted(
    road: Any, make_mail: Make, features: str
) -> None:
    recipient = address("redacted")
    login = road.login(() if features == "plain" else ("clicktracking", "openstracking"))
    subject = f"Mail {new_id()}"
    message = road.submit(make_mail(subject), [recipient], login=login).id
    [arrived] = road.received(subject)
    inside = (
        road.sink.raw(arrived.number).decode().replace("\r\n", "\n").replace(recipient, "redacted")
    )
    text = COMPLAINT.format(recipient="redacted").replace("Subject: the mail\n", inside)
    loop = road.api.get("/v1/feeds")["open"]
    # Until the whole submission is known to be there, a complaint without a signature waits.
    assert give_back(road, loop, text, "fbl@provider.test")[0] == 250
    complained = road.wait_event(message, "complained")
    assert complained["source"] == "feedback-loop"
    assert road.api.get(f"/v1/suppressions/{recipient}")["message"] == message


def test_complaint_that_nothing_proves_is_shown_and_changes_nothing(
    road: Any, make_mail: Make
) -> None:
    recipient = address("accused")
    message, _ = sent(road, make_mail, recipient)
    text = COMPLAINT.format(recipient=recipient).replace(
        "Subject: complaint", f"Subject: complaint about {recipient}"
    )
    loop = road.api.get("/v1/feeds")["account"]
    assert give_back(road, loop, text, "fbl@provider.test")[0] == 250

    def kept() -> list[dict[str, Any]]:
        items = road.api.get("/v1/feeds/reports", limit=500)["items"]
        return [item for item in items if item["recipient"] == recipient]

    road.until(lambda: bool(kept()), "the complaint is not shown")
    assert kept()[0]["type"] == "abuse"
    events = [event["event"] for event in road.message(message)["timeline"]]
    assert "complained" not in events
    assert recipient not in {
        entry["address"] for entry in road.api.get("/v1/suppressions", limit=500)["items"]
    }


def test_automatic_reply_is_seen_and_suppresses_nobody(road: Any, make_mail: Make) -> None:
    recipient = address("away")
    message, envelope = sent(road, make_mail, recipient)
    text = VACATION.format(recipient=recipient, envelope=envelope, subject="x")
    assert give_back(road, envelope, text, recipient)[0] == 250
    assert road.wait_event(message, "response")["type"] == "vacation"
    assert road.message(message)["state"] == "delivered"
    listed = road.api.get("/v1/suppressions", limit=500)["items"]
    assert recipient not in {entry["address"] for entry in listed}


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [("delayed", "4.4.1", "delayed"), ("delivered", "2.0.0", "success")],
)
def test_report_of_delay_or_success_is_a_response(
    road: Any, make_mail: Make, action: str, status: str, kind: str
) -> None:
    recipient = address(action)
    message, envelope = sent(road, make_mail, recipient)
    text = REPORT.format(
        envelope=envelope, recipient=recipient, subject="Report", action=action, status=status,
        diagnostic="x",
    )  # fmt: skip
    assert give_back(road, envelope, text)[0] == 250
    response = road.wait_event(message, "response")
    assert response["type"] == kind
    assert response["forwarded"] is False
    assert road.message(message)["state"] == "delivered"


def test_success_is_notified_where_the_sender_asks_for_it(road: Any, make_mail: Make) -> None:
    # A server that speaks DSN is asked to report; for another one Postroad answers.
    # Its connection is not used again, or the next test would meet a server without DSN.
    road.sink.behave(
        {"stage": "connect", "extensions": {"DSN": False}}, {"stage": "message", "drop": "after"}
    )
    wait_until_all_connections_are_closed(road)
    owner = address("owner")
    message, _ = sent(
        road,
        make_mail,
        f"ok@plain-{new_id()}.test",
        envelope=owner,
        login=road.login(()),
        mail_options=["RET=HDRS", "ENVID=order-7"],
        rcpt_options=["NOTIFY=SUCCESS"],
    )
    check_notification(road, message, owner, {"relayed"}, b"order-7")
    wait_until_all_connections_are_closed(road)


def wait_until_all_connections_are_closed(road: Any) -> None:
    """Wait until the sink has no connection that was opened under other rules."""
    sink = road.stack.document.sink.http
    road.until(
        lambda: httpx.get(f"{sink}/counts", timeout=90).json()["connections"]["now"] == 0,
        "the sink has no connections",
    )


def test_delay_is_notified_after_hours(road: Any) -> None:
    owner, recipient = address("owner"), address("slow")
    road.sink.behave({"recipient": recipient, "reply": "450 4.2.0 Not now", "times": 2})
    received = time.time() - 5 * 3600
    submission = factories.submission(
        account="main",
        received=received,
        expires=time.time() + 3600,
        envelope=owner,
        envid="order-8",
        recipients=(factories.recipient(recipient, notify=("delay", "failure")),),
        features=Features(
            inlinecss=False,
            clicktracking=False,
            openstracking=False,
            preventscam=False,
            bouncetracking=False,
        ),
    )
    message = submission.recipients[0].id

    frame = encode(submission, b"Subject: five hours old\r\n\r\nhello\r\n")
    asyncio.run(Queues(road.stack.document.amqp).put(ACCEPTED.name, [frame]))
    road.wait_event(message, "deferred")
    check_notification(road, message, owner, {"delayed"}, b"order-8")
    assert road.wait_state(message, "delivered")["attempts"] == 3


def check_notification(
    road: Any, message: str, owner: str, outcomes: set[str], envid: bytes
) -> None:
    told = road.wait_event(message, "notified")
    assert told["outcome"] in outcomes
    assert told["to"] == owner
    notification = road.wait_state(told["notification"], "delivered")
    assert (notification["source"], notification["recipient"]) == ("dsn", owner)
    [arrived] = road.sink.messages(recipient=owner)
    assert arrived.envelope == ""
    raw = road.sink.raw(arrived.number)
    assert b"Original-Envelope-Id: " + envid in raw
    assert f"Action: {told['outcome']}".encode() in raw


def test_forged_and_foreign_addresses_are_refused_at_rcpt(road: Any, make_mail: Make) -> None:
    _, envelope = sent(road, make_mail, address("ok"))
    local, _, domain = envelope.partition("@")
    last = "0" if local[-1] != "0" else "1"
    for wrong in (f"{local[:-1]}{last}@{domain}", f"joe@{domain}", "joe@elsewhere.test"):
        code, reply = give_back(road, wrong, "Subject: x\n\n")
        assert (code, reply[:5]) == (550, b"5.7.1"), (wrong, reply)


def test_statistics_and_log_files_tell_of_the_day(road: Any, make_mail: Make) -> None:
    day = asyncio.run(day_with_room())
    tag = f"t{new_id()}"
    subject = f"Mail {new_id()}"
    mail = make_mail(subject, headers={"x-smtpeter-tags": tag})
    accepted = road.submit(mail, [address("counted")])
    road.wait_state(accepted.id, "delivered")

    def counted() -> bool:
        totals = road.api.get("/v1/stats", tag=tag)["totals"]
        return bool(totals == {"accepted": 1, "delivered": 1})

    road.until(counted, "the counters of the tag are right")
    assert tag in road.api.get("/v1/stats/tags")
    deliveries = road.api.get(f"/v1/logfiles/deliveries.{day}.log/json")
    assert accepted.id in {item["id"] for item in deliveries}
