"""Sources and caps as receivers see them: senders against real RabbitMQ and MongoDB on loopback."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError
from pymongo import AsyncMongoClient

from postroad_common.broker import BrokerLink, EventWriter, Publisher, topology
from postroad_common.schemas.events import EventName
from postroad_common.schemas.lanes import LaneState, LimitKind, Phase
from postroad_common.store.leases import DAY
from postroad_sender.connect.destination import Destination, Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.journal import Journal
from postroad_sender.delivery.schedule import RetrySchedule
from postroad_sender.dns.resolver import Resolver
from postroad_sender.lanes.dispatch import LaneDispatcher
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means, Requeue
from postroad_sender.lanes.worker import work
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.providers import Providers
from postroad_sender.routes.routes import Routes
from postroad_sender.routes.sources import Sources
from postroad_sender.settings import Settings
from postroad_sender.throttle.controller import Caps
from postroad_testing.days import day_with_room
from postroad_testing.waiting import until


class Taken(NamedTuple):
    """A message as it arrived."""

    began: float
    port: int
    peer: str
    ehlo: str
    address: str


class Receiver:
    """Listens on several ports and counts over all of them."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.open: Counter[str] = Counter()
        self.most_open: Counter[str] = Counter()
        self.seconds = 0.0
        self._servers: list[asyncio.Server] = []

    async def listen(self) -> int:
        """One more port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        for server in self._servers:
            server.close()

    @property
    def addresses(self) -> list[str]:
        return [taken.address for taken in self.taken]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        for name in (peer, "all"):
            self.open[name] += 1
            self.most_open[name] = max(self.most_open[name], self.open[name])
        try:
            writer.write(b"220 sink.test\r\n")
            await self._talk(reader, writer, peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            for name in (peer, "all"):
                self.open[name] -= 1
            writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str
    ) -> None:
        port = writer.get_extra_info("sockname")[1]
        ehlo, address, began = "", "", 0.0
        while True:
            line = (await reader.readuntil(b"\r\n")).decode().rstrip()
            match line[:4].upper():
                case "EHLO":
                    ehlo = line[5:]
                    writer.write(b"250-sink.test\r\n250 8BITMIME\r\n")
                case "MAIL":
                    began = time.monotonic()
                    writer.write(b"250 ok\r\n")
                case "RCPT":
                    address = line.partition("<")[2].partition(">")[0]
                    writer.write(b"250 ok\r\n")
                case "DATA":
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    await asyncio.sleep(self.seconds)
                    self.taken.append(Taken(began, port, peer, ehlo, address))
                    writer.write(b"250 taken\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                case _:
                    writer.write(b"250 ok\r\n")


def most_within(moments: list[float], seconds: float) -> int:
    """Return the most that fall into any span of `seconds`."""
    times = sorted(moments)
    return max(sum(start <= moment < start + seconds for moment in times) for start in times)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def to(port: int, domain: str = "*", **more: Any) -> dict[str, Any]:
    return {"domain": domain, "host": "127.0.0.1", "port": port, "tls": "none", **more}


def settings(**more: Any) -> Settings:
    given = {name: json.dumps(value) for name, value in more.items()}
    return Settings(
        amqp_url="amqp://a@b/", mongodb_uri="mongodb://c/d", secret=("x" * 20,), **given
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"routes": [{"domain": "*", "pool": "bulk"}]}, "route 1: pool: no source is in bulk"),
        ({"caps": [{"source": "a", "connections": 1}]}, "cap 1: source: there is none"),
        ({"sources": [{"name": "a"}]}, "source 1: address"),
        ({"providers": {"a": []}}, "provider a"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_with_the_entry(
    more: dict[str, Any], said: str
):
    with pytest.raises(ValidationError, match=said):
        settings(**more)


async def test_sources_of_a_site_and_sites_of_a_provider_have_one_home(tmp_path: Path):
    shards = [Shard(queue.name, 10) for queue in topology.SHARD_QUEUES]
    ports = range(2000, 2020)
    text = json.dumps([to(port, f"*.s{port}.test") for port in ports])
    names = json.dumps([{"name": name, "address": f"127.0.1.{n}"} for n, name in enumerate("abc")])

    async def homes(providers: Providers) -> dict[str, set[str]]:
        resolver = Resolver("127.0.0.1:9", "me.test")
        dialer = Dialer(resolver, "me.test", Contexts.make())
        found = Destinations(
            Routes.parse(text), resolver, sources=Sources.parse(names), providers=providers
        )
        pools: list[ConnectionPool] = []

        async def pieces(job: Job) -> tuple[memoryview]:
            return (job.body,)

        def make(
            lane: Lane[Job], destination: Destination, *, home: Shard | None, requeue: Requeue
        ) -> ConnectionPool:
            pool = ConnectionPool(
                lane,
                destination,
                Means(
                    dialer=dialer,
                    connection_limit=ConnectionLimit(1),
                    disposition=disposition,
                    pieces=pieces,
                    idle_seconds=1.0,
                    most_messages=1,
                    work=work,
                ),
                home=home,
                requeue=requeue,
            )
            pools.append(pool)
            return pool

        link = BrokerLink("amqp://127.0.0.1:9/", "test")
        publisher = Publisher(link)
        disposition = Disposition(
            publisher,
            EventWriter(publisher),
            Journal(tmp_path),
            schedule=RetrySchedule(),
            ended=lambda _: None,
        )
        dispatcher = LaneDispatcher(found, disposition, make, caps=Caps(), shards=shards)
        for port in ports:
            await dispatcher.find(f"d.s{port}.test", shards[0])
        assert len(pools) == 3 * len(ports)
        sites: dict[str, set[str]] = {}
        for pool in pools:
            assert pool.home is not None
            sites.setdefault(pool.lane.key.site, set()).add(pool.home.name)
        return sites

    apart = await homes(Providers())
    assert {len(names) for names in apart.values()} == {1}
    assert len(set.union(*apart.values())) > 4
    together = await homes(Providers({"127.0.0.1": "here"}))
    assert len(set.union(*together.values())) == 1


async def test_each_source_connects_from_its_address_with_its_own_name_as_often_as_it_weighs(
    senders: Any, receiver: Receiver
):
    port = await receiver.listen()
    sources = [
        {"name": "a", "address": "127.0.0.2", "ehlo": "a.example", "weight": 3},
        {"name": "b", "address": "127.0.0.3"},
        {"name": "other", "address": "127.0.0.4", "pools": ["bulk"]},
        {"name": "six", "address": "::1", "pools": ["six"]},
    ]
    routes = [
        to(port, "bulk.test", pool="bulk"),
        to(port, "bare.test", source="127.0.0.5"),
        to(port, "six.test", pool="six"),
        to(port),
    ]
    await senders.start(routes, sources=sources)
    await senders.put(*(f"u{number}@d.test" for number in range(200)))
    await senders.put("u@bulk.test", "u@bare.test", "u@six.test")
    await until(lambda: len(receiver.taken) == 202)
    seen = Counter((taken.peer, taken.ehlo) for taken in receiver.taken)
    assert set(seen) == {
        ("127.0.0.2", "a.example"),
        ("127.0.0.3", "me.test"),
        ("127.0.0.4", "me.test"),
        ("127.0.0.5", "me.test"),
    }
    assert 0.65 <= seen["127.0.0.2", "a.example"] / 200 <= 0.85
    deferred, *_ = await senders.told(EventName.DEFERRED)
    assert "source six has no address of its family" in deferred.facts["reply"]


async def test_used_up_warm_up_leaves_the_mail_to_other_sources_and_counts_across_restarts(
    senders: Any, receiver: Receiver
):
    port = await receiver.listen()
    today = await day_with_room()
    warmup = {"start": str(today - timedelta(days=1)), "per_day": [1, 7, 50]}
    sources = [
        {"name": "new", "address": "127.0.0.2", "warmup": warmup, "weight": 5},
        {"name": "old", "address": "127.0.0.3"},
    ]
    for number in range(2):
        await senders.start([to(port)], sources=sources)
        await senders.put(*(f"u{number}.{part}@d.test" for part in range(60)))
        await until(lambda number=number: len(receiver.taken) == 60 * (number + 1))
        await senders.stop()
    seen = Counter(taken.peer for taken in receiver.taken)
    assert seen == {"127.0.0.2": 7, "127.0.0.3": 113}
    assert sorted(receiver.addresses) == sorted(set(receiver.addresses))


async def test_mail_waits_for_a_warm_up_with_its_reason_and_without_an_attempt(
    senders: Any, receiver: Receiver
):
    senders.timings = replace(senders.timings, directives_every=0.1, save_every=0.2)
    port = await receiver.listen()
    warmup = {"start": str(await day_with_room()), "per_day": [3]}
    sources = [{"name": "new", "address": "127.0.0.2", "warmup": warmup}]
    await senders.start([to(port)], sources=sources)
    await senders.put(*(f"u{number}@d.test" for number in range(5)))
    lanes = senders.database.lanes

    async def state() -> LaneState:
        record = await lanes.get(f"new|127.0.0.1:{port}")
        return LaneState() if record is None else record.state

    async def closed() -> bool:
        return (await state()).phase is Phase.CLOSED

    await until(closed)
    assert len(receiver.taken) == 3
    shown = await state()
    assert shown.reason == "warm-up of new: 3 of 3 today"
    (effect,) = [effect for effect in shown.effects if effect.kind is LimitKind.WARMUP]
    assert effect.value == 3
    assert effect.until is not None
    assert effect.until % DAY == 0
    for event in await senders.told(EventName.DEFERRED, 2):
        assert event.facts["reason"] == "delivery suspended: warm-up of new: 3 of 3 today"
        assert event.facts["attempt"] == 0
    assert len(receiver.taken) == 3


async def test_caps_of_a_provider_and_of_a_domain_hold_over_all_their_lanes(
    senders: Any, receiver: Receiver
):
    await day_with_room()
    ports = [await receiver.listen() for _ in range(3)]
    receiver.seconds = 0.01
    routes = [to(port, f"*.s{number}.test") for number, port in enumerate(ports)]
    sources = [{"name": "a", "address": "127.0.0.2"}, {"name": "b", "address": "127.0.0.3"}]
    caps = [
        {"provider": "here", "connections": 4, "messages_per_second": 60},
        {"domain": "slow.*", "messages_per_second": 5, "connections": 1},
        {"domain": "few.*", "messages_per_day": 4},
    ]
    await senders.start(routes, sources=sources, caps=caps, providers={"here": ["127.0.0.1"]})
    fast = [f"u{number}@fast{number % 4}.s{number % 3}.test" for number in range(90)]
    slow = [f"u{number}@slow.s0.test" for number in range(8)]
    few = [f"u{number}@few.s1.test" for number in range(10)]
    await senders.put(*slow, *few, *fast)
    await until(lambda: len(receiver.taken) == 90 + 8 + 4)
    assert set(fast) | set(slow) < set(receiver.addresses)
    assert {event.facts["provider"] for event in await senders.told(EventName.DELIVERED, 102)} == {
        "here"
    }
    assert receiver.most_open["all"] <= 4
    # What one of the limits alone would let through is more than that, however late it is noted.
    assert most_within([taken.began for taken in receiver.taken], 0.9) <= 75
    held = [taken.began for taken in receiver.taken if taken.address.endswith("@slow.s0.test")]
    assert most_within(held, 0.9) < len(held)
    assert len([address for address in receiver.addresses if "@few." in address]) == 4


async def test_caps_of_a_source_hold_over_two_replicas_and_both_send(
    senders: Any, receiver: Receiver, mongodb_uri: str
):
    senders.timings = replace(
        senders.timings, heartbeat=0.2, exchange_every=0.2, allocation_turn=1.0
    )
    sites = 8
    ports = [await receiver.listen() for _ in range(sites)]
    receiver.seconds = 0.02
    routes = [to(port, f"*.s{number}.test") for number, port in enumerate(ports)]
    more = {
        "sources": [
            {"name": "a", "address": "127.0.0.2", "connections": 5, "messages_per_second": 40}
        ],
        "caps": [{"source": "a", "messages_per_day": 90}],
    }
    await day_with_room()
    await senders.start(routes, name="one.test", **more)
    await senders.start(routes, name="two.test", **more)
    # Mail that comes before both own shards may all go by way of the first.
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        alive = client.get_default_database()["replicas"]

        async def both_own_shards() -> bool:
            return await alive.count_documents({"holds.0": {"$exists": True}}) == 2

        await until(both_own_shards, what="both own shards")
    addresses = [f"u{number}@d{number % 5}.s{number % sites}.test" for number in range(130)]
    await senders.put(*addresses)
    await until(lambda: len({taken.ehlo for taken in receiver.taken}) == 2)
    await senders.stop("one.test")
    await until(lambda: len(receiver.taken) == 90)
    assert receiver.most_open["all"] <= 5
    assert most_within([taken.began for taken in receiver.taken], 0.9) <= 55
    await senders.stop("two.test")
    assert len(receiver.taken) == 90
    grant = await senders.database.leases.lease("source/a", int(time.time() // DAY), 1, 90)
    assert grant.granted == 0
