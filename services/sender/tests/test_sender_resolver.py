"""DNS against a name server on loopback, and dialling what it names."""

import asyncio
import random
import resource
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from postroad_sender.connect.destination import Destinations
from postroad_sender.connect.dialer import OPENING_LONGEST, Contexts, Dialer
from postroad_sender.dns.answers import Answers
from postroad_sender.dns.resolver import (
    MOST_ADDRESSES,
    MOST_HOSTS,
    MOST_QUESTIONS,
    MxHost,
    Resolver,
    in_order,
)
from postroad_sender.routes.routes import Routes
from postroad_smtp.client.session import Timeouts
from postroad_smtp.client.stage import Fault, Stage, WireError


@pytest.fixture
def resolver(name_server: Any) -> Resolver:
    return Resolver(name_server.address, "me.test", aliases=["source2.test"], lifetime=1.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def fault(resolver: Resolver, domain: str) -> WireError:
    with pytest.raises(WireError) as caught:
        await resolver.mail_hosts(domain)
    assert caught.value.stage is Stage.ROUTE
    return caught.value


async def test_mx_hosts_come_by_preference_and_are_asked_for_once(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("d.test", "MX")] = ["20 b.test.", "10 A.test.", "20 c.test."]
    expected = (MxHost(10, "a.test"), MxHost(20, "b.test"), MxHost(20, "c.test"))
    assert await resolver.mail_hosts("d.test") == expected
    assert await resolver.mail_hosts("d.test") == expected
    assert name_server.asked == [("d.test", "MX")]


def test_hosts_of_equal_preference_come_in_random_order():
    hosts = (MxHost(10, "a"), MxHost(10, "b"), MxHost(20, "z"))
    directives = {tuple(in_order(hosts, random.Random(seed))) for seed in range(20)}
    assert directives == {("a", "b", "z"), ("b", "a", "z")}


async def test_null_mx_is_a_definite_refusal(name_server: Any, resolver: Resolver):
    name_server.zone[("d.test", "MX")] = ["0 .", "10 ."]
    error = await fault(resolver, "d.test")
    assert error.reply is not None
    assert (error.reply.code, error.reply.enhanced) == (556, "5.1.10")


async def test_domain_without_mx_is_its_own_host_if_it_has_an_address(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("d.test", "A")] = ["192.0.2.1"]
    assert await resolver.mail_hosts("d.test") == (MxHost(0, "d.test"),)


async def test_domain_that_does_not_exist_is_a_definite_refusal_and_kept(
    name_server: Any, resolver: Resolver
):
    for _ in range(2):
        error = await fault(resolver, "gone.test")
        assert error.reply is not None
        assert error.reply.enhanced == "5.1.2"
    assert name_server.asked == [("gone.test", "MX")]


async def test_domain_with_neither_mx_nor_address_is_a_definite_refusal(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("d.test", "TXT")] = ["hello"]
    error = await fault(resolver, "d.test")
    assert error.reply is not None
    assert error.reply.enhanced == "5.1.2"


@pytest.mark.parametrize("answer", ["SERVFAIL", "REFUSED", "LAME", None])
async def test_failing_or_silent_name_server_is_no_reason_to_give_up(
    name_server: Any, resolver: Resolver, answer: str | None
):
    name_server.zone[("d.test", "*")] = answer
    error = await fault(resolver, "d.test")
    assert (error.reply, error.fault) == (None, Fault.DNS)


async def test_address_that_cannot_be_looked_up_is_no_definite_refusal(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("d.test", "MX")] = []
    name_server.zone[("d.test", "A")] = "SERVFAIL"
    assert (await fault(resolver, "d.test")).fault is Fault.DNS


async def test_mx_that_leads_back_to_us_is_cut_with_all_behind_it(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("d.test", "MX")] = ["10 a.test.", "20 me.test.", "30 b.test."]
    assert await resolver.mail_hosts("d.test") == (MxHost(10, "a.test"),)
    name_server.zone[("me.test", "A")] = ["8.8.8.8"]
    error = await fault(resolver, "me.test")
    assert error.reply is not None
    assert error.reply.enhanced == "5.4.6"
    name_server.zone[("loop.test", "MX")] = ["10 Source2.test.", "20 b.test."]
    error = await fault(resolver, "loop.test")
    assert error.reply is not None
    assert error.reply.enhanced == "5.4.6"


async def test_addresses_of_both_kinds_are_found_behind_an_alias(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("mx.test", "A")] = ["CNAME real.test.", "real.test.|8.8.8.8"]
    name_server.zone[("mx.test", "AAAA")] = ["2606:4700::1111"]
    assert await resolver.addresses("mx.test") == ("2606:4700::1111", "8.8.8.8")


async def test_addresses_of_both_kinds_alternate_so_that_one_kind_alone_may_be_out_of_reach(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("mx.test", "AAAA")] = [f"2606:4700::{number}" for number in range(1, 13)]
    name_server.zone[("mx.test", "A")] = ["8.8.8.8", "8.8.4.4"]
    found = await resolver.addresses("mx.test")
    assert len(found) == MOST_ADDRESSES
    assert {found[1], found[3]} == {"8.8.8.8", "8.8.4.4"}


async def test_name_that_is_only_denied_for_aaaa_may_exist(name_server: Any, resolver: Resolver):
    name_server.zone[("mx.test", "AAAA")] = "NXDOMAIN"
    name_server.zone[("mx.test", "A")] = "SERVFAIL"
    name_server.zone[("mx.test", "MX")] = []
    assert (await fault(resolver, "mx.test")).fault is Fault.DNS
    name_server.zone[("other.test", "AAAA")] = "NXDOMAIN"
    name_server.zone[("other.test", "A")] = ["8.8.8.8"]
    assert await resolver.addresses("other.test") == ("8.8.8.8",)


async def test_mx_hosts_with_names_that_cannot_be_any_are_passed_over(
    name_server: Any, resolver: Resolver
):
    odd = [r"5 a\..d.test.", r"6 \195\169" + r"\195\169" * 20 + ".d.test.", "7 a$b.d.test."]
    name_server.zone[("d.test", "MX")] = [*odd, "0 .", "10 mx.d.test."]
    assert await resolver.mail_hosts("d.test") == (MxHost(10, "mx.d.test"),)
    name_server.zone[("odd.test", "MX")] = odd
    assert (await fault(resolver, "odd.test")).fault is Fault.DNS


async def test_many_who_ask_for_one_domain_ask_once(name_server: Any, resolver: Resolver):
    name_server.zone[("d.test", "MX")] = ["10 a.test."]
    found = await asyncio.gather(*(resolver.mail_hosts("d.test") for _ in range(20)))
    assert set(found) == {(MxHost(10, "a.test"),)}
    assert name_server.asked == [("d.test", "MX")]


@pytest.fixture
def few_files() -> Iterator[None]:
    """Allow hardly more open files than there are questions at a time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + MOST_QUESTIONS + 100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
async def test_questions_about_many_domains_wait_in_turn_and_none_fails(name_server: Any):
    resolver = Resolver(name_server.address, "me.test", lifetime=60.0)
    domains = [f"d{number}.test" for number in range(2 * MOST_QUESTIONS)]
    for domain in domains:
        name_server.zone[(domain, "MX")] = ["10 a.test."]
    found = await asyncio.gather(*map(resolver.mail_hosts, domains))
    assert set(found) == {(MxHost(10, "a.test"),)}


async def test_who_asks_and_goes_away_takes_the_answer_from_nobody(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("d.test", "MX")] = ["10 a.test."]
    first = asyncio.create_task(resolver.mail_hosts("d.test"))
    await asyncio.sleep(0)
    second = asyncio.create_task(resolver.mail_hosts("d.test"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == (MxHost(10, "a.test"),)


async def test_truncated_answer_is_read_over_tcp(name_server: Any, resolver: Resolver):
    name_server.zone[("d.test", "MX")] = [f"{number} mx{number}.test." for number in range(1, 51)]
    found = await resolver.mail_hosts("d.test")
    assert found == tuple(MxHost(number, f"mx{number}.test") for number in range(1, 21))
    assert name_server.asked == [("d.test", "MX")] * 2


async def test_answer_that_takes_too_long_to_read_is_not_read(name_server: Any, resolver: Resolver):
    name_server.zone[("d.test", "MX")] = [f"{number} mx{number}.test." for number in range(900)]
    error = await fault(resolver, "d.test")
    assert (error.reply, error.fault) == (None, Fault.DNS)
    name_server.zone[("fit.test", "MX")] = [f"{number} mx{number}.test." for number in range(400)]
    assert len(await resolver.mail_hosts("fit.test")) == MOST_HOSTS


async def test_answers_are_kept_within_bounds():
    asked: list[str] = []

    async def ask(name: str) -> tuple[str, float]:
        asked.append(name)
        return name, 3600.0

    clock = Clock()
    answers = Answers(ask, weigh=lambda _: 60_000, definite=60.0, unknown=10.0, clock=clock)
    for number in range(200):
        await answers.find(f"{number}.test")
    await answers.find("0.test")
    assert len(asked) == 200
    for number in range(200, 500):
        await answers.find(f"{number}.test")
    await answers.find("1.test")
    assert len(asked) == 501
    clock.now += 3601.0
    await answers.find("1.test")
    assert len(asked) == 502


async def test_private_addresses_are_refused_unless_a_route_names_the_host(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("mx.test", "A")] = ["10.0.0.1", "127.0.0.1"]
    with pytest.raises(WireError) as caught:
        await resolver.addresses("mx.test")
    assert caught.value.fault is Fault.UNREACHABLE
    assert await resolver.addresses("mx.test", named_by_route=True) == ("10.0.0.1", "127.0.0.1")
    name_server.zone[("mixed.test", "A")] = ["10.0.0.1", "8.8.8.8"]
    assert await resolver.addresses("mixed.test") == ("8.8.8.8",)


async def test_nonsense_names_are_faults_and_not_exceptions(resolver: Resolver):
    for name in ("a" * 300, "a..b", "\u2028", "x" * 64 + ".test", "-", "a b"):
        assert (await fault(resolver, name)).stage is Stage.ROUTE


# -- destinations and dialling


def dialer(resolver: Resolver) -> Dialer:
    return Dialer(
        resolver, "me.test", Contexts.make(), timeouts=Timeouts(60.0, 60.0, 60.0, 60.0, 60.0)
    )


async def test_domains_with_the_same_mx_hosts_share_a_lane(name_server: Any, resolver: Resolver):
    for domain in ("one.test", "two.test"):
        name_server.zone[(domain, "MX")] = ["10 a.mx.test.", "20 b.mx.test."]
    destinations = Destinations(Routes(), resolver)
    one, two = [await destinations.find(domain) for domain in ("one.test", "two.test")]
    assert one.key == two.key
    assert str(one.key) == "|(a|b).mx.test"


async def test_literal_of_a_private_address_is_not_dialled(resolver: Resolver):
    destination = await Destinations(Routes(), resolver).find("[127.0.0.1]")
    with pytest.raises(WireError) as caught:
        await dialer(resolver).open(destination)
    assert "not sent to" in caught.value.detail


async def test_mx_host_without_an_address_is_no_definite_refusal(
    name_server: Any, resolver: Resolver
):
    name_server.zone[("d.test", "MX")] = ["10 gone.test."]
    destination = await Destinations(Routes(), resolver).find("d.test")
    with pytest.raises(WireError) as caught:
        await dialer(resolver).open(destination)
    assert (caught.value.reply, caught.value.fault) == (None, Fault.DNS)


async def test_route_to_a_name_is_looked_up_and_dialled(
    name_server: Any, resolver: Resolver, sink: Any
):
    name_server.zone[("relay.test", "A")] = ["127.0.0.9", "127.0.0.1"]
    routes = Routes.parse(f'[{{"domain":"*","host":"relay.test","port":{sink.port}}}]')
    session = await dialer(resolver).open(await Destinations(routes, resolver).find("d.test"))
    assert (session.host, session.address) == ("relay.test", "127.0.0.1")
    session.quit()


async def test_no_further_address_is_tried_when_the_first_ones_took_too_long(
    name_server: Any, resolver: Resolver, sink: Any
):
    name_server.zone[("relay.test", "A")] = ["127.0.0.9", "127.0.0.1"]
    routes = Routes.parse(f'[{{"domain":"*","host":"relay.test","port":{sink.port}}}]')
    seconds = count(1000.0, OPENING_LONGEST)
    opening = Dialer(resolver, "me.test", Contexts.make(), clock=lambda: next(seconds))
    with pytest.raises(WireError) as caught:
        await opening.open(await Destinations(routes, resolver).find("d.test"))
    assert caught.value.fault is Fault.REFUSED
    assert "1 more not tried" in caught.value.said


async def test_host_that_accepts_and_says_nothing_comes_last_for_a_while(
    name_server: Any, resolver: Resolver, sink: Any
):
    accepted: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(
        lambda _, writer: accepted.append(writer), "127.0.0.9", sink.port
    )
    name_server.zone[("relay.test", "A")] = ["127.0.0.9", "127.0.0.1"]
    routes = Routes.parse(f'[{{"domain":"*","host":"relay.test","port":{sink.port}}}]')
    destination = await Destinations(routes, resolver).find("d.test")
    opening = Dialer(
        resolver, "me.test", Contexts.make(), timeouts=Timeouts(60.0, 0.5, 60.0, 60.0, 60.0)
    )
    for _ in range(2):
        (await opening.open(destination)).quit()
    assert len(accepted) == 1
    accepted[0].close()
    silent.close()


async def test_tls_that_fails_is_left_out_where_it_is_only_wished_for(
    resolver: Resolver, dialog: Any
):
    server = await dialog("starttls_refused")
    routes = Routes.parse(f'[{{"domain":"*","host":"127.0.0.1","port":{server.port}}}]')
    destination = await Destinations(routes, resolver).find("d.test")
    opening = dialer(resolver)
    first = await opening.open(destination)
    assert (first.tls, server.connections) == (None, 2)
    second = await opening.open(destination)  # without trying TLS again
    assert (second.tls, server.connections) == (None, 3)
    first.quit()
    second.quit()


async def test_tls_that_is_required_is_never_left_out(resolver: Resolver, dialog: Any):
    server = await dialog("starttls_refused")
    entry = f'[{{"domain":"*","host":"127.0.0.1","port":{server.port},"tls":"required"}}]'
    destination = await Destinations(Routes.parse(entry), resolver).find("d.test")
    with pytest.raises(WireError) as caught:
        await dialer(resolver).open(destination)
    assert caught.value.fault is Fault.TLS
    assert server.connections == 1
