"""Backlogs: what waits for a closed or slow destination costs nothing and is never lost."""

import asyncio
import socket
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from postroad_common.broker import topology
from postroad_sender import metrics
from postroad_sender.lanes.lane import fair_level
from postroad_testing.pace import at_most, timed
from postroad_testing.waiting import until

SHARDS = [queue.name for queue in topology.SHARD_QUEUES]
TIERS = [tier.name for tier in topology.RETRY_TIERS]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=50), st.integers(0, 1000))
def test_only_the_largest_give_away_and_what_is_kept_fits(counts: list[int], room: int):
    level = fair_level(counts, room)
    assert level >= 1
    assert sum(min(count, level) for count in counts) <= max(room, len(counts))
    if level < max(counts):  # and not less than could be kept
        assert sum(min(count, level + 1) for count in counts) > room


def to(sink: Any, domain: str = "*", **more: Any) -> dict[str, Any]:
    return {"domain": domain, "host": "127.0.0.1", "port": sink.port, "tls": "none", **more}


def oldest() -> float:
    """Return the age of the oldest mail in backlogs, as the metrics have it (seconds)."""
    return REGISTRY.get_sample_value("postroad_sender_backlog_age_seconds") or 0.0


async def is_noted(senders: Any, queue: str, before: float) -> bool:
    """Whether the store knows of mail in `queue` that is older than `before`."""
    records = await senders.database.backlogs.of_shards(SHARDS)
    return any(one.queue == queue and (one.oldest or before) < before for one in records)


async def parked(senders: Any, sink: Any, addresses: list[str]) -> tuple[str, str, int]:
    """Pause the sink's lane and wait until its mail is parked; the lane, its queue, the rest."""
    lane = f"|127.0.0.1:{sink.port}"
    queue = topology.parked_queue(lane).name
    await senders.database.lanes.direct(lane, {"paused": True, "reason": "maintenance"})
    await senders.start([to(sink)])
    await senders.put(*addresses, shard=SHARDS[zlib.crc32(lane.encode()) % len(SHARDS)])

    async def is_parked() -> bool:
        enough = len(addresses) * 3 // 4
        depth = senders.queues.depth
        return await depth(queue) >= enough and await depth(*SHARDS) == 0

    await until(is_parked)
    return lane, queue, await senders.queues.depth(*TIERS)


@pytest.mark.speed
async def test_backlog_of_a_closed_lane_costs_no_processor_time(senders: Any, sink: Any):
    await parked(senders, sink, [f"u{number}@closed.test" for number in range(1200)])
    began = time.process_time()
    await asyncio.sleep(2)  # what is measured is what nothing costs
    assert time.process_time() - began < 0.4


async def test_backlog_of_a_closed_lane_survives_its_owner_and_flows_when_it_opens(
    senders: Any, sink: Any
):
    senders.timings = replace(senders.timings, backlog_empty_for=0.2, backlog_every=0.5)
    addresses = [f"u{number}@closed.test" for number in range(1200)]
    lane, queue, tiers = await parked(senders, sink, addresses)
    assert tiers <= 300
    assert sink.connections == 0

    await senders.hand_in("old@closed.test", received=time.time() - 3000)
    await until(lambda: 3000 <= oldest() < 3600)
    await until(partial(is_noted, senders, queue, time.time() - 2900))

    await senders.stop()
    metrics.BACKLOG_AGE.set(0)
    await senders.start([to(sink)])
    await until(lambda: 3000 <= oldest() < 3600)
    await senders.database.lanes.direct(lane, {"paused": None})
    await until(lambda: len(sink.taken) >= 1201 - tiers)
    await until(lambda: oldest() == 0)

    async def is_gone() -> bool:
        """Whether queue and record are gone: the record goes last."""
        if await senders.queues.exists(queue):
            return False
        return not await senders.database.backlogs.of_shards(SHARDS)

    await until(is_gone)
    assert len(set(sink.recipients)) == len(sink.recipients)
    assert set(sink.recipients) <= {*addresses, "old@closed.test"}


async def test_backlog_whose_mail_is_gone_without_having_been_taken_has_no_age(
    senders: Any, sink: Any
):
    senders.timings = replace(senders.timings, backlog_every=0.2)
    _, queue, _ = await parked(senders, sink, [f"u{number}@closed.test" for number in range(4)])
    await until(lambda: oldest() > 0)

    async def is_over() -> bool:
        await senders.queues.purge(queue)  # as when it expires
        return oldest() == 0

    await until(is_over)


@pytest.mark.speed
async def test_mail_behind_that_of_a_dead_destination_waits_no_longer_than_behind_other_mail(
    senders: Any, sink: Any, more_sinks: Callable[[], Awaitable[Any]]
):
    """200 quick destinations beside one in the same shard that is quick, too, or answers nobody."""
    dead, quick = await more_sinks(), await more_sinks()
    dead.gate.clear()
    routes = [to(dead, "dead.test"), to(quick, "quick.test")]
    routes += [to(sink, f"f{number}.test", source=f"127.0.1.{number}") for number in range(1, 200)]
    await senders.start([*routes, to(sink)], sender_shard_prefetch=100)
    many = [f"u{number}@f{number % 200}.test" for number in range(300)]

    async def run(beside: str) -> float:
        """Seconds until all of `many` are delivered, when as much for `beside` is among them."""
        sink.taken.clear()
        mixed = [
            address for number, one in enumerate(many) for address in (f"{number}@{beside}", one)
        ]
        began = time.monotonic()
        await senders.put(*mixed, shard=SHARDS[0])
        await until(lambda: len(sink.taken) == len(many))
        return time.monotonic() - began

    await run("quick.test")  # opens the lanes
    ratios = []
    for _ in range(3):
        base = await run("quick.test")
        ratios.append(await run("dead.test") / base)
    print("times of the mail beside a dead destination:", ratios)  # noqa: T201
    # what else happens on the machine may hit any of them; a window that the dead one fills, all
    assert min(ratios) < 1.3
    assert sorted(sink.recipients) == sorted(many)
    assert dead.taken == []
    dead.gate.set()


@timed(4.0)  # DNS servers are waited for longer than that
async def test_mail_for_a_domain_whose_look_up_takes_long_does_not_fill_the_shard(
    senders: Any, sink: Any, limit: float | None
):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        await senders.start(
            [to(sink, "known.test")],
            dns=f"127.0.0.1:{silent.getsockname()[1]}",
            sender_shard_prefetch=50,
        )
        lost = [f"u{number}@unknown.test" for number in range(300)]
        with at_most(limit):
            await senders.put(*lost, "me@known.test", shard=SHARDS[0])
            await until(lambda: sink.recipients == ["me@known.test"])
