"""Which connections a lane opens, and how fast."""

import asyncio
from typing import Any

from postroad_testing.mailhost import MailHost
from postroad_testing.waiting import until


async def test_routes_to_one_host_with_different_logins_share_no_connection(site: Any):
    host = MailHost(EHLO="250-host\r\n250 AUTH PLAIN")
    await site.open(host, logins=["anna", "bert"])
    for domain in ("anna.test", "bert.test", "anna.test", "bert.test"):
        await site.send(f"u@{domain}")
        site.ended.outcomes.clear()
    assert host.logins == ["anna", "bert", "anna", "bert"]
    assert host.sessions == 2
    keys = [str(lane.key) for lane in site.dispatcher.lanes()]
    assert keys == [f"|{login}@127.0.0.1:{site.port}" for login in ("anna", "bert")]


async def test_connection_that_has_become_idle_makes_room_for_a_lane_that_waits(site: Any):
    host = MailHost()
    host.gate.clear()
    await site.open(host, neighbours=2, in_all=1)
    first = asyncio.ensure_future(site.send("u@shared1.test"))
    await until(lambda: host.open == 1)
    second = asyncio.ensure_future(site.send("u@shared2.test"))
    await until(lambda: len(site.dispatcher.lanes()) == 2 and len(site.dispatcher.lanes()[1]) == 1)
    host.gate.set()  # from now on the first connection could be idle for ten minutes
    await asyncio.gather(first, second)
    assert host.taken == [["u@shared1.test"], ["u@shared2.test"]]


async def test_connections_of_a_lane_are_opened_no_faster_than_it_may(site: Any):
    host = MailHost(DOT="250 2.0.0 queued\r\n421 4.3.2 one message each")  # a new session for each
    await site.open(host, openings=4.0)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(site.send(f"u{number}@site.test") for number in range(12)))
    seconds = asyncio.get_running_loop().time() - began
    assert host.sessions >= 12
    assert host.sessions <= 1 + 4.0 * (1.0 + seconds)
