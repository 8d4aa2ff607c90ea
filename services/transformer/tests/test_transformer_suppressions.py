"""The handler and recipients who are suppressed: nothing is sent to them, and who sent is told."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from postroad_common.broker import topology
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode
from postroad_common.schemas.returns import SUPPRESSION, DeliveryFailure
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.database import Database
from postroad_common.store.suppressions import Suppression
from postroad_testing.forwarder import Forwarder
from postroad_testing.outages import direct, is_done
from postroad_testing.waiting import until

if TYPE_CHECKING:
    from conftest import Road  # the service's own, beside this file

PLAIN = Features()
NOW = 1_780_000_000.0
Make = Callable[..., Submission]


async def test_suppressed_recipients_get_nothing_but_an_event(
    road: "Road", database: Database, make_submission: Make
):
    await database.suppressions.add(
        [Suppression("main", "gone@d.test", "unknown user", "hard", 1.0, None)]
    )
    await road.submit(make_submission("Gone@d.test", "here@d.test"))
    await road.submit(make_submission("gone@D.test"))
    ((message, _),) = await road.outbound(1)
    assert message.recipients[0].address == "here@d.test"
    told = await road.told(3)
    assert sorted(event.event for event in told) == ["suppressed", "suppressed", "transformed"]
    suppressed = next(event for event in told if event.event == EventName.SUPPRESSED)
    assert suppressed.facts["reason"] == "unknown user"


async def test_suppressed_recipients_are_failures_for_the_bounce_processor(
    road: "Road", database: Database, make_submission: Make
):
    await database.suppressions.add(
        [
            Suppression("main", "gone@d.test", "unknown user", "hard", 1.0, None),
            Suppression("main", "dead@e.test", "unknown user", "hard", 1.0, None),
            Suppression("main", "no@d.test", "list", "unsubscribe", 1.0, None),
        ]
    )
    stored = await road.database.bodies.put(road.raw + b"x" * 5000, NOW + 60)
    inline = make_submission(
        "Gone@d.test", "here@d.test", "no@d.test", "dead@e.test", ret="full", envid="E1"
    )
    large = make_submission("gone@d.test", features=PLAIN, body=stored, ret="full")
    nobody = make_submission("gone@d.test", envelope="")
    for submission in (inline, large, nobody):
        await road.submit(submission)
    found = [
        (decode(DeliveryFailure, frame)[0], bytes(decode(DeliveryFailure, frame)[1]))
        for frame in await road.taken([topology.FAILURES.name], 3)
    ]
    hard, unsubscribed, other = sorted(
        found,
        key=lambda pair: (
            pair[0].outbound.submission != inline.id,
            "unsubscribed" in pair[0].reply,
        ),
    )
    failure, quoted = hard
    assert (failure.outcome, failure.stage, failure.enhanced) == ("failed", SUPPRESSION, "5.7.1")
    assert [each.address for each in failure.outbound.recipients] == ["Gone@d.test", "dead@e.test"]
    assert failure.outbound.envid == "E1"
    assert b"Subject: Hi" in quoted
    assert b"Hello" in quoted
    assert b"Bcc" not in quoted
    assert [each.address for each in unsubscribed[0].outbound.recipients] == ["no@d.test"]
    assert other[0].outbound.body == stored
    body = await road.database.bodies.get(stored)
    assert b"Subject: Hi" in other[1]
    assert body[other[0].outbound.skip :].startswith(b"<style>")
    await road.told(6)
    assert await road.depth(topology.FAILURES.name) == 0


async def test_who_unsubscribed_from_a_list_gets_no_more_of_it_and_all_other_mail(
    road: "Road", database: Database, make_submission: Make
):
    for list_name in ("news", "shop@example.com"):
        entry = Suppression("main", "sub@one.test", "no", "unsubscribe", NOW, None, list=list_name)
        await database.suppressions.add([entry])
    sender = {"sender": "shop@example.com"}
    mails = {
        "of the list": {"list": "news", **sender},
        "of another list": {"list": "offers", **sender},
        "of its sender, with a link": {"list_unsubscribe": True, **sender},
        "of its sender, with a field of its own": sender,
        "a receipt": {"list_unsubscribe": False, **sender},
        "of another sender": {"list_unsubscribe": True, "sender": "news@example.com"},
    }
    names = {}
    for name, fields in mails.items():
        submission = make_submission("sub@one.test", **fields)
        names[submission.id] = name
        own = b"List-Unsubscribe: <https://shop.test/u>\r\n" if "own" in name else b""
        await road.submit(submission, own + road.raw)
    sent = {names[message.submission] for message, _ in await road.outbound(3)}
    assert sent == {"of another list", "a receipt", "of another sender"}


async def test_mail_that_may_be_suppressed_waits_until_the_database_is_back(
    make_road: type["Road"], amqp_url: str, mongodb_uri: str, make_submission: Make
):
    line, uri = Forwarder.to(mongodb_uri, 27017)
    await line.open()
    database = Database(direct(uri), patience=1.0)
    road = make_road(amqp_url, database)
    await road.start()
    try:
        unwilling = make_submission(recipients=(Recipient(id=new_id(), address="No@x.test"),))
        entry = Suppression(unwilling.account, "no@x.test", "asked", "unsubscribe", 1.0, None)
        await until(lambda: is_done(partial(database.suppressions.add, [entry])))
        await until(lambda: is_done(road.snapshot.reload))
        await line.close()
        await road.submit(unwilling)
        willing = make_submission()
        await road.submit(willing)
        ((message, _),) = await road.outbound(1)
        assert message.submission == willing.id
        await road.told(1)
        await line.open()
        (event,) = await road.told(1)
        assert event.event is EventName.SUPPRESSED
        assert event.message == unwilling.recipients[0].id
    finally:
        await road.stop()
        await database.close()
        await line.close()
