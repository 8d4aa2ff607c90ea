"""Which connections a lane opens, and how fast."""

import asyncio
from typing import Any

from postroad_testing.mailhost import MailHost


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


async def test_connections_of_a_lane_are_opened_no_faster_than_it_may(site: Any):
    host = MailHost(DOT="250 2.0.0 queued\r\n421 4.3.2 one message each")  # a new session for each
    await site.open(host, openings=4.0)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(site.send(f"u{number}@site.test") for number in range(12)))
    seconds = asyncio.get_running_loop().time() - began
    assert host.sessions >= 12
    assert host.sessions <= 1 + 4.0 * (1.0 + seconds)
