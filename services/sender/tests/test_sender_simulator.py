"""Mail to the simulator's addresses: it ends as they say, and no server hears of it."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from postroad_common.broker import topology
from postroad_common.mail.mime import read
from postroad_common.schemas.events import EventName
from postroad_common.schemas.framing import decode
from postroad_common.schemas.outbound import OutboundRecipient
from postroad_common.schemas.returns import Return
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
        "550 5.1.1 the simulator has delivered@, failed@, bounced@, complained@, deferred@",
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
