"""Mail that cannot be attempted: it waits, and keeps no other."""

from typing import Any

import pytest

from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.submission import BodyReference
from postroad_sender.delivery.outcome import Status
from postroad_testing.factories import MIME, outbound, outbound_recipient
from postroad_testing.mailhost import MailHost
from postroad_testing.waiting import until


async def test_mail_that_an_attempt_raises_an_error_for_waits_and_keeps_no_other(site: Any):
    host = MailHost()
    await site.open(host)
    site.defects.add("broken@site.test")
    message = outbound(recipients=(outbound_recipient("broken@site.test"),), size=len(MIME))
    site.place(message)
    (outcome,) = await site.send("fine@site.test")
    assert outcome.status is Status.DELIVERED
    assert site.ended.requeued == [("broken@site.test", RequeueReason.HANDLER_FAILED)]
    assert host.taken == [["fine@site.test"]]


async def test_large_mail_that_finds_no_room_in_memory_waits_and_keeps_no_other(site: Any):
    host = MailHost()
    await site.open(host)
    body = BodyReference(file="large", size=1000)
    async with site.room.hold(outbound(body=body)):
        large = outbound(
            recipients=(outbound_recipient("large@site.test"),),
            body=body.model_copy(update={"file": "another"}),
        )
        site.place(large)
        (outcome,) = await site.send("fine@site.test")
    assert outcome.status is Status.DELIVERED
    await until(lambda: bool(site.ended.requeued))
    assert site.ended.requeued == [("large@site.test", RequeueReason.BODY_UNAVAILABLE)]


@pytest.mark.parametrize("known", [False, True])
async def test_mail_that_cannot_be_placed_waits_and_keeps_no_other_of_its_domain(
    site: Any, *, known: bool
):
    host = MailHost(EHLO="250-host\r\n250 AUTH PLAIN")
    await site.open(host, logins=["smart"])
    site.lanes_broken = 1
    domain = "smart.test" if known else "site.test"  # by a route, or after a look-up
    for name in ("first", "second"):
        message = outbound(recipients=(outbound_recipient(f"{name}@{domain}"),), size=len(MIME))
        site.place(message)
    await until(lambda: f"second@{domain}" in site.ended.outcomes)
    assert site.ended.requeued == [(f"first@{domain}", RequeueReason.ROUTING_FAILED)]
    assert host.taken == [[f"second@{domain}"]]
