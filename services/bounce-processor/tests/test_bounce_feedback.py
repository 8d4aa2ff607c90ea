"""Complaints of feedback loops through the running service, with real RabbitMQ and MongoDB."""

import time
from typing import TYPE_CHECKING, Any

import pytest

from postroad_bounce_processor.handlers.feedback import NOT_A_COMPLAINT
from postroad_bounce_processor.understanding import matching
from postroad_common.broker.topology import RETURNS
from postroad_common.mail.feedbackloop import login_pseudonym
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.messageid import hash_of
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.events import EventName, accepted
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_common.tokens import Keyring, LinkSigner
from postroad_testing import factories

if TYPE_CHECKING:
    from conftest import Bench  # the service's own, beside this file

    from postroad_common.store.reports import UnmatchedReport

KEYS = Keyring(("0123456789abcdef",))
ADDRESSES = BounceAddresses(KEYS, "bounce.example")
LINKS = LinkSigner(KEYS, "https://t.sender.example")


def _complaint(inside: str, report: str = "", kind: str = "abuse") -> bytes:
    return (
        "From: fbl@provider.example\r\nTo: fbl@bounce.example\r\nSubject: FW: Your order\r\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n"
        "--b\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {kind}\r\nVersion: 1\r\nUser-Agent: Test/1\r\n{report}\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Your order\r\n{inside}\r\n--b--\r\n"
    ).encode()


def _trace(submission: str) -> str:
    return (
        "Received: from app (app [192.0.2.1])\r\n\tby relay.example (Postroad) with ESMTPSA\r\n"
        f"\tid {submission};\r\n\tFri, 20 Nov 2026 10:00:00 +0000\r\n"
    )


async def _submission(
    bench: "Bench", *addresses: str, account: str = "acc", age: float = 60.0, message_id: str = ""
) -> Submission:
    """Put a submission of `age` seconds ago into the store."""
    submission = factories.submission(
        *addresses,
        account=account,
        received=time.time() - age,
        envelope="orders@sender.example",
        message_id_hash=hash_of(message_id),
    )
    await bench.database.messages.apply(
        accepted(submission, recipient) for recipient in submission.recipients
    )
    return submission


async def _arrive(bench: "Bench", raw: bytes, *, secret: bool = False, account: str = "") -> str:
    item = await bench.returned(
        "",
        raw,
        mail_from="fbl@provider.example",
        recipient="fbl@bounce.example",
        feedback="secret" if secret else "open",
        account=account,
    )
    return item.id


async def _kept(bench: "Bench", report: str, account: str = "") -> "UnmatchedReport":
    """Return the report once the service has kept it."""
    await bench.idle()
    found = await bench.database.feedback_reports.get(account, report)
    assert found is not None
    return found


async def _suppressed(bench: "Bench", address: str, account: str = "acc") -> bool:
    return await bench.database.suppressions.get(account, address) is not None


def _signed_address(message: str) -> str:
    return f"Return-Path: <{ADDRESSES.address(message)}>\r\n"


def _signed_link(message: str) -> str:
    return f"\r\nRead {LINKS.click(message, 0, b'https://shop.example/')}\r\n"


@pytest.mark.parametrize(
    ("trace", "proof"),
    [(_signed_address, "return path"), (_signed_link, "link in the text")],
)
async def test_a_signed_complaint_at_the_open_address_is_acted_on(
    bench: "Bench", trace: Any, proof: str
):
    message = await bench.message()
    report = await _arrive(bench, _complaint(trace(message)))
    await bench.until(lambda: bool(bench.events))
    (event,) = bench.events
    assert event.event is EventName.COMPLAINED
    assert (event.message, event.account) == (message, "acc")
    assert event.id == f"{message}.complained.{report}"
    assert event.facts["type"] == "abuse"
    assert event.facts["proof"] == proof
    entry = await bench.database.suppressions.get("acc", "kim@example.net")
    assert entry is not None
    assert (entry.kind, entry.message, entry.expires) == ("complaint", message, None)
    assert await bench.database.feedback_reports.get("", report) is None
    assert await bench.count(RETURNS.name) == 0


