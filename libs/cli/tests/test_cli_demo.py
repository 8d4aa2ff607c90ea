"""The parts of the demo that look at mail: what they accept, and what they must not overlook."""

import email
import email.policy
import io

import pytest
from rich.console import Console

from postroad_cli.demo.failure import DemoFailedError
from postroad_cli.demo.mails import DemoMail, nobody, parcel_mail
from postroad_cli.demo.received import compare
from postroad_cli.demo.returned import DIAGNOSTIC, delivery_report
from postroad_cli.demo.screen import Screen, duration

TRACKER = "http://127.0.0.1:8081"
ENVELOPE = "b123-abc@bounces.postroad.test"


@pytest.fixture
def mail() -> DemoMail:
    return parcel_mail("reader@example.test", "Your parcel")


def html_of(mail: DemoMail) -> str:
    message = email.message_from_bytes(mail.raw, policy=email.policy.default)
    body = message.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def wrapped(html: str) -> bytes:
    return b"Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html.encode()


def rewritten(mail: DemoMail) -> str:
    """Return the page as it should arrive."""
    html = html_of(mail).replace("<h1>", '<h1 style="font-size: 24px; color: #1d4e5f">')
    for number, url in enumerate(mail.tracked):
        html = html.replace(f'href="{url.replace("&", "&amp;")}"', f'href="{TRACKER}/c/{number}"')
    for number, url in enumerate(mail.images):
        html = html.replace(f'src="{url}"', f'src="{TRACKER}/i/{number}"')
    return html


def test_mail_is_seven_bit_clean_with_crlf_and_names_every_url(mail: DemoMail):
    assert mail.raw.isascii()
    assert b"\n" not in mail.raw.replace(b"\r\n", b"")
    html = html_of(mail).replace("&amp;", "&")
    assert all(f'"{url}"' in html for url in (*mail.tracked, *mail.untouched, *mail.images))


def test_mail_as_it_should_arrive_is_accepted_with_its_changes(mail: DemoMail):
    changes = compare(mail, wrapped(rewritten(mail)), ENVELOPE, TRACKER)
    assert changes.clicks == tuple(
        (f"{TRACKER}/c/{number}", url) for number, url in enumerate(mail.tracked)
    )
    assert changes.images == tuple(
        (f"{TRACKER}/i/{number}", url) for number, url in enumerate(mail.images)
    )
    assert changes.untouched == mail.untouched
    assert changes.envelope == ENVELOPE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (' style="font-size: 24px; color: #1d4e5f"', "", "CSS"),
        ("@media", "media", "@media"),
        (f"{TRACKER}/c/1", "https://shop.test/account/deliveries#next", "not rewritten"),
        (f'href="{TRACKER}/c/1"', "", "3 links"),
        (f"{TRACKER}/i/0", "https://shop.test/images/logo.png", "image was not rewritten"),
        (f"{TRACKER}/c/2", "http://elsewhere.test/c/2", "not rewritten"),
        ('href="https://shop.test/terms"', f'href="{TRACKER}/c/9"', "must stay"),
        ("mailto:", "mail:", "must stay"),
    ],
)
def test_change_that_did_not_happen_is_noticed(mail: DemoMail, old: str, new: str, said: str):
    page = rewritten(mail)
    assert old in page
    with pytest.raises(DemoFailedError, match=said):
        compare(mail, wrapped(page.replace(old, new)), ENVELOPE, TRACKER)


def test_envelope_that_was_not_replaced_is_noticed(mail: DemoMail):
    with pytest.raises(DemoFailedError, match="envelope"):
        compare(mail, wrapped(rewritten(mail)), mail.envelope, TRACKER)


def test_mail_without_its_html_is_noticed(mail: DemoMail):
    with pytest.raises(DemoFailedError, match="HTML"):
        compare(mail, b"Subject: x\r\n\r\ntext\r\n", ENVELOPE, TRACKER)


def test_report_is_read_as_rfc_3464_asks(mail: DemoMail):
    raw = delivery_report(ENVELOPE, "gone@example.test", mail.raw)
    report = email.message_from_bytes(raw, policy=email.policy.default)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    words, status, headers = report.iter_parts()
    assert "gone@example.test" in words.get_content()
    per_message, per_recipient = status.get_payload()
    assert per_message["Reporting-MTA"] == "dns; mx.example.test"
    assert per_recipient["Final-Recipient"] == "rfc822; gone@example.test"
    assert per_recipient["Action"] == "failed"
    assert per_recipient["Status"] == "5.1.1"
    assert per_recipient["Diagnostic-Code"] == f"smtp; {DIAGNOSTIC}"
    assert headers.get_content_type() == "text/rfc822-headers"
    assert "Subject: Your parcel" in headers.get_content()
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_address_that_does_not_exist_is_another_one_each_time():
    assert nobody() != nobody()


def test_step_shows_its_facts_under_a_tick_and_a_failed_one_under_a_cross():
    out = io.StringIO()
    screen = Screen(Console(file=out, width=200))
    with screen.step("opened", "waiting") as step:
        step.fact("first fact")
        step.fact("second fact")
        step.elapsed = 0.0123
    with pytest.raises(DemoFailedError), screen.step("clicked", "waiting for a click"):
        raise DemoFailedError("no click")
    first, second, third = out.getvalue().splitlines()
    assert first.split() == ["✓", "opened", "12", "ms", "first", "fact"]
    assert second.index("second") == first.index("first")
    assert third.split() == ["✗", "clicked", "waiting", "for", "a", "click"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0004, "0 ms"), (0.9, "900 ms"), (11.84, "11.8 s")]
)
def test_time_span_is_shown_in_the_unit_that_reads_best(seconds: float, shown: str):
    assert duration(seconds) == shown
