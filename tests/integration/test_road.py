"""The road of a mail: handed in, changed, delivered, read, returned; and what is told of it."""

import base64
import email
import re
import smtplib
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from typing import Any

import httpx
import pytest

from postroad_common.mail.identifiers import is_id

OFFER = "https://shop.test/offer?id=7&x=%20y#top"


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def html_of(raw: bytes) -> str:
    part = parsed(raw).get_body(("html",))
    assert part is not None
    return str(part.get_content())


def tracked_links(html: str, tracker: str) -> list[str]:
    return re.findall(rf'href="({re.escape(tracker)}/c[^"]+)"', html)


def test_mail_over_smtp_is_changed_delivered_read_and_its_life_is_told(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    accepted = road.submit(make_mail(subject), ["bob@receiver.test"])
    assert is_id(accepted.id)
    message = road.wait_state(accepted.id, "delivered")
    assert message["recipient"] == "bob@receiver.test"
    assert message["envelope"] == "sender@shop.test"
    assert message["subject"] == subject
    [arrived] = road.received(subject)
    assert re.fullmatch(r"b[0-9a-v]{21}-[0-9a-v]+@.+", arrived.envelope)
    raw = road.sink.raw(arrived.number)
    html = html_of(raw)
    lead = re.search(r'<p\b[^>]*class="lead"[^>]*>', html)
    assert lead is not None
    assert re.search(r'style="[^"]*color: ?#aa3300', lead[0])
    assert "@media (max-width: 600px)" in html
    assert 'href="https://shop.test/">https://shop.test/<' in html
    assert 'href="mailto:help@shop.test"' in html
    assert 'href="https://shop.test/private"' in html
    assert "https://shop.test/logo.png" not in html

    tracker = road.stack.document.tracker
    [link] = tracked_links(html, tracker)
    answer = road.get(link)
    assert (answer.status_code, answer.headers["location"]) == (302, OFFER)
    assert "no-store" in answer.headers["cache-control"]
    image = re.search(rf'src="({re.escape(tracker)}/[^"]+)"', html)
    assert image is not None
    assert road.get(image[1]).headers["location"] == "https://shop.test/logo.png"
    clicked = road.wait_event(accepted.id, "clicked")
    assert clicked["url"] == OFFER if "url" in clicked else clicked["data"]["url"] == OFFER
    road.wait_event(accepted.id, "opened")
    events = [event["event"] for event in road.message(accepted.id)["timeline"]]
    assert events.index("accepted") < events.index("delivered") < events.index("clicked")


def test_text_part_and_subject_arrive_as_they_were(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    text = "Grüße, see https://shop.test/plain?a=1\r\n.leading dot\r\n..two dots\r\n"
    road.submit(make_mail(subject, text=text), ["bob@receiver.test"])
    [arrived] = road.received(subject)
    message = parsed(road.sink.raw(arrived.number))
    part = message.get_body(("plain",))
    assert part is not None
    assert part.get_content().split() == text.split()
    assert "\n.leading dot" in part.get_content()
    assert message["Message-ID"]
    assert message["Date"]
    assert "Postroad" in str(message["Received"])


def test_mail_over_rest_is_delivered_under_the_id_of_the_answer(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    answer = road.api.post(
        "/v1/send",
        {
            "envelope": "sender@shop.test",
            "recipient": "bob@receiver.test",
            "body": make_mail(subject).as_string(policy=policy.SMTP),
            "inlinizecss": True,
            "clicktracking": False,
        },
    )
    [(message_id, recipient)] = answer.items()
    assert recipient == "bob@receiver.test"
    message = road.wait_state(message_id, "delivered")
    assert message["features"]["inlinecss"] is True
    assert message["features"]["clicktracking"] is False
    [arrived] = road.received(subject)
    html = html_of(road.sink.raw(arrived.number))
    assert "style=" in html
    assert OFFER.replace("&", "&amp;") in html


def test_rest_call_by_form_and_token_in_the_query(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    document = road.stack.document
    response = httpx.post(
        f"{document.http}/v1/send?access_token={document.token}",
        data={
            "envelope": "sender@shop.test",
            "recipient": "bob@receiver.test",
            "body": make_mail(subject).as_string(policy=policy.SMTP),
        },
        timeout=90,
    )
    assert response.status_code == 200, response.text
    [message_id] = response.json()
    road.wait_state(message_id, "delivered")


@pytest.mark.parametrize("source", ["login", "header"])
@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(
    ("feature", "header"),
    [
        ("inlinecss", "x-smtpeter-inlinecss"),
        ("clicktracking", "x-smtpeter-trackclicks"),
        ("openstracking", "x-smtpeter-trackopens"),
        ("bouncetracking", "x-smtpeter-trackbounces"),
        ("preventscam", "x-smtpeter-preventscam"),
    ],
)
def test_feature_follows_the_login_and_the_header_wins_over_it(
    road: Any,
    subject: str,
    make_mail: Callable[..., EmailMessage],
    feature: str,
    header: str,
    on: bool,  # noqa: FBT001
    source: str,
) -> None:
    base = {"clicktracking"} if feature == "preventscam" else set()
    wanted = base | ({feature} if on else set())
    if source == "login":
        login, headers = sorted(wanted), {}
    else:
        login = sorted(base | (set() if on else {feature}))
        headers = {header: "true" if on else "false"}
    accepted = road.submit(
        make_mail(subject, headers=headers), ["bob@receiver.test"], login=road.login(tuple(login))
    )
    [arrived] = road.received(subject)
    raw = road.sink.raw(arrived.number)
    html = html_of(raw)
    tracker = road.stack.document.tracker
    assert ('style="' in html) is ("inlinecss" in wanted)
    assert (OFFER.replace("&", "&amp;") not in html) is ("clicktracking" in wanted)
    scam_link_kept = 'href="https://shop.test/">' in html
    assert scam_link_kept is ("preventscam" in wanted or "clicktracking" not in wanted)
    assert (f'src="{tracker}/' in html) is ("openstracking" in wanted)
    assert (arrived.envelope != "sender@shop.test") is ("bouncetracking" in wanted)
    assert b"x-smtpeter" not in raw.lower()
    assert road.message(accepted.id)["features"] == {
        name: name in wanted
        for name in ("inlinecss", "clicktracking", "openstracking", "preventscam", "bouncetracking")
    }


def test_mail_without_any_feature_keeps_every_byte_of_its_own(road: Any, subject: str) -> None:
    headers = (
        f"From: a@shop.test\r\nTo: b@receiver.test\r\nsubject:   {subject}\r\n"
        "Message-ID: <x@shop.test>\r\nDate: Sat, 21 Nov 2026 01:00:00 +0000\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/html;\r\n\tcharset=iso-8859-1\r\n"
        "Content-Transfer-Encoding: 8bit\r\n"
    ).encode()
    body = ("\r\n<p style='x'>caf\xe9 <A HREF=http://shop.test/?q=\xe9>l\xefnk</A>\r\n").encode(
        "latin-1"
    )
    road.submit(
        headers + body,
        ["bob@receiver.test"],
        login=road.login(()),
        mail_options=["BODY=8BITMIME"],
    )
    [arrived] = road.received(subject)
    got = road.sink.raw(arrived.number)
    assert headers in got
    assert got.endswith(body)
    assert got.index(b"\r\n\r\n") + 2 == len(got) - len(body)


def test_each_of_several_recipients_has_an_id_a_life_and_links_of_its_own(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    recipients = [f"user{n}@d{n % 3}.test" for n in range(12)]
    accepted = road.submit(make_mail(subject), recipients)
    assert len(set(accepted.ids)) == 12
    arrived = road.received(subject, 12)
    assert sorted(r for m in arrived for r in m.recipients) == sorted(recipients)
    for message_id, recipient in zip(accepted.ids, recipients, strict=True):
        assert road.wait_state(message_id, "delivered")["recipient"] == recipient
    tracker = road.stack.document.tracker
    links = {
        link for m in arrived for link in tracked_links(html_of(road.sink.raw(m.number)), tracker)
    }
    assert len(links) == 12
    assert len({m.envelope for m in arrived}) == 12


def test_large_mail_arrives_whole_and_changed_only_where_it_should(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    attachment = base64.b85encode(bytes(range(256)) * 50_000) + b"!" * 4_000_000
    message = make_mail(subject)
    message.add_attachment(attachment, maintype="application", subtype="pdf", filename="big.pdf")
    raw = message.as_bytes(policy=policy.SMTP)
    assert len(raw) > 20 * 1024 * 1024
    encoded = raw[raw.index(b"\r\n\r\n", raw.index(b"big.pdf")) :]
    accepted = road.submit_again(raw, ["bob@receiver.test", "eve@elsewhere.test"])
    for message_id in accepted.ids:
        road.wait_state(message_id, "delivered")
    for arrived in road.received(subject, 2):
        got = road.sink.raw(arrived.number)
        assert got.endswith(encoded)
        html = html_of(got.removesuffix(encoded))
        assert len(tracked_links(html, road.stack.document.tracker)) == 1
        assert 'style="' in html


def bounce_for(envelope: str, recipient: str) -> bytes:
    return (
        f"From: MAILER-DAEMON@receiver.test\r\nTo: {envelope}\r\nSubject: Undelivered mail\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n"
        ' boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nIt did not work out.\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.receiver.test\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user here\r\n\r\n--b--\r\n"
    ).encode()


def return_mail(road: Any, envelope: str, content: bytes) -> None:
    mx = road.stack.document.mx
    with smtplib.SMTP(mx.host, mx.port, "mx.receiver.test", 90) as client:
        client.sendmail("", [envelope], content)


def test_bounce_is_matched_recorded_forwarded_and_suppresses_the_address(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    recipient = "gone@receiver.test"
    accepted = road.submit(make_mail(subject), [recipient], envelope="returns@shop.test")
    [arrived] = road.received(subject)
    return_mail(road, arrived.envelope, bounce_for(arrived.envelope, recipient))
    message = road.wait_state(accepted.id, "bounced")
    [bounced] = [event for event in message["timeline"] if event["event"] == "bounced"]
    assert "5.1.1" in str(bounced)

    def forwarded() -> bool:
        return any(
            "returns@shop.test" in m.recipients and m.envelope == ""
            for m in road.sink.messages(recipient="returns@shop.test")
        )

    road.until(forwarded, "the bounce was forwarded to the sender's own address")
    again = road.submit(make_mail(subject + " again"), [recipient])
    road.wait_state(again.id, "suppressed")
    road.api.delete(f"/v1/suppressions/{recipient}")


def test_forged_bounce_address_is_refused(road: Any) -> None:
    mx = road.stack.document.mx
    with smtplib.SMTP(mx.host, mx.port, "mx.receiver.test", 90) as client:
        client.ehlo()
        client.mail("")
        for address in ("b" + "0" * 21 + "-00" + "0" * 12 + "@bounce.postroad.test", "joe@a.test"):
            code, text = client.rcpt(address)
            assert code == 550, text
            assert text.startswith(b"5.7.1"), text


def test_refused_recipient_fails_and_a_dsn_goes_to_the_sender_who_handles_bounces_himself(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    road.sink.behave(
        {"stage": "rcpt", "recipient": "nobody@*", "reply": "550 5.1.1 No such user here"}
    )
    accepted = road.submit(
        make_mail(subject),
        ["nobody@receiver.test"],
        envelope="own-bounces@shop.test",
        login=road.login(()),
        mail_options=["RET=HDRS", "ENVID=QQ314159"],
        rcpt_options=["NOTIFY=FAILURE", "ORCPT=rfc822;No.Body@receiver.test"],
    )
    message = road.wait_state(accepted.id, "failed")
    assert "550 5.1.1 No such user here" in str(message["timeline"])
    dsns: list[Any] = []

    def told() -> bool:
        dsns[:] = road.sink.messages(recipient="own-bounces@shop.test")
        return bool(dsns)

    road.until(told, "a DSN went to the envelope sender")
    assert dsns[0].envelope == ""
    raw = road.sink.raw(dsns[0].number)
    report = parsed(raw)
    assert report.get_content_type() == "multipart/report"
    assert b"Original-Envelope-Id: QQ314159" in raw
    assert b"rfc822;No.Body@receiver.test" in raw.replace(b"rfc822; ", b"rfc822;")
    assert b"Status: 5.1.1" in raw


def test_deferred_mail_is_tried_again_with_its_reason_and_delivered(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    road.sink.behave(
        {"stage": "rcpt", "recipient": "busy@*", "reply": "450 4.2.0 Come back", "times": 2}
    )
    accepted = road.submit(make_mail(subject), ["busy@slow.test"])
    message = road.wait_state(accepted.id, "delivered")
    deferred = [event for event in message["timeline"] if event["event"] == "deferred"]
    assert len(deferred) == 2
    assert "450 4.2.0 Come back" in str(deferred[0])
    assert message["attempts"] == 3
    assert len(road.received(subject)) == 1


def test_transaction_with_mixed_replies_ends_differently_for_each_recipient(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    road.sink.behave(
        {"stage": "rcpt", "recipient": "bad@*", "reply": "550 5.1.1 unknown"},
        {"stage": "rcpt", "recipient": "later@*", "reply": "451 4.7.1 greylisted", "times": 1},
    )
    recipients = ["good@mixed.test", "bad@mixed.test", "later@mixed.test"]
    accepted = road.submit(make_mail(subject), recipients, login=road.login(()), envelope="")
    good, bad, later = accepted.ids
    assert road.wait_state(good, "delivered")["attempts"] == 1
    assert road.wait_state(bad, "failed")["attempts"] == 1
    assert road.wait_state(later, "delivered")["attempts"] == 2
    copies = [r for m in road.received(subject, 2) for r in m.recipients]
    assert sorted(copies) == ["good@mixed.test", "later@mixed.test"]


def test_tampered_link_leads_nowhere(
    road: Any, subject: str, make_mail: Callable[..., EmailMessage]
) -> None:
    road.submit(make_mail(subject), ["bob@receiver.test"])
    [arrived] = road.received(subject)
    [link] = tracked_links(html_of(road.sink.raw(arrived.number)), road.stack.document.tracker)
    evil = base64.urlsafe_b64encode(b"https://evil.test/").decode().rstrip("=")
    for changed in (link[:-2] + "xx", link.rsplit("/", 1)[0] + "/" + evil, link + "?to=evil"):
        answer = road.get(changed)
        if changed.endswith("evil") and answer.status_code == 302:
            assert answer.headers["location"] == OFFER  # a query changes nothing
        else:
            assert answer.status_code == 404
            assert "location" not in answer.headers
