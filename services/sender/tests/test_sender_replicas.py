"""Several sender processes against one broker: shards move, and no site has two owners."""

import asyncio
import itertools
import json
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.broker import BrokerLink, Publisher, topology
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_sender.lanes.ownership import assign
from postroad_testing.pace import at_most, timed
from postroad_testing.waiting import until

MIME = b"Subject: hello\r\nFrom: a@b.test\r\n\r\nhello\r\n"
SHARDS = [queue.name for queue in topology.SHARD_QUEUES]


@given(st.sets(st.text("abcdef", min_size=1), min_size=1, max_size=12))
def test_every_shard_has_one_owner_and_nobody_more_than_a_fair_share(replicas: set[str]):
    owners = assign(SHARDS, sorted(replicas))
    assert set(owners) == set(SHARDS)
    assert max(Counter(owners.values()).values()) <= -(-len(SHARDS) // len(replicas))
    assert owners == assign(SHARDS, sorted(replicas, reverse=True))


def test_most_shards_stay_where_they_are_when_a_replica_comes():
    moved = 0
    for number in range(50):
        before = assign(SHARDS, [f"a{number}", f"b{number}"])
        after = assign(SHARDS, [f"a{number}", f"b{number}", f"c{number}"])
        moved += sum(before[shard] != after[shard] for shard in SHARDS)
    assert moved / 50 <= 4.5  # of eight; 2 or 3 are the new one's share


class Replicas:
    """Sender processes, by the name that they say in EHLO."""

    def __init__(self, environment: dict[str, str], spool: Path) -> None:
        self._environment = environment
        self._spool = spool
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> None:
        self._running[name] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "postroad_sender",
            env=self._environment
            | {"POSTROAD_HOSTNAME": name, "POSTROAD_SPOOL_DIR": str(self._spool / name)},
            stdout=(self._spool / f"{name}.log").open("ab"),
        )

    async def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        await process.wait()

    async def stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        assert await process.wait() == 0

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(name) for name in list(self._running)))


def frame_for(address: str) -> bytes:
    found, now = new_id(), time.time()
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
    return encode(message, MIME)


@pytest.fixture
async def publisher(amqp_url: str) -> AsyncIterator[Publisher]:
    link = BrokerLink(amqp_url, "test")
    publisher = Publisher(link)
    link.start()
    await asyncio.wait_for(link.up.wait(), 90)
    yield publisher
    await link.close()


@timed(10.0)
async def test_replicas_come_go_and_die_under_load_and_no_site_ever_has_two_owners(
    publisher: Publisher,
    amqp_url: str,
    mongodb_uri: str,
    more_sinks: Callable[[], Awaitable[Any]],
    tmp_path: Path,
    limit: float | None,
):
    cap = 3
    homes: dict[int, Any] = {}
    while len(homes) < len(SHARDS):  # a site in every shard
        sink = await more_sinks()
        homes.setdefault(zlib.crc32(f"|127.0.0.1:{sink.port}".encode()) % len(SHARDS), sink)
    sinks = list(homes.values())
    routes = []
    for number, sink in enumerate(sinks):
        sink.pause = 0.02
        route = {"host": "127.0.0.1", "port": sink.port, "tls": "none", "connections": cap}
        routes.append({"domain": f"*.s{number}.test", **route})
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("POSTROAD")},
        "POSTROAD_AMQP_URL": amqp_url,
        "POSTROAD_MONGODB_URI": mongodb_uri,
        "POSTROAD_SECRET": "a secret for tests only",
        "POSTROAD_METRICS_PORT": "0",
        "POSTROAD_ROUTES": json.dumps(routes),
        "POSTROAD_RETRY_SCHEDULE": "0.5",
    }
    sent: set[str] = set()
    numbers = itertools.count()
    loading = True

    async def load() -> None:
        """Three domains at each site, so that one site's mail comes through several shards."""
        while loading:
            addresses = [
                f"u{next(numbers)}@d{part}.s{number}.test"
                for number in range(len(sinks))
                for part in range(3)
            ]
            batch = [
                (topology.OUTBOUND.name, address.partition("@")[2], frame_for(address))
                for address in addresses
            ]
            sent.update(addresses)
            await publisher.publish_many(batch)
            await asyncio.sleep(0.1)

    def taken() -> list[str]:
        return [address for sink in sinks for address in sink.recipients]

    async def serve(*names: str) -> None:
        """Wait until exactly these replicas send, each to at least one site."""
        await until(lambda: {name for sink in sinks for name in sink.owners()} == set(names))

    async with AsyncExitStack() as stack:
        replicas = Replicas(environment, tmp_path)
        await replicas.start("one.test")
        await replicas.start("two.test")
        stack.push_async_callback(replicas.stop_all)
        loader = asyncio.create_task(load())
        await serve("one.test", "two.test")
        await replicas.start("three.test")
        await serve("one.test", "two.test", "three.test")
        before = len(taken())
        await replicas.kill("two.test")
        with at_most(limit):
            await serve("one.test", "three.test")
        await until(lambda: len(taken()) >= before + 300)
        await replicas.stop("one.test")
        await replicas.start("two.test")
        await serve("two.test", "three.test")
        loading = False
        await loader
        await until(lambda: set(taken()) == sent)
    assert [sink.most_owners for sink in sinks] == [1] * len(sinks)
    assert max(sink.most_open for sink in sinks) <= cap
    assert len(taken()) - len(sent) <= len(sinks) * cap  # what the killed one had under way