async def test_only_the_address_the_mail_went_to_is_suppressed_whoever_is_named(bench: "Bench"):
    message = await bench.message()
    await bench.message(recipient="lee@example.net")
    named = "Original-Rcpt-To: <lee@example.net>\r\n"
    await _arrive(bench, _complaint(_signed_address(message), named), secret=True)
    await bench.until(lambda: bool(bench.events))
    assert await _suppressed(bench, "kim@example.net")
    assert not await _suppressed(bench, "lee@example.net")


async def test_the_identifier_of_a_submission_to_one_is_proof(bench: "Bench"):
    submission = await _submission(bench, "kim@example.net")
    await _arrive(bench, _complaint(_trace(submission.id)))
    await bench.until(lambda: bool(bench.events))
    assert bench.events[0].message == submission.recipients[0].id
    assert await _suppressed(bench, "kim@example.net")


async def test_of_several_recipients_nobody_can_accuse_another_at_the_open_address(bench: "Bench"):
    submission = await _submission(bench, "mallory@example.net", "kim@example.net")
    named = "Original-Rcpt-To: <kim@example.net>\r\n"
    report = await _kept(bench, await _arrive(bench, _complaint(_trace(submission.id), named)))
    assert report.reason == matching.NOT_PROVEN
    assert report.message == submission.recipients[1].id
    assert bench.events == []
    assert not await _suppressed(bench, "kim@example.net")


async def test_of_several_recipients_the_one_named_at_a_secret_address_is_taken(bench: "Bench"):
    submission = await _submission(bench, "mallory@example.net", "kim@example.net")
    named = "Original-Rcpt-To: <kim@example.net>\r\n"
    await _arrive(bench, _complaint(_trace(submission.id), named), secret=True, account="acc")
    await bench.until(lambda: bool(bench.events))
    assert bench.events[0].message == submission.recipients[1].id
    assert await _suppressed(bench, "kim@example.net")
    assert not await _suppressed(bench, "mallory@example.net")


@pytest.mark.parametrize("named", ["", "Original-Rcpt-To: <someone@else.example>\r\n"])
async def test_of_several_recipients_none_is_guessed(bench: "Bench", named: str):
    submission = await _submission(bench, "lee@example.net", "kim@example.net")
    raw = _complaint(_trace(submission.id), named)
    report = await _kept(bench, await _arrive(bench, raw, secret=True))
    assert report.reason == matching.NOT_ONE
    assert bench.events == []


OWN_ID = "<order.1017@app.sender.example>"


@pytest.mark.parametrize("age", [60.0, 86_400.0 * 40])
async def test_a_clients_own_message_id_is_proof_at_a_secret_address(bench: "Bench", age: float):
    submission = await _submission(bench, "kim@example.net", age=age, message_id=OWN_ID)
    inside = f"Message-ID: {OWN_ID}\r\n"
    report = await _kept(bench, await _arrive(bench, _complaint(inside)))
    assert (report.reason, report.message) == (matching.NOT_PROVEN, submission.recipients[0].id)
    other = await _kept(
        bench, await _arrive(bench, _complaint(inside), secret=True, account="other"), "other"
    )
    assert other.reason == matching.OTHER_ACCOUNT
    assert not await _suppressed(bench, "kim@example.net")
    await _arrive(bench, _complaint(inside), secret=True, account="acc")
    await bench.until(lambda: bool(bench.events))
    assert bench.events[0].message == submission.recipients[0].id
    assert bench.events[0].facts["proof"] == "Message-ID at a secret address"
    assert await _suppressed(bench, "kim@example.net")


async def test_of_several_messages_with_one_message_id_the_one_named_is_taken(bench: "Bench"):
    for address in ("lee@example.net", "kim@example.net"):
        await _submission(bench, address, message_id=OWN_ID)
    inside = f"Message-ID: {OWN_ID}\r\n"
    report = await _kept(bench, await _arrive(bench, _complaint(inside), secret=True))
    assert report.reason == matching.NOT_ONE
    named = "Original-Rcpt-To: <kim@example.net>\r\n"
    await _arrive(bench, _complaint(inside, named), secret=True)
    await bench.until(lambda: bool(bench.events))
    assert await _suppressed(bench, "kim@example.net")
    assert not await _suppressed(bench, "lee@example.net")


