"""Backlogs: what waits for a closed or slow destination costs nothing and is never lost."""

import asyncio
import json
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aio_pika
import aio_pika.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.broker import BrokerLink, EventWriter, Publisher, topology
from postroad_common.health import Health
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_common.service import ServiceContext
from postroad_common.store.database import Database
from postroad_sender.lanes.lane import fair_level
from postroad_sender.main import build
from postroad_sender.settings import Settings
from postroad_sender.timings import Timings
from postroad_testing.pace import at_most, timed
from postroad_testing.waiting import until

MIME = b"Subject: hello\r\nFrom: a@b.test\r\n\r\nhello\r\n"
SHARDS = [queue.name for queue in topology.SHARD_QUEUES]
TIERS = [tier.name for tier in topology.RETRY_TIERS]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=50), st.integers(0, 1000))
def test_only_the_largest_give_away_and_what_is_kept_fits(counts: list[int], room: int):
    level = fair_level(counts, room)
    assert level >= 1
    assert sum(min(count, level) for count in counts) <= max(room, len(counts))
    if level < max(counts):  # and not less than could be kept
        assert sum(min(count, level + 1) for count in counts) > room


class Process:
    """A sender in this process, which may be started several times."""

    def __init__(self, amqp_url: str, mongodb_uri: str, spool: Path) -> None:
        self.timings = Timings()
        self.amqp_url = amqp_url
        self.mongodb_uri = mongodb_uri
        self.spool = spool
        self.database = Database(mongodb_uri)
        self._context: ServiceContext[Settings] | None = None
        self._links: list[BrokerLink] = []

    async def start(self, routes: list[dict[str, Any]], **more: Any) -> None:
        settings = Settings(
            amqp_url=self.amqp_url,
            mongodb_uri=self.mongodb_uri,
            secret=("a secret for tests only",),
            hostname="me.test",
            spool_dir=self.spool,
            routes=json.dumps(routes),
            **more,
        )
        outgoing, incoming = (BrokerLink(self.amqp_url, role) for role in ("out", "in"))
        publisher = Publisher(outgoing)
        self._context = ServiceContext(
            name="sender",
            settings=settings,
            link=incoming,
            publisher=publisher,
            events=EventWriter(publisher),
            database=self.database,
            health=Health(),
        )
        self._links = [outgoing, incoming]
        for link in self._links:
            link.start()
            await asyncio.wait_for(link.up.wait(), 90)
        self._context.events.start()
        await build(self._context, self.timings)

    async def stop(self) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        for hook in context.drain_hooks:
            await hook()
        await context.events.close()
        await context.tasks.close()
        for link in self._links:
            await link.close()

    async def put(self, queue: str, addresses: list[str]) -> None:
        """Put a message for each address into `queue`."""
        now = time.time()
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            frames = []
            for address in addresses:
                found = new_id()
                message = OutboundMessage(
                    id=found,
                    submission=found,
                    account="acme",
                    envelope="",
                    mail_from="",
                    recipients=(OutboundRecipient(id=found, address=address),),
                    received=now,
                    expires=now + 600,
                    size=len(MIME),
                )
                frames.append(aio_pika.Message(encode(message, MIME)))
            publish = channel.default_exchange.publish
            for start in range(0, len(frames), 500):
                await asyncio.gather(*(publish(f, queue) for f in frames[start : start + 500]))

    async def depth(self, *names: str) -> int | None:
        """How many messages wait there; None if one of them does not exist."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            count = 0
            for name in names:
                try:
                    declared = await channel.declare_queue(name, passive=True)
                except aio_pika.exceptions.ChannelNotFoundEntity:
                    return None
                count += declared.declaration_result.message_count or 0
            return count


@pytest.fixture
async def process(amqp_url: str, mongodb_uri: str, tmp_path: Path) -> AsyncIterator[Process]:
    async with AsyncExitStack() as stack:
        process = Process(amqp_url, mongodb_uri, tmp_path)
        stack.push_async_callback(process.database.close)
        stack.push_async_callback(process.stop)
        yield process


def to(sink: Any, domain: str = "*", **more: Any) -> dict[str, Any]:
    return {"domain": domain, "host": "127.0.0.1", "port": sink.port, "tls": "none", **more}


async def parked(process: Process, sink: Any, addresses: list[str]) -> tuple[str, str, int]:
    """Pause the sink's lane and wait until its mail is parked; the lane, its queue, the rest."""
    lane = f"|127.0.0.1:{sink.port}"
    queue = topology.parked_queue(lane).name
    await process.database.lanes.direct(lane, {"paused": True, "reason": "maintenance"})
    await process.start([to(sink)])
    await process.put(SHARDS[zlib.crc32(lane.encode()) % len(SHARDS)], addresses)

    async def is_parked() -> bool:
        enough = len(addresses) * 3 // 4
        return ((await process.depth(queue)) or 0) >= enough and await process.depth(*SHARDS) == 0

    await until(is_parked)
    return lane, queue, await process.depth(*TIERS) or 0


