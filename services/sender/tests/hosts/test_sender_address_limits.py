"""Many sites that are one machine: together they open no more connections than it takes."""

import asyncio
from typing import Any

from postroad_sender.delivery.outcome import Status
from postroad_sender.lanes.lane_state import state_of
from postroad_sender.limits.address_limits import (
    JUST_CLOSED,
    MORE_EVERY,
    TURN,
    AddressLimit,
    AddressLimits,
)
from postroad_testing.mailhost import MailHost
from postroad_testing.waiting import until


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Waiter:
    """A lane with mail."""

    is_waiting = True

    def schedule(self) -> None:
        pass


def addresses(most: int) -> AddressLimits:
    return AddressLimits(most, asyncio.get_running_loop().time)


async def send_to_all(site: Any, neighbours: int, each: int = 3) -> list[Any]:
    """Send `each` messages to each of the neighbours; returns what came of them."""
    found = await asyncio.gather(
        *(
            site.send(f"u{message}@shared{number}.test")
            for message in range(each)
            for number in range(1, neighbours + 1)
        )
    )
    return [outcome for outcomes in found for outcome in outcomes]


async def test_sites_with_one_address_share_its_connections_and_say_what_they_wait_for(site: Any):
    host = MailHost()
    host.gate.clear()
    await site.open(host, neighbours=6, limits=addresses(2))
    sending = asyncio.ensure_future(send_to_all(site, 6))
    loop = asyncio.get_running_loop()

    def waiting() -> list[str]:
        states = (state_of(lane, loop.time(), 0.0) for lane in site.dispatcher.lanes())
        return [state.reason for state in states if state.connections == 0 and state.reason]

    await until(lambda: len(waiting()) == 4)
    assert all("connections to 127.0.0.1 port" in reason for reason in waiting())
    assert all("2 of 2" in reason for reason in waiting())
    assert host.open == 2
    host.gate.set()
    outcomes = await sending
    assert [outcome.status for outcome in outcomes] == [Status.DELIVERED] * 18
    assert all(len(outcomes) == 1 for outcomes in site.ended.outcomes.values())
    await until(lambda: not waiting())


async def test_what_the_server_takes_is_found_without_a_message_that_is_deferred(site: Any):
    host = MailHost()
    host.gate.clear()
    host.most_sessions = 3
    await site.open(host, neighbours=10, limits=addresses(50))
    sending = asyncio.ensure_future(send_to_all(site, 10))
    await until(lambda: host.open == 3 and host.refused > 0)
    host.gate.set()
    outcomes = await sending
    assert [outcome.status for outcome in outcomes] == [Status.DELIVERED] * 30
    assert all(len(outcomes) == 1 for outcomes in site.ended.outcomes.values())


async def test_hosts_of_routes_have_no_limit_but_their_own(site: Any):
    host = MailHost(EHLO="250-host\r\n250 AUTH PLAIN")
    host.gate.clear()
    await site.open(host, logins=["anna", "bert", "carl"], limits=addresses(1))
    sending = asyncio.gather(*(site.send(f"u@{login}.test") for login in ("anna", "bert", "carl")))
    await until(lambda: host.open == 3)
    host.gate.set()
    await sending


def test_number_that_a_server_has_shown_is_tried_again_little_by_little():
    clock = Clock()
    limit = AddressLimit("192.0.2.1", lambda: 20, clock)
    places = [limit.take(lane) for lane in ("a", "b", "c")]
    for place in places[:2]:
        assert place is not None
        place.opened()
    assert places[2] is not None
    assert places[2].refused()
    places[2].give_back()
    places[2].give_back()  # it counts once
    assert limit.take("c") is None
    assert "the server refused another when 2 were open" in limit.why()
    for doublings, used in ((1, 3), (2, 5), (3, 9), (10, 20)):
        clock.now = doublings * MORE_EVERY
        while limit.take("c") is not None:
            pass
        assert limit.used == used


def test_connections_that_are_opening_when_another_is_refused_are_kept_if_they_open():
    limit = AddressLimit("192.0.2.1", lambda: 20, Clock())
    opening = [place for lane in "abc" if (place := limit.take(lane)) is not None]
    refused = limit.take("d")
    assert refused is not None
    assert refused.refused()
    refused.give_back()
    for place in opening:
        place.opened()
        assert not place.is_to_end(Waiter(), 0)
    assert limit.shown == 3


def test_server_that_refuses_the_only_lane_is_for_that_lane_to_learn():
    limit = AddressLimit("192.0.2.1", lambda: 20, Clock())
    first, second = limit.take("a"), limit.take("a")
    assert first is not None
    assert second is not None
    first.opened()
    assert not second.refused()
    assert limit.shown is None


def test_connection_of_another_lane_that_was_just_closed_may_still_count_there():
    clock = Clock()
    limit = AddressLimit("192.0.2.1", lambda: 20, clock)
    first = limit.take("a")
    assert first is not None
    first.opened()
    first.give_back()
    second = limit.take("b")
    assert second is not None
    assert second.refused()
    clock.now = JUST_CLOSED
    assert not second.refused()


def test_share_that_becomes_smaller_ends_connections_and_never_all_of_them():
    shares = [1.0]
    limits = AddressLimits(10, Clock(), lambda: shares[0])
    limit = limits.of("", "192.0.2.1", 25)
    places = [place for _ in range(12) if (place := limit.take("a")) is not None]
    assert len(places) == 10
    for place in places:
        place.opened()
    shares[0] = 0.5
    while places and places[-1].is_to_end(Waiter(), 0):
        places.pop().give_back()
    assert len(places) == 5
    shares[0] = 0.0  # its shards are on their way to another replica
    while places and places[-1].is_to_end(Waiter(), 0):
        places.pop().give_back()
    assert len(places) == 1


def test_connection_makes_room_after_some_messages_for_another_lane_and_not_for_its_own():
    limit = AddressLimit("192.0.2.1", lambda: 1, Clock())
    place = limit.take("a")
    assert place is not None
    mine, other = Waiter(), Waiter()
    assert not limit.ask(mine)
    assert not place.is_to_end(mine, TURN)
    assert not limit.ask(other)
    assert not place.is_to_end(mine, TURN - 1)
    assert place.is_to_end(mine, TURN)
