"""Two links to a broker, of which one falls silent: what is published goes by the other."""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from postroad_common.broker import BrokerLink, Publisher, topology
from postroad_common.broker.bundling import BundlePublisher
from postroad_common.broker.nodes import AVOID_SECONDS, Nodes
from postroad_common.broker.publishchannel import PublishChannel
from postroad_common.broker.standby import standby_of
from postroad_common.errors import BrokerAway
from postroad_common.servertls import ServerTls
from postroad_testing.forwarder import Forwarder
from postroad_testing.waiting import until

QUEUE = topology.EVENTS.name


class Pair:
    """A publisher with a standby, and the line that each began with."""

    def __init__(self, urls: list[str], lines: dict[str, Forwarder]) -> None:
        self.lines = lines
        self.main = BrokerLink(",".join(urls), "test publish", declare=True)
        self.standby = standby_of(self.main, ",".join(urls), "test standby", ServerTls())
        self.publisher = Publisher(self.main, self.standby)

    def line_of(self, link: BrokerLink) -> Forwarder:
        place = link.place
        assert place is not None
        return self.lines[place[0]]


@asynccontextmanager
async def paired(amqp_url: str) -> AsyncIterator[Pair]:
    """Connect both links, each over a line of its own."""
    made = [Forwarder.to(amqp_url, 5672) for _ in range(2)]
    await asyncio.gather(*(line.open() for line, _ in made))
    pair = Pair([url for _, url in made], {url: line for line, url in made})
    pair.main.start()
    try:
        await asyncio.wait_for(pair.main.up.wait(), 90)
        await asyncio.wait_for(pair.standby.up.wait(), 90)
        yield pair
    finally:
        await pair.standby.close()
        await pair.main.close()
        await asyncio.gather(*(line.close() for line, _ in made))


async def in_vain(publishing: Coroutine[None, None, None]) -> None:
    with pytest.raises(BrokerAway):
        await publishing


async def test_main_and_standby_are_at_different_nodes(amqp_url: str) -> None:
    async with paired(amqp_url) as pair:
        assert pair.line_of(pair.main) is not pair.line_of(pair.standby)
        await pair.publisher.publish("", QUEUE, b"x")
        await pair.publisher.check()


