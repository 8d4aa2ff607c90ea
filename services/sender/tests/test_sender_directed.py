"""Try now and cancel: what is directed for a single message reaches it wherever it waits."""

import time
from dataclasses import replace
from typing import Any

from postroad_common.schemas.events import EventName
from postroad_common.store.messagedirectives import Action, MessageDirective
from postroad_testing import factories
from postroad_testing.forwarder import Forwarder
from postroad_testing.waiting import until

LATER = 3600.0


def to(sink: Any) -> dict[str, Any]:
    return {"domain": "*", "host": "127.0.0.1", "port": sink.port, "tls": "none"}


async def direct(senders: Any, message: str, action: Action, attempts: int = 0) -> None:
    now = time.time()
    directive = MessageDirective(message, "acme", action, "ops", now, attempts, now + LATER)
    assert await senders.database.message_directives.give(directive)


async def test_message_whose_time_has_not_come_is_tried_when_somebody_says_so(
    senders: Any, sink: Any
):
    first, other = factories.outbound("now@d.test"), factories.outbound("later@d.test")
    await direct(senders, first.id, Action.RETRY, attempts=2)
    await senders.start([to(sink)])  # what was directed before is known before mail is taken
    for message, attempt in ((other, 2), (first, 3), (first, 2)):
        await senders.hand_in(
            message.recipients[0].address,
            id=f"{message.id}-{attempt}",
            recipients=message.recipients,
            not_before=time.time() + LATER,
            attempt=attempt,
        )
    (delivered,) = await senders.told(EventName.DELIVERED)
    # the attempt after that is not hurried any more, nor is a neighbour
    assert (delivered.message, delivered.facts["attempt"]) == (first.id, 2)
    await until(lambda: sink.recipients == ["now@d.test"])


async def test_cancelled_message_is_not_sent_and_nobody_is_told_but_the_timeline(
    senders: Any, sink: Any
):
    both = factories.outbound("gone@d.test", "stays@d.test")
    await direct(senders, both.recipients[0].id, Action.CANCEL)
    await senders.start([to(sink)])
    await senders.hand_in("gone@d.test", "stays@d.test", recipients=both.recipients, id=both.id)
    (event,) = await senders.told(EventName.CANCELLED)
    assert event.message == both.recipients[0].id
    assert event.account == "acme"
    assert event.facts["by"] == "ops"
    (delivered,) = await senders.told(EventName.DELIVERED)
    assert delivered.message == both.recipients[1].id
    assert sink.recipients == ["stays@d.test"]
    assert senders.failures == []
    # a second copy, as a broker that lost an acknowledgement brings it, changes nothing
    await senders.hand_in("gone@d.test", recipients=both.recipients[:1], id=f"{both.id}-again")
    again = (await senders.told(EventName.CANCELLED, 2))[1]
    assert again.id == event.id
    assert sink.recipients == ["stays@d.test"]


async def test_a_sender_that_begins_without_the_database_holds_what_may_be_cancelled(
    senders: Any, sink: Any
):
    line, uri = Forwarder.to(senders.settings["mongodb_uri"], 27017)
    senders.settings["mongodb_uri"] = uri
    senders.timings = replace(senders.timings, directives_every=0.1, directives_unknown=1.0)
    cancelled, other = factories.outbound("gone@d.test"), factories.outbound("stays@d.test")
    await direct(senders, cancelled.id, Action.CANCEL)
    await senders.start([to(sink)])
    for message in (cancelled, other):
        await senders.hand_in(
            message.recipients[0].address, id=message.id, recipients=message.recipients,
            received=message.received,
        )  # fmt: skip
    new = await senders.hand_in("new@d.test")
    (delivered,) = await senders.told(EventName.DELIVERED)
    assert delivered.message == new.id
    assert sink.recipients == ["new@d.test"]
    await line.open()
    await senders.told(EventName.CANCELLED)
    await senders.told(EventName.DELIVERED, 2)
    assert sorted(sink.recipients) == ["new@d.test", "stays@d.test"]
    await line.close()


async def test_cancelled_message_leaves_the_lane_where_it_waits_and_the_one_under_way_goes_on(
    senders: Any, sink: Any
):
    senders.timings = replace(senders.timings, directives_every=0.1)
    lane = f"|127.0.0.1:{sink.port}"
    await senders.database.lanes.direct(lane, {"connections": 1})
    sink.gate.clear()
    await senders.start([to(sink)])
    messages = [await senders.hand_in("first@d.test")]
    await until(lambda: sink.commands != [])
    messages += [await senders.hand_in(f"u{number}@d.test") for number in range(3)]
    under_way, waits = messages[0], messages[2]
    await direct(senders, under_way.id, Action.CANCEL)
    await direct(senders, waits.id, Action.CANCEL)
    (event,) = await senders.told(EventName.CANCELLED)
    assert event.message == waits.id
    sink.gate.set()
    delivered = await senders.told(EventName.DELIVERED, 3)
    assert {one.message for one in delivered} == {m.id for m in messages} - {waits.id}
    assert "u1@d.test" not in sink.recipients


async def test_cancelled_message_whose_attempt_is_deferred_is_not_tried_again(
    senders: Any, sink: Any
):
    sink.refuse["u"] = ["451 4.3.0 not now"]
    senders.timings = replace(senders.timings, directives_every=0.1)
    await senders.start([to(sink)], retry_schedule="1")
    message = await senders.hand_in("u@d.test")
    await senders.told(EventName.DEFERRED)
    await direct(senders, message.id, Action.CANCEL)
    (event,) = await senders.told(EventName.CANCELLED)
    assert event.message == message.id
    assert senders.named(EventName.DELIVERED, EventName.FAILED) == []
