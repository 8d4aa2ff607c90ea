"""Which lanes are kept in memory."""

import asyncio
import gc
import weakref
from typing import Any

from postroad_common.mail.requeue import RequeueReason
from postroad_sender.connect.destination import Destination
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.dns.resolver import MxHost, Resolver
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means, Requeue
from postroad_sender.lanes.pools import Pools
from postroad_sender.lanes.worker import work
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.routes import DIRECT
from postroad_sender.throttle.controller import Caps
from postroad_sender.throttle.signals import Signal
from postroad_testing.factories import MIME, outbound


def put_nowhere(
    pool: ConnectionPool, job: Job, seconds: float, reason: RequeueReason, text: str
) -> None:
    raise AssertionError((pool, job, seconds, reason, text))


def make_pools(most_idle: int) -> Pools:
    dialer = Dialer(Resolver("127.0.0.1:9", "me.test"), "me.test", Contexts.make())

    async def pieces(job: Job) -> tuple[memoryview]:
        return (job.body,)

    means = Means(
        dialer=dialer,
        connection_limit=ConnectionLimit(10),
        disposition=None,  # type: ignore[arg-type]  # no job ends here
        pieces=pieces,
        work=work,
        idle_seconds=5.0,
        most_messages=10,
    )

    def make(
        lane: Lane[Job], destination: Destination, *, home: Shard | None, requeue: Requeue
    ) -> ConnectionPool:
        return ConnectionPool(lane, destination, means, home=home, requeue=requeue)

    return Pools(
        make, put_nowhere, caps=Caps(), shards=(), limit_registry=None, most_idle=most_idle
    )


def place(pools: Pools, number: int, now: float) -> ConnectionPool:
    host = f"mx{number}.test"
    destination = Destination(LaneKey("", host), DIRECT, (MxHost(10, host),), 25)
    return pools.of(f"d{number}.test", destination, Shard("s", 100), now)


def sites(pools: Pools) -> list[str]:
    return [pool.lane.key.site for pool in pools]


async def test_lanes_without_work_are_bounded_and_those_in_use_or_closed_are_kept_longest():
    now = asyncio.get_running_loop().time()
    pools = make_pools(3)
    made: list[Any] = [place(pools, number, now + number) for number in range(6)]
    made[0].lane.put(Job(outbound(), memoryview(MIME), "d0.test", Shard("s", 100)))
    made[1].lane.controller.on_connect_failed(0, Signal.REFUSED, "refused", now + 6.0)
    pools.sweep(now + 6.0, lambda pool: pool is made[2])
    assert sites(pools) == ["mx0.test", "mx1.test", "mx2.test", "mx4.test", "mx5.test"]


async def test_lane_that_is_forgotten_is_kept_by_no_domain():
    now = asyncio.get_running_loop().time()
    pools = make_pools(100)
    gone = weakref.ref(place(pools, 1, now))
    place(pools, 2, now + 500.0)
    pools.sweep(now + 601.0, lambda _: False)
    gc.collect()
    assert gone() is None
    assert sites(pools) == ["mx2.test"]
