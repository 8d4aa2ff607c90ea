"""Mail to the simulator's addresses: it ends as they say, and no server hears of it."""

import base64
import time
from typing import Any

import pytest
from prometheus_client import REGISTRY

from postroad_common.broker import topology
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.mime import read
from postroad_common.schemas.events import EventName
from postroad_common.schemas.framing import decode
from postroad_common.schemas.outbound import OutboundRecipient, Patch
from postroad_common.schemas.returns import Return
from postroad_common.tokens import Keyring, LinkKind, LinkSigner
from postroad_testing.factories import MIME
from postroad_testing.waiting import until

DOMAIN = "simulator.invalid"


def to(sink: Any) -> dict[str, Any]:
    return {"domain": "*", "host": "127.0.0.1", "port": sink.port, "tls": "none"}


def attempts() -> float:
    """Return how many attempts the metrics count."""
    name = "postroad_sender_outcomes_total"
    statuses = ("delivered", "deferred", "failed")
    return sum(REGISTRY.get_sample_value(name, {"status": status}) or 0.0 for status in statuses)


async def returns_of(senders: Any, count: int) -> list[tuple[Return, bytes]]:
    """Wait for `count` mails that come back."""
    found: list[tuple[Return, bytes]] = []

    async def enough() -> bool:
        frames = await senders.queues.take(topology.RETURNS.name)
        found.extend((one, bytes(raw)) for one, raw in (decode(Return, each) for each in frames))
        return len(found) >= count

    await until(enough, what=f"{count} mails come back")
    return found


async def test_mail_ends_as_its_address_says_and_nothing_leaves(senders: Any, sink: Any):
    await senders.start([to(sink)])
    before = attempts()
    names = ("delivered", "Delivered+tag", "failed+x", "bounced", "deferred", "nobody")
    handed_in = {name: await senders.hand_in(f"{name}@{DOMAIN}") for name in names}
    await senders.told(EventName.DELIVERED, 3)
    await senders.told(EventName.FAILED, 3)
    ends = {
        name: [
            (e.event, e.facts["code"]) for e in senders.events if e.message == one.recipients[0].id
        ]
        for name, one in handed_in.items()
    }
    refused = [(EventName.FAILED, 550)]
    taken = [(EventName.DELIVERED, 250)]
    assert ends == {
        "delivered": taken,
        "Delivered+tag": taken,
        "failed+x": refused,
        "bounced": refused,
        "deferred": [(EventName.DEFERRED, 451), *taken],
        "nobody": refused,
    }
    assert all(event.facts["simulated"] for event in senders.events)
    assert {failure.reply for failure, _ in senders.failures} == {
        "550 5.1.1 simulated: no such user",
        (
            "550 5.1.1 the simulator has delivered@, failed@, bounced@, complained@, deferred@, "
            "opened@, clicked@"
        ),
    }
    # a neighbour takes its usual way, alone
    await senders.hand_in("u@d.test")
    await senders.told(EventName.DELIVERED, 4)
    assert sink.recipients == ["u@d.test"]
    assert attempts() == before + 1


async def test_bounce_and_complaint_come_back_by_mail_about_their_recipient(
    senders: Any, sink: Any
):
    await senders.start([to(sink)])
    tracked = {"bouncetracking": True, "mail_from": "b123-x@bounce.test"}
    bounced = await senders.hand_in(f"bounced@{DOMAIN}", **tracked)
    complained = await senders.hand_in(f"complained+a@{DOMAIN}", **tracked)
    found = {one.message_id: (one, raw) for one, raw in await returns_of(senders, 2)}
    for sent, report in ((bounced, "delivery-status"), (complained, "feedback-report")):
        returned, raw = found[sent.recipients[0].id]
        assert returned.recipient == "b123-x@bounce.test"
        assert returned.size == len(raw)
        mail = read(raw)
        assert mail.parameters["report-type"] == report
        assert [part.media_type for part in mail.walk()][1:] == [
            "text/plain",
            f"message/{report}",
            "text/rfc822-headers",
        ]
        assert MIME.partition(b"\r\n\r\n")[0] in raw
    for delivered in await senders.told(EventName.DELIVERED, 2):
        assert found[delivered.message][0].received > delivered.time
    assert sink.taken == []


