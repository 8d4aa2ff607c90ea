"""Several sender processes against one broker: shards move, and no site has two owners."""

import asyncio
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postroad_common.broker import topology
from postroad_sender.lanes.ownership import assign
from postroad_testing.pace import at_most, timed
from postroad_testing.process import ServiceProcess
from postroad_testing.waiting import until

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

    def __init__(self, folder: Path, **settings: str) -> None:
        self._settings = settings
        self._folder = folder
        self._running: dict[str, ServiceProcess] = {}

    def start(self, name: str) -> None:
        self._running[name] = ServiceProcess(
            "sender",
            self._folder / f"{name}.log",
            HOSTNAME=name,
            SPOOL_DIR=str(self._folder / name),
            **self._settings,
        ).start()

    async def kill(self, name: str) -> None:
        await self._running.pop(name).kill()

    async def stop(self, name: str) -> None:
        assert await self._running.pop(name).end() == 0

    def close(self) -> None:
        for process in self._running.values():
            process.close()


@timed(10.0)
async def test_replicas_come_go_and_die_under_load_and_no_site_ever_has_two_owners(
    senders: Any,
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
    sent: set[str] = set()
    numbers = itertools.count()
    loading = True

    def taken() -> list[str]:
        return [address for sink in sinks for address in sink.recipients]

    async def load() -> None:
        """Three domains at each site, so that one site's mail comes through several shards.

        Never much more than the sinks have taken: on a busy machine a replica that comes would
        wait behind all of it.
        """
        while loading:
            await until(lambda: len(sent) - len(taken()) < 500)
            addresses = [
                f"u{next(numbers)}@d{part}.s{number}.test"
                for number in range(len(sinks))
                for part in range(3)
            ]
            sent.update(addresses)
            await senders.put(*addresses)
            await asyncio.sleep(0.1)

    async def serve(*names: str) -> None:
        """Wait until exactly these replicas send, each to at least one site."""
        await until(lambda: {name for sink in sinks for name in sink.owners()} == set(names))

    with ExitStack() as stack:
        replicas = Replicas(
            tmp_path,
            AMQP_URL=amqp_url,
            MONGODB_URI=mongodb_uri,
            ROUTES=json.dumps(routes),
            RETRY_SCHEDULE="0.5",
        )
        stack.callback(replicas.close)
        replicas.start("one.test")
        replicas.start("two.test")
        loader = asyncio.create_task(load())
        await serve("one.test", "two.test")
        replicas.start("three.test")
        await serve("one.test", "two.test", "three.test")
        before = len(taken())
        await replicas.kill("two.test")
        with at_most(limit):
            await serve("one.test", "three.test")
        await until(lambda: len(taken()) >= before + 300)
        await replicas.stop("one.test")
        replicas.start("two.test")
        await serve("two.test", "three.test")
        loading = False
        await loader
        await until(lambda: set(taken()) == sent)
    assert [sink.most_owners for sink in sinks] == [1] * len(sinks)
    assert max(sink.most_open for sink in sinks) <= cap
    assert len(taken()) - len(sent) <= len(sinks) * cap  # what the killed one had under way
