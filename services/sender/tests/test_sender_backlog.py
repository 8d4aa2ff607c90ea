"""Backlogs: what waits for a closed or slow destination costs nothing and is never lost."""

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
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
from postroad_sender import backlog
from postroad_sender.lane import fair_level
from postroad_sender.main import build
from postroad_sender.settings import Settings

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
            await asyncio.wait_for(link.up.wait(), 10)
        self._context.events.start()
        await build(self._context)

    async def stop(self) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        for hook in context.drain_hooks:
            await hook()
        await context.events.close()
        await context.cancel_tasks()
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


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 25) -> None:
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if value is True or (not isinstance(value, bool) and await value):
                return
            await asyncio.sleep(0.02)


@pytest.fixture
async def process(amqp_url: str, mongodb_uri: str, tmp_path: Path) -> AsyncIterator[Process]:
    async with AsyncExitStack() as stack:
        process = Process(amqp_url, mongodb_uri, tmp_path)
        stack.push_async_callback(process.database.close)
        stack.push_async_callback(process.stop)
        yield process


def to(sink: Any, domain: str = "*", **more: Any) -> dict[str, Any]:
    return {"domain": domain, "host": "127.0.0.1", "port": sink.port, "tls": "none", **more}


async def test_backlog_of_a_closed_lane_costs_nothing_survives_its_owner_and_flows_when_it_opens(
    process: Process, sink: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backlog, "EMPTY_FOR", 0.2)
    monkeypatch.setattr(backlog, "LOOK_EVERY", 0.5)
    lane = f"|127.0.0.1:{sink.port}"
    queue = topology.parked_queue(lane).name
    addresses = [f"u{number}@closed.test" for number in range(1200)]
    await process.database.lanes.order(lane, {"paused": True, "reason": "maintenance"})
    await process.start([to(sink)])
    await process.put(SHARDS[zlib.crc32(lane.encode()) % len(SHARDS)], addresses)

    async def is_parked() -> bool:
        return ((await process.depth(queue)) or 0) >= 900 and await process.depth(*SHARDS) == 0

    await until(is_parked)
    tiers = await process.depth(*TIERS) or 0
    assert tiers <= 300
    began = time.process_time()
    await asyncio.sleep(2)  # what is measured is what nothing costs
    assert time.process_time() - began < 0.4
    assert sink.connections == 0

    await process.stop()
    await process.database.lanes.order(lane, {"paused": None})
    await process.start([to(sink)])
    await until(lambda: len(sink.taken) >= 1200 - tiers)

    async def is_gone() -> bool:
        return await process.depth(queue) is None

    await until(is_gone)
    assert await process.database.backlogs.of_shards(SHARDS) == []
    assert len(set(sink.recipients)) == len(sink.recipients)
    assert set(sink.recipients) <= set(addresses)


async def test_200_fast_destinations_wait_only_while_the_mail_of_a_slow_one_is_put_aside(
    process: Process, sink: Any, more_sinks: Callable[[], Awaitable[Any]]
):
    slow = await more_sinks()
    slow.gate.clear()
    fast = [f"u{number}@f{number % 200}.test" for number in range(1000)]
    routes = [to(slow, "slow.test")]
    routes += [to(sink, f"f{number}.test", source=f"127.0.1.{number}") for number in range(1, 200)]
    await process.start([*routes, to(sink)])

    async def run(addresses: list[str]) -> float:
        """Seconds until all fast ones are delivered."""
        sink.taken.clear()
        began = time.monotonic()
        await process.put(SHARDS[0], addresses)
        await until(lambda: len(sink.taken) == len(fast), 40)
        return time.monotonic() - began

    await run(fast)  # opens the lanes
    alone = await run(fast)
    mixed = [f"u{number}@slow.test" for number in range(600)]
    for number, address in enumerate(fast):
        mixed.insert(number * 2, address)
    together = await run(mixed)
    print(f"alone {alone:.2f} s, together with a slow one {together:.2f} s")  # noqa: T201
    # the slow one's own mail has to be put aside, too: 600 more messages to handle
    assert together < 2.2 * alone + 1.0
    assert slow.taken == []
    slow.gate.set()
