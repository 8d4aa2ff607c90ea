"""Connections that open and carry nothing."""

import asyncio
from itertools import pairwise

import pytest
from prometheus_client import REGISTRY

from postroad_common.broker import BrokerLink, EventWriter, Publisher
from postroad_sender.connect.destination import Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.journal import Journal
from postroad_sender.delivery.schedule import RetrySchedule
from postroad_sender.dns.resolver import Resolver
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means
from postroad_sender.lanes.worker import work
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.throttle.signals import Signal
from postroad_smtp.client.session import TlsWish
from postroad_testing.dialogserver import Start
from postroad_testing.factories import MIME, outbound
from postroad_testing.waiting import until


def broken(address: str) -> bool:
    """Cannot say whether mail may go to `address`."""
    raise RuntimeError(address)


async def pool_to(
    port: int, *, openings: float = 50.0, domain: str = "receiver.test"
) -> ConnectionPool:
    """Return the pool of a lane to a receiver on this machine."""
    route = Route(domain="receiver.test", host="127.0.0.1", port=port, tls=TlsWish.NONE)
    resolver = Resolver("127.0.0.1:9", "me.test", permits=broken)
    destination = await Destinations(Routes((route,)), resolver).find(domain)
    publisher = Publisher(BrokerLink("amqp://127.0.0.1:9/", "test"))
    now = asyncio.get_running_loop().time()
    lane: Lane[Job] = Lane(destination.key, Controller(Caps(), now), now)

    async def pieces(job: Job) -> tuple[memoryview]:
        return (job.body,)

    means = Means(
        dialer=Dialer(resolver, "me.test", Contexts.make()),
        connection_limit=ConnectionLimit(10),
        disposition=Disposition(
            publisher,
            EventWriter(publisher),
            Journal(),
            schedule=RetrySchedule(),
            ended=lambda _: None,
        ),
        pieces=pieces,
        work=work,
        idle_seconds=5.0,
        most_messages=10,
        openings_per_second=openings,
    )
    return ConnectionPool(lane, destination, means)


async def test_session_that_ends_before_it_carried_a_message_closes_the_lane_for_a_while(
    dialog: Start,
):
    server = await dialog("ehlo_answered_twice")
    loop = asyncio.get_running_loop()
    pool = await pool_to(server.port)
    lane = pool.lane
    lane.put(Job(outbound(), memoryview(MIME), "receiver.test", Shard("", 1), since=loop.time()))
    pool.schedule()
    await until(lambda: lane.closed_for(loop.time()) > 0.0)
    assert "before it carried a message" in lane.why_closed(loop.time())
    assert len(lane) == 1
    await pool.stop(1.0)


@pytest.mark.parametrize(
    ("domain", "reason"),
    [("receiver.test", "refused"), ("[127.0.0.1]", "a defect: RuntimeError")],
)
async def test_site_that_cannot_be_reached_is_not_called_again_and_again(domain: str, reason: str):
    def failed() -> float:
        name = "postroad_sender_connections_opened_total"
        return REGISTRY.get_sample_value(name, {"result": "failed"}) or 0.0

    loop = asyncio.get_running_loop()
    pool, before = await pool_to(9, domain=domain), failed()
    lane = pool.lane
    for _ in range(10):
        lane.put(Job(outbound(), memoryview(MIME), domain, Shard("", 1), since=loop.time()))
    pool.schedule()
    await until(lambda: reason in lane.why_closed(loop.time()))
    assert failed() == before + 2  # as many as were opening at the same time
    await pool.stop(1.0)


async def test_opening_too_many_is_counted():
    def held() -> float:
        return REGISTRY.get_sample_value("postroad_sender_openings_held_total") or 0.0

    pool, before = await pool_to(9, openings=0.001), held()
    assert pool.may_open()
    assert not pool.may_open()
    assert held() == before + 1


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