@pytest.mark.speed
async def test_backlog_of_a_closed_lane_costs_no_processor_time(process: Process, sink: Any):
    await parked(process, sink, [f"u{number}@closed.test" for number in range(1200)])
    began = time.process_time()
    await asyncio.sleep(2)  # what is measured is what nothing costs
    assert time.process_time() - began < 0.4


async def test_backlog_of_a_closed_lane_survives_its_owner_and_flows_when_it_opens(
    process: Process, sink: Any
):
    process.timings = replace(process.timings, backlog_empty_for=0.2, backlog_every=0.5)
    addresses = [f"u{number}@closed.test" for number in range(1200)]
    lane, queue, tiers = await parked(process, sink, addresses)
    assert tiers <= 300
    assert sink.connections == 0

    await process.stop()
    await process.database.lanes.direct(lane, {"paused": None})
    await process.start([to(sink)])
    await until(lambda: len(sink.taken) >= 1200 - tiers)

    async def is_gone() -> bool:
        return await process.depth(queue) is None

    await until(is_gone)
    assert await process.database.backlogs.of_shards(SHARDS) == []
    assert len(set(sink.recipients)) == len(sink.recipients)
    assert set(sink.recipients) <= set(addresses)


@pytest.mark.speed
async def test_mail_behind_that_of_a_dead_destination_waits_no_longer_than_behind_other_mail(
    process: Process, sink: Any, more_sinks: Callable[[], Awaitable[Any]]
):
    """200 quick destinations beside one in the same shard that is quick, too, or answers nobody."""
    dead, quick = await more_sinks(), await more_sinks()
    dead.gate.clear()
    routes = [to(dead, "dead.test"), to(quick, "quick.test")]
    routes += [to(sink, f"f{number}.test", source=f"127.0.1.{number}") for number in range(1, 200)]
    await process.start([*routes, to(sink)], sender_shard_prefetch=100)
    many = [f"u{number}@f{number % 200}.test" for number in range(300)]

    async def run(beside: str) -> float:
        """Seconds until all of `many` are delivered, when as much for `beside` is among them."""
        sink.taken.clear()
        mixed = [
            address for number, one in enumerate(many) for address in (f"{number}@{beside}", one)
        ]
        began = time.monotonic()
        await process.put(SHARDS[0], mixed)
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
    process: Process, sink: Any, limit: float | None
):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        await process.start(
            [to(sink, "known.test")],
            dns=f"127.0.0.1:{silent.getsockname()[1]}",
            sender_shard_prefetch=50,
        )
        lost = [f"u{number}@unknown.test" for number in range(300)]
        with at_most(limit):
            await process.put(SHARDS[0], [*lost, "me@known.test"])
            await until(lambda: sink.recipients == ["me@known.test"])
