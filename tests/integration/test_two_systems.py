"""Two whole Postroads that send their failures and returns to each other: it ends, and mail flows.

`road` is the one of all tests here, `other_road` a second one, of the domain other.test. Neither
takes mail for anything but its own signed bounce addresses.
"""

import re
import smtplib
from collections import Counter
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import httpx

from postroad_common.mail.identifiers import new_id

Make = Callable[..., EmailMessage]
VACATION = """\
From: {responder}
To: {envelope}
Subject: Out of office
Auto-Submitted: auto-replied

I am away.
"""
_LOOPS = re.compile(
    r'^postroad_bounce_processor_left_out_total\{reason="loop"\} (\S+)$', re.MULTILINE
)


def signed(road: Any, make_mail: Make, envelope: str) -> tuple[str, str]:
    """Deliver a mail whose returns go to `envelope`; return it and its bounce address."""
    subject = f"Mail {new_id()}"
    recipient = f"user-{new_id()}@receiver.test"
    accepted = road.submit(make_mail(subject), [recipient], envelope=envelope)
    [arrived] = road.received(subject)
    return accepted.id, arrived.envelope


def written(road: Any, domain: str) -> Counter[str]:
    """How many mails of which source a Postroad has for addresses of a domain."""
    sources = ("smtp", "dsn", "forward")
    return Counter(
        {
            source: len(road.api.get("/v1/messages", recipient=domain, source=source)["items"])
            for source in sources
        }
    )


def loops(road: Any) -> float:
    """How many forwards the bounce-processor has left out, because they had been here before."""
    [page] = road.stack.document.metrics["bounce-processor"]
    return sum(float(value) for value in _LOOPS.findall(httpx.get(page, timeout=90).text))


def flows(road: Any, make_mail: Make) -> None:
    """Check that an ordinary mail arrives."""
    accepted = road.submit(make_mail(f"Mail {new_id()}"), [f"user-{new_id()}@receiver.test"])
    road.wait_state(accepted.id, "delivered")


def told(road: Any, message: str) -> dict[str, Any]:
    """Return the notification about a failed message."""
    road.wait_state(message, "failed")
    notified: dict[str, Any] = road.wait_event(message, "notified")
    return notified


def test_two_systems_that_bounce_at_each_other_come_to_rest_while_mail_goes_on(
    road: Any, other_road: Any, make_mail: Make
) -> None:
    here, there = "bounces.postroad.test", "bounces.other.test"
    owner, responder = f"owner-{new_id()}@receiver.test", f"responder-{new_id()}@receiver.test"

    # Each sends to an address that the other refuses, with an envelope sender that it refuses too:
    # the notification of the failure fails, and nobody is told of that.
    for one, domain in ((road, there), (other_road, here)):
        mail = one.submit(
            make_mail("to nobody"), [f"no@{domain}"], envelope=f"x@{domain}", login=one.login(())
        )
        notification = told(one, mail.id)["notification"]
        assert one.wait_state(notification, "failed")["source"] == "dsn"

    # Addresses that lead from one system to the other, and back: the last to a person.
    last, last_address = signed(other_road, make_mail, owner)
    middle, middle_address = signed(road, make_mail, last_address)
    first, first_address = signed(other_road, make_mail, middle_address)
    mail = road.submit(
        make_mail("round"), [f"no@{there}"], envelope=first_address, login=road.login(())
    )
    road.wait_state(told(road, mail.id)["notification"], "delivered")
    ways = [
        one.wait_event(message, "bounced")["forwarded"]
        for one, message in ((other_road, first), (road, middle), (other_road, last))
    ]
    assert ways == [True, True, False]
    other_road.until(lambda: loops(other_road) == 1, "the forward that was left out is counted")
    flows(road, make_mail)
    flows(other_road, make_mail)

    # Automatic replies take the same way, each of them once.
    mx = road.stack.document.mx
    for _ in range(3):
        with smtplib.SMTP(mx.host, mx.port, "mx.receiver.test", 90) as client:
            text = VACATION.format(responder=responder, envelope=middle_address)
            client.sendmail(responder, [middle_address], text)
    other_road.until(
        lambda: len(road.sink.messages(recipient=owner)) == 3, "the owner has every reply"
    )

    # A mail that fails after all of that, and whose notification has gone: so nothing is left.
    for one, domain in ((road, there), (other_road, here)):
        mail = one.submit(
            make_mail("to nobody"), [f"no@{domain}"], envelope=owner, login=one.login(())
        )
        one.wait_state(told(one, mail.id)["notification"], "delivered")
        flows(one, make_mail)
    for one, domain, expected in (
        (road, f"@{there}", {"smtp": 3, "dsn": 2, "forward": 4}),
        (other_road, f"@{here}", {"smtp": 2, "dsn": 1, "forward": 1}),
    ):
        one.until(
            lambda one=one, domain=domain, expected=expected: written(one, domain) == expected,
            f"{expected} were written to {domain}",
            lambda one=one, domain=domain: str(written(one, domain)),
        )
    other_road.until(
        lambda: written(other_road, "@receiver.test")["forward"] == 3, "all forwards are written"
    )
    subjects = Counter(message.subject for message in road.sink.messages(recipient=owner))
    assert subjects["Out of office"] == 3
    assert sum(subjects.values()) == 5
    for one in (road, other_road):
        for queue in ("bounce-processor.returns", "bounce-processor.failures"):
            one.until(
                lambda one=one, queue=queue: one.api.get(f"/v1/queues/{queue}")["ready"] == 0,
                f"{queue} is empty",
            )
