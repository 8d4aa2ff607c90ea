"""The notifications that are written, read back with the standard library's parser."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_bounce_processor.reporting.dsn import Notification, write
from postroad_bounce_processor.understanding.record import ReturnKind
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.mime import read
from postroad_common.schemas.outbound import OutboundRecipient
from postroad_common.schemas.returns import DeliveryFailure, Outcome
from postroad_testing import factories

HEADER = (
    b"From: shop@sender.example\r\nTo: kim@example.net\r\nSubject: Your order\r\n"
    b"Message-ID: <order-1017@sender.example>\r\n"
)
BODY = b"The text of the order.\r\n"
NOW = 1_800_000_000.0


def _failure(**changes: Any) -> DeliveryFailure:
    recipient = factories.outbound_recipient("kim@example.net", orcpt="rfc822;Kim+1@example.net")
    message: dict[str, Any] = {
        "account": "acc",
        "envelope": "orders@sender.example",
        "mail_from": "orders@sender.example",
        "recipients": (recipient,),
        "envid": "QQ314159",
        "received": NOW - 60,
        "expires": NOW + 86_400,
    }
    failure: dict[str, Any] = {
        "reply": "550 5.1.1 <kim@example.net>: User unknown",
        "host": "mx.example.net",
        "time": NOW,
    }
    outbound = factories.outbound(**(message | changes.pop("message", {})))
    return factories.failure(outbound, **(failure | changes))


def _write(failure: DeliveryFailure, quoted: bytes = HEADER + b"\r\n" + BODY) -> Notification:
    return write(
        failure,
        failure.outbound.recipients,
        quoted,
        message_id="0123456789abcdefghijk",
        hostname="relay.example",
        explanation="The address does not exist.",
    )


def _read(notification: Notification) -> EmailMessage:
    return cast("EmailMessage", message_from_bytes(notification.content, policy=policy.default))


def _blocks(mail: EmailMessage) -> list[dict[str, str]]:
    part = list(mail.iter_parts())[1]
    assert part.get_content_type() == "message/delivery-status"
    return [
        {name.lower(): str(value) for name, value in block.items()}
        for block in cast("list[EmailMessage]", part.get_payload())
        if block.items()
    ]


def test_failure_is_a_report_for_people_and_machines():
    mail = _read(_write(_failure()))
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"
    assert mail["to"] == "orders@sender.example"
    assert mail["auto-submitted"] == "auto-replied"
    assert mail["subject"] == "Not delivered: your mail to kim@example.net"
    assert mail["references"] == "<order-1017@sender.example>"
    text = str(next(iter(mail.iter_parts())).get_content())
    assert "kim@example.net" in text
    assert "The address does not exist." in text
    assert "550 5.1.1 <kim@example.net>: User unknown" in text
    assert "Your order" in text
    message, recipient = _blocks(mail)
    assert message["reporting-mta"] == "dns; relay.example"
    assert message["original-envelope-id"] == "QQ314159"
    assert "arrival-date" in message
    assert recipient["original-recipient"] == "rfc822; Kim+1@example.net"
    assert recipient["final-recipient"] == "rfc822; kim@example.net"
    assert recipient["action"] == "failed"
    assert recipient["status"] == "5.1.1"
    assert recipient["remote-mta"] == "dns; mx.example.net"
    assert recipient["diagnostic-code"] == "smtp; 550 5.1.1 <kim@example.net>: User unknown"


@pytest.mark.parametrize(
    ("outcome", "action", "status", "subject"),
    [
        ("expired", "failed", "4.4.7", "Not delivered"),
        ("delayed", "delayed", "4.0.0", "Delayed"),
        ("delivered", "delivered", "2.0.0", "Delivered"),
        ("relayed", "relayed", "2.0.0", "Passed on"),
        ("expanded", "expanded", "2.0.0", "Sent on to several"),
    ],
)
def test_outcome_has_its_action_and_status(outcome: str, action: str, status: str, subject: str):
    mail = _read(_write(_failure(outcome=outcome, enhanced="", code=None, reply="", host="")))
    recipient = _blocks(mail)[1]
    assert recipient["action"] == action
    assert recipient["status"] == status
    assert str(mail["subject"]).startswith(subject)
    assert ("will-retry-until" in recipient) == (outcome == "delayed")


def test_ret_full_returns_the_message_and_otherwise_only_its_header():
    whole = list(_read(_write(_failure(message={"ret": "full"}))).iter_parts())[2]
    assert whole.get_content_type() == "message/rfc822"
    assert "The text of the order." in whole.as_string()
    for ret in ("hdrs", None):
        part = list(_read(_write(_failure(message={"ret": ret}))).iter_parts())[2]
        assert part.get_content_type() == "text/rfc822-headers"
        assert "Subject: Your order" in part.as_string()
        assert "The text of the order." not in part.as_string()


def test_ret_full_does_not_return_the_message_of_a_success():
    failure = _failure(outcome="delivered", message={"ret": "full"})
    assert b"The text of the order." not in _write(failure).content


def test_only_a_header_block_at_hand_is_returned_as_header():
    part = list(_read(_write(_failure(message={"ret": "full"}), HEADER + b"\r\n")).iter_parts())[2]
    assert part.get_content_type() == "text/rfc822-headers"


def test_each_recipient_has_a_block():
    recipients = tuple(
        OutboundRecipient(id=new_id(NOW), address=f"u{n}@example.net") for n in range(3)
    )
    mail = _read(_write(_failure(message={"recipients": recipients})))
    blocks = _blocks(mail)
    assert [block["final-recipient"] for block in blocks[1:]] == [
        f"rfc822; u{n}@example.net" for n in range(3)
    ]
    assert mail["subject"] == "Not delivered: your mail to 3 recipients"


def test_international_addresses_travel_in_ascii():
    recipient = OutboundRecipient(id=new_id(NOW), address="jörg@example.net", orcpt="utf-8;jörg@x")
    notification = _write(
        _failure(message={"recipients": (recipient,)}, reply="550 jörg unbekannt")
    )
    assert notification.content.isascii()
    assert not notification.smtputf8
    block = _blocks(_read(notification))[1]
    assert block["final-recipient"] == "utf-8; j\\x{F6}rg@example.net"
    assert block["original-recipient"] == "utf-8; j\\x{F6}rg@x"
    found = understand(read(notification.content), expected="jörg@example.net")
    assert found.recipient == "jörg@example.net"


def test_boundary_is_not_one_that_the_returned_message_contains():
    quoted = HEADER + b"\r\n--=_0123456789abcdefghijk.0--\r\nx\r\n"
    notification = _write(_failure(message={"ret": "full"}), quoted)
    assert len(list(_read(notification).iter_parts())) == 3


def test_eight_bit_content_is_declared():
    notification = _write(_failure(message={"ret": "full"}), HEADER + b"\r\n\xe9\xff\r\n")
    assert notification.eightbit
    assert b"\xe9\xff" in notification.content


@given(
    reply=st.text(max_size=3000),
    address=st.text(min_size=1, max_size=80),
    envid=st.text(max_size=120),
    host=st.text(max_size=100),
    subject=st.binary(max_size=200),
)
def test_nothing_from_outside_can_add_a_line_or_a_header(
    reply: str, address: str, envid: str, host: str, subject: bytes
):
    recipient = OutboundRecipient(
        id=new_id(NOW), address=f"{address}@example.net", orcpt=f"rfc822;{address}@example.net"
    )
    try:
        failure = _failure(
            reply=reply,
            host=host,
            message={"recipients": (recipient,), "envid": envid, "envelope": f"{address}@x.y"},
        )
        failure.model_dump_json()
    except ValueError:  # lone surrogates do not get through JSON, so they never arrive here
        return
    content = _write(failure, b"Subject: " + subject.replace(b"\n", b"") + b"\r\n\r\n").content
    head, _, rest = content.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert len(names) == len(set(names))
    assert set(names) <= {
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"MIME-Version",
        b"Content-Type", b"Content-Transfer-Encoding", b"In-Reply-To", b"References",
    }  # fmt: skip
    status = rest.partition(b"message/delivery-status\r\n\r\n")[2].partition(b"\r\n--=_")[0]
    assert status.isascii()
    assert all(len(line) <= 998 for line in status.split(b"\r\n"))
    assert status.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_what_is_written_is_understood(outcome: str):
    failure = _failure(outcome=outcome)
    if outcome != "failed":
        failure = _failure(outcome=outcome, reply="", code=None, enhanced="", host="")
    found = understand(read(_write(failure).content), expected="kim@example.net")
    assert found.standard
    assert found.recipient == "kim@example.net"
    assert found.reporting_host == "relay.example"
    assert (
        found.kind
        is {
            "failed": ReturnKind.BOUNCE,
            "expired": ReturnKind.BOUNCE,
            "delayed": ReturnKind.DELAYED,
            "delivered": ReturnKind.SUCCESS,
            "relayed": ReturnKind.SUCCESS,
            "expanded": ReturnKind.SUCCESS,
        }[outcome]
    )
    assert found.hard == (outcome == "failed")
