"""Connections that open and carry nothing."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from postroad_sender.connect.destination import Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.dns.resolver import Resolver
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means
from postroad_sender.lanes.worker import work
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.throttle.signals import Signal
from postroad_sender.tls.requirement import NOTHING
from postroad_smtp.client.session import TlsWish
from postroad_testing.waiting import until


@pytest.mark.parametrize("after_ehlo", [b"250 hello\r\n250 and hello again\r\n"])
async def test_session_that_ends_before_it_carried_a_message_closes_the_lane_for_a_while(
    after_ehlo: bytes,
):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.readline()
        writer.write(after_ehlo)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    route = Route(domain="*", host="127.0.0.1", port=port, tls=TlsWish.NONE)
    resolver = Resolver("127.0.0.1:9", "me.test")
    destination = Destinations(Routes((route,)), resolver).known("receiver.test")
    assert destination is not None
    loop = asyncio.get_running_loop()
    lane: Lane[Any] = Lane(destination.key, Controller(Caps(), loop.time()), loop.time())
    means = Means(
        dialer=Dialer(resolver, "me.test", Contexts.make()),
        connection_limit=ConnectionLimit(10),
        disposition=SimpleNamespace(),  # type: ignore[arg-type]
        pieces=SimpleNamespace(),  # type: ignore[arg-type]
        work=work,
        idle_seconds=5.0,
        most_messages=10,
    )
    pool = ConnectionPool(lane, destination, means)
    lane.put(SimpleNamespace(account="a", since=loop.time(), requirement=NOTHING))
    pool.schedule()
    await until(lambda: lane.closed_for(loop.time()) > 0.0)
    assert "before it carried a message" in lane.why_closed(loop.time())
    assert len(lane) == 1
    await pool.stop(1.0)
    server.close()


def test_openings_that_carry_nothing_are_further_apart_each_time():
    controller, now, pauses = Controller(Caps(), 0.0), 0.0, []
    for _ in range(5):
        controller.on_connected(1, now)
        controller.on_connect_failed(0, Signal.DROPPED, "nothing carried", now)
        pauses.append(controller.closed_for(now))
        now += pauses[-1]
    assert all(later > 1.5 * sooner for sooner, later in pairwise(pauses))
    controller.on_success(1, now)
    controller.on_connect_failed(0, Signal.DROPPED, "nothing carried", now)
    assert controller.closed_for(now) < 2.0