async def test_while_one_node_confirms_nothing_the_other_is_published_to(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad_common.broker.publisher.LATE", 0.1)
    monkeypatch.setattr("postroad_common.broker.publisher.SILENT", 0.1)
    async with paired(amqp_url) as pair:
        await pair.publisher.publish("", QUEUE, b"before")
        pair.line_of(pair.main).freeze()
        stuck = asyncio.create_task(in_vain(pair.publisher.publish("", QUEUE, b"stuck")))

        async def is_confirmed() -> bool:
            try:
                await pair.publisher.publish("", QUEUE, b"x", timeout=1.0)
            except BrokerAway:
                return False
            return True

        await until(is_confirmed)
        await pair.publisher.check()
        await stuck


async def test_mail_behind_a_late_confirm_leaves_by_the_other_node(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad_common.broker.publisher.LATE", 0.1)
    monkeypatch.setattr("postroad_common.broker.publisher.SILENT", 0.1)
    monkeypatch.setattr("postroad_common.broker.bundling.LATE", 0.3)
    monkeypatch.setattr("postroad_common.broker.bundling.MOST_UNDER_WAY", 1)
    async with paired(amqp_url) as pair:
        bundles = BundlePublisher(pair.publisher, QUEUE, most=100)
        await bundles.publish(b"before")
        pair.line_of(pair.main).freeze()
        stuck = asyncio.create_task(in_vain(bundles.publish(b"stuck")))
        await asyncio.sleep(0)  # it has left
        await asyncio.gather(*(bundles.publish(b"next", timeout=30.0) for _ in range(3)))
        await stuck


async def test_link_that_only_consumes_leaves_a_silent_node(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad_common.broker.silence.LOOK_SECONDS", 0.05)
    made = [Forwarder.to(amqp_url, 5672) for _ in range(2)]
    await asyncio.gather(*(line.open() for line, _ in made))
    lines = {url: line for line, url in made}
    link = BrokerLink(",".join(lines), "test consume")
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        first = link.place
        assert first is not None
        lines[first[0]].freeze()
        await until(lambda: link.place not in {None, first})
    finally:
        await link.close()
        await asyncio.gather(*(line.close() for line, _ in made))


async def test_the_only_node_is_not_left_though_it_is_silent(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad_common.broker.silence.LOOK_SECONDS", 0.01)
    line, url = Forwarder.to(amqp_url, 5672)
    await line.open()
    only, with_choice = BrokerLink(url, "test consume"), BrokerLink(f"{url},{url}", "test consume")
    only.start()
    with_choice.start()
    try:
        await asyncio.wait_for(only.up.wait(), 90)
        line.freeze()
        await until(lambda: not with_choice.up.is_set())
        assert only.up.is_set()
    finally:
        await only.close()
        await with_choice.close()
        await line.close()


async def test_once_another_node_has_joined_the_name_there_is_a_standby_and_a_silent_one_is_left(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad_common.broker.silence.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("postroad_common.broker.link.LOOK_UP_SECONDS", 0.05)
    first, url = Forwarder.to(amqp_url, 5672)
    await first.open()
    addresses = ["127.0.0.1"]
    resolve = socket.getaddrinfo

    def of_cluster(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        names = addresses if host == "headless.test" else [host]
        return [each for name in names for each in resolve(name, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", of_cluster)
    name = str(URL(url).with_host("headless.test"))
    link = BrokerLink(name, "test publish")
    standby = standby_of(link, name, "test standby", ServerTls())
    link.start()
    second = Forwarder(URL(amqp_url).host or "", URL(amqp_url).port or 5672)
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        assert not link.has_choice
        assert not standby.is_started
        second.port = first.port
        await second.open("127.0.0.2")
        addresses.append("127.0.0.2")
        await asyncio.wait_for(standby.up.wait(), 90)
        first.freeze()
        await until(lambda: not link.up.is_set())
        assert standby.place == (name, ("127.0.0.2", first.port))
    finally:
        await standby.close()
        await link.close()
        await first.close()
        await second.close()


async def test_after_an_overdue_confirm_one_is_tried_and_the_others_fail_at_once(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad_common.broker.publisher.TRIAL_SECONDS", 600.0)
    line, url = Forwarder.to(amqp_url, 5672)
    await line.open()
    link = BrokerLink(url, "test publish", declare=True)
    publisher = Publisher(link)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        await publisher.publish("", QUEUE, b"before")
        line.freeze()
        for _ in range(2):  # the first one, and the one that is tried
            with pytest.raises(BrokerAway, match="did not confirm in time"):
                await publisher.publish("", QUEUE, b"x", timeout=0.2)
        for _ in range(3):
            with pytest.raises(BrokerAway, match="does not confirm what is published"):
                await publisher.publish("", QUEUE, b"x", timeout=600.0)
        with pytest.raises(ConnectionError, match="does not confirm"):
            await publisher.check()
        line.thaw()
        monkeypatch.setattr("postroad_common.broker.publisher.TRIAL_SECONDS", 0.0)
        await publisher.publish("", QUEUE, b"x", timeout=60.0)
        await publisher.check()
        monkeypatch.setattr("postroad_common.broker.publisher.TRIAL_SECONDS", 600.0)
        await asyncio.gather(*(publisher.publish("", QUEUE, b"x", timeout=60.0) for _ in range(3)))
    finally:
        await link.close()
        await line.close()


async def test_channel_that_answers_late_what_was_given_up_is_as_good_as_before(
    amqp_url: str,
) -> None:
    link = BrokerLink(amqp_url, "test publish")
    place = PublishChannel(link)
    link.start()
    try:
        await asyncio.wait_for(link.up.wait(), 90)
        channel = place.current
        assert channel is not None
        channel.begin(100.0)
        channel.raw.confirmations[1] = asyncio.get_running_loop().create_future()
        channel.given_up(overdue=True)
        assert channel.stall(105.0) == 5.0
        channel.raw.confirmations.clear()
        assert channel.stall(105.0) == 0.0
    finally:
        await link.close()


def test_node_that_failed_comes_after_the_others_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.randrange", lambda _: 0)
    now = [0.0]
    nodes = Nodes("a, b,c", clock=lambda: now[0])
    assert [nodes.next() for _ in range(4)] == ["a", "b", "c", "a"]
    nodes.avoid("b")
    assert [nodes.next() for _ in range(3)] == ["c", "a", "c"]
    now[0] += AVOID_SECONDS
    assert nodes.next() == "a"
    assert nodes.next() == "b"


def test_node_of_the_other_link_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.randrange", lambda _: 0)
    nodes = Nodes("a,b,c", clock=lambda: 0.0)
    assert [nodes.next(taken="b") for _ in range(3)] == ["a", "c", "a"]
    nodes.avoid("a")
    nodes.avoid("c")
    assert nodes.next(taken="b") == "c"


def test_addresses_of_a_name_have_the_same_order() -> None:
    nodes = Nodes("name", clock=lambda: 0.0)
    first, second, third = ("10.0.0.1", 5672), ("10.0.0.2", 5672), ("10.0.0.3", 5672)
    assert nodes.in_order([first, second, third]) == [first, second, third]
    nodes.avoid(first)
    assert nodes.in_order([first, second, third], taken=second) == [third, first, second]