@pytest.mark.parametrize("signed", [True, False])
async def test_an_accounts_address_speaks_for_its_own_mail_only(bench: "Bench", *, signed: bool):
    submission = await _submission(bench, "kim@example.net")
    message = submission.recipients[0].id
    trace = _signed_address(message) if signed else _trace(submission.id)
    arrived = await _arrive(bench, _complaint(trace), secret=True, account="other")
    report = await _kept(bench, arrived, "other")
    assert report.reason == matching.OTHER_ACCOUNT
    assert report.message == ""
    assert not await _suppressed(bench, "kim@example.net")


async def test_a_complaint_without_a_trace_is_kept_and_never_acted_on(bench: "Bench"):
    await bench.message()
    named = "Original-Rcpt-To: <kim@example.net>\r\n"
    inside = "To: kim@example.net\r\nMessage-ID: <order-1@sender.example>\r\n"
    report = await _kept(bench, await _arrive(bench, _complaint(inside, named), secret=True))
    assert report.reason == matching.NOT_FOUND
    assert report.type == "abuse"
    assert report.reporter == "Test/1"
    assert report.recipient == "kim@example.net"
    assert report.message_id == "<order-1@sender.example>"
    assert report.subject == "FW: Your order"
    assert "This is an abuse report." in report.text
    assert bench.events == []
    assert bench.outbound == []
    assert not await _suppressed(bench, "kim@example.net")


async def test_mail_that_is_no_complaint_is_kept_for_people_to_read(bench: "Bench"):
    raw = b"From: cfl@provider.example\r\nSubject: Your code\r\n\r\nThe code is 4711.\r\n"
    report = await _kept(bench, await _arrive(bench, raw, secret=True))
    assert (report.reason, report.type) == (NOT_A_COMPLAINT, "")
    assert "4711" in report.text


async def test_the_feedback_id_of_a_login_shows_a_complaint_to_its_account(bench: "Bench"):
    await bench.database.credentials.create(
        account="acc",
        username="shop-login",
        password_hash="x",
        name="Shop",
        features=Features(),
    )
    known = login_pseudonym(KEYS.mac("feedback-id", b"", 32), "shop-login")
    mine = await _arrive(bench, _complaint(f"Feedback-ID: mail:{known}:acc:postroad\r\n"))
    forged = await _arrive(bench, _complaint("Feedback-ID: mail:0123:acc:postroad\r\n"))
    assert (await _kept(bench, mine, "acc")).reason == matching.NOT_FOUND
    assert (await _kept(bench, forged, "")).reason == matching.NOT_FOUND


async def test_not_spam_is_a_response_and_suppresses_nobody(bench: "Bench"):
    message = await bench.message()
    await _arrive(bench, _complaint(_signed_address(message), kind="not-spam"))
    await bench.until(lambda: bool(bench.events))
    assert bench.events[0].event is EventName.RESPONSE
    assert bench.events[0].facts["detail"] == "not-spam"
    assert not await _suppressed(bench, "kim@example.net")


async def test_the_same_complaint_twice_is_one(bench: "Bench"):
    message = await bench.message()
    raw = _complaint(_signed_address(message))
    item = {"id": new_id(), "recipient": "fbl@bounce.example", "feedback": "open"}
    for _ in range(2):
        await bench.returned("", raw, **item)
    await bench.until(lambda: len(bench.events) == 2)
    assert len({event.id for event in bench.events}) == 1


async def test_the_traces_of_an_erased_address_go_from_reports_too(bench: "Bench"):
    named = "Original-Rcpt-To: <kim@example.net>\r\n"
    arrived = await _arrive(bench, _complaint("", named), secret=True, account="acc")
    await _kept(bench, arrived, "acc")
    await bench.database.privacy.erase("acc", "Kim@example.net")
    assert await bench.database.feedback_reports.get("acc", arrived) is None