def tracked_mail(message_id: str, *, images: bool = True, clicks: bool = True) -> bytes:
    """Return a mail with two images, two links of ours, and one of another message."""
    links = LinkSigner(Keyring(["a secret that the sender does not know"]), "https://t.test")
    one = links.for_message(message_id)
    foreign = links.click(new_id(), 0, b"https://x.test/")
    html = f'<a href="{foreign}">other</a>'
    if clicks:
        html += "".join(
            f'<a href="{one.url(LinkKind.CLICK, number, target)}">link</a>'
            for number, target in ((3, b"https://shop.test/a?b=1"), (4, b"https://shop.test/"))
        )
    if images:
        html += f'<img src="{one.url(LinkKind.IMAGE, 7, b"https://shop.test/logo.png")}">'
    head = b"Subject: s\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head + base64.encodebytes(html.encode()).replace(b"\n", b"\r\n")


async def test_openings_and_clicks_follow_where_the_mail_is_tracked(senders: Any, sink: Any):
    await senders.start([to(sink)])
    opened, clicked, plain = new_id(), new_id(), new_id()
    for name, message_id, octets in (
        ("opened+1", opened, tracked_mail(opened)),
        ("clicked", clicked, tracked_mail(clicked)),
        ("clicked", plain, tracked_mail(plain, images=False, clicks=False)),
    ):
        recipient = OutboundRecipient(id=message_id, address=f"{name}@{DOMAIN}")
        await senders.hand_in(recipient.address, octets=octets, recipients=(recipient,))
    await senders.told(EventName.CLICKED, 1)
    delivered = {event.message: event for event in await senders.told(EventName.DELIVERED, 3)}
    visits = {(e.message, e.event): e for e in senders.events if e.event != EventName.DELIVERED}
    assert set(visits) == {
        (opened, EventName.OPENED),
        (clicked, EventName.OPENED),
        (clicked, EventName.CLICKED),
    }
    common = {"machine": False, "user_agent": "Postroad-Simulator/1", "simulated": True}
    assert visits[opened, EventName.OPENED].facts == {
        **common, "url": "https://shop.test/logo.png", "link": 7
    }  # fmt: skip
    assert visits[clicked, EventName.CLICKED].facts == {
        **common, "url": "https://shop.test/a?b=1", "link": 3
    }  # fmt: skip
    assert all(event.time > delivered[event.message].time for event in visits.values())
    assert sink.taken == []


async def test_a_stored_mail_is_opened_by_its_pixel(senders: Any, sink: Any):
    sender = await senders.start([to(sink)])
    message_id = new_id()
    links = LinkSigner(Keyring(["a secret"]), "https://t.test").for_message(message_id)
    pixel = f'<img src="{links.url(LinkKind.OPEN, 0)}">'.encode()
    bodies = sender.database.bodies
    stored = await bodies.put(b"Subject: s\r\n\r\n<p>text</p>", time.time() + 3600)
    recipient = OutboundRecipient(id=message_id, address=f"opened@{DOMAIN}")
    await senders.hand_in(
        recipient.address,
        octets=b"Subject: s\r\nContent-Type: text/html\r\n\r\n",
        recipients=(recipient,),
        body=stored,
        skip=stored.size - len(b"<p>text</p>"),
        patches=(Patch(at=stored.size, data=pixel),),
    )
    (event,) = await senders.told(EventName.OPENED)
    assert event.facts == {
        "machine": False, "user_agent": "Postroad-Simulator/1", "simulated": True
    }  # fmt: skip


async def test_success_is_reported_as_notify_asks_and_a_report_to_the_simulator_only_arrives(
    senders: Any, sink: Any
):
    await senders.start([to(sink)])
    address = f"delivered@{DOMAIN}"
    recipient = OutboundRecipient(id="m1", address=address, notify=("success",))
    await senders.hand_in(address, recipients=(recipient,))
    await senders.hand_in(f"failed@{DOMAIN}", kind="dsn", envelope="", mail_from="")
    await senders.told(EventName.DELIVERED, 2)
    assert [failure.outcome for failure, _ in senders.failures] == ["relayed"]


@pytest.mark.parametrize("domain", ["off", "try.example"])
async def test_simulator_is_where_the_operator_wants_it(senders: Any, sink: Any, domain: str):
    await senders.start([to(sink)], simulator_domain=domain)
    await senders.hand_in(f"failed@{DOMAIN}")
    await senders.hand_in("failed@try.example")
    await senders.told(EventName.DELIVERED, 1 if domain != "off" else 2)
    failed = [] if domain == "off" else await senders.told(EventName.FAILED)
    expected = {f"failed@{DOMAIN}"} | ({"failed@try.example"} if domain == "off" else set())
    assert set(sink.recipients) == expected
    assert len(failed) == (0 if domain == "off" else 1)
