"""Mail with more recipients than a transaction takes."""

import asyncio
from typing import Any

import pytest

from postroad_sender.delivery.outcome import Status
from postroad_testing.mailhost import MailHost


@pytest.mark.parametrize(
    "excess",
    [
        "452 4.5.3 too many recipients",
        "552 too many recipients",
        "552 5.5.3 Error: too many recipients",
        "452 Too many recipients received this transaction",
        "450 4.5.3 recipient limit reached",
        "552 Too much recipients",
        "452 allowed number of recipients exceeded",
    ],
)
async def test_recipients_that_are_too_many_go_in_the_next_transaction(site: Any, excess: str):
    host = MailHost()
    host.most, host.excess = 3, excess
    await site.open(host)
    addresses = [f"r{number}@site.test" for number in range(8)]
    outcomes = await site.send(*addresses)
    assert [outcome.status for outcome in outcomes] == [Status.DELIVERED] * 8
    assert host.taken == [addresses[:3], addresses[3:6], addresses[6:]]
    assert host.sessions == 1
    lane = site.dispatcher.lanes()[0]
    assert not lane.controller.effects(asyncio.get_running_loop().time())
    assert lane.controller.connections(0.0) > 0


async def test_recipients_that_are_too_many_from_the_first_on_are_deferred_and_not_failed(
    site: Any,
):
    host = MailHost()
    host.most, host.excess = 0, "552 too many recipients"
    await site.open(host)
    outcomes = await site.send("a@site.test", "b@site.test")
    assert [outcome.status for outcome in outcomes] == [Status.DEFERRED] * 2
    assert host.taken == []


async def test_objection_to_how_many_an_hour_is_not_taken_for_too_many_at_once(site: Any):
    host = MailHost()
    host.most, host.excess = 1, "450 4.7.1 too many recipients this hour"
    await site.open(host)
    taken, left = await site.send("a@site.test", "b@site.test")
    assert (taken.status, left.status) == (Status.DELIVERED, Status.DEFERRED)
    assert host.taken == [["a@site.test"]]
