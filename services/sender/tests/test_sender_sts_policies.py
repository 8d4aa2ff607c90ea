"""MTA-STS policies fetched from an HTTPS server on loopback, kept, and used when it is away."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from postroad_common.errors import StoreAway
from postroad_common.publicaddress import is_public_text
from postroad_common.store.database import Database
from postroad_common.store.policies import PolicyRecord
from postroad_sender.dns.resolver import Resolver
from postroad_sender.tls.fetch import MOST_OCTETS, FetchError, PolicyFetcher
from postroad_sender.tls.mta_sts import Mode, MtaStsPolicy
from postroad_sender.tls.policies import AWAY_FOR, FAILED_FOR, Known, StsPolicies
from postroad_sender.tls.records import PolicyLookups
from postroad_testing.waiting import PATIENCE

TEXT = "version: STSv1\r\nmode: enforce\r\nmx: mx.d.test\r\nmax_age: 1000\r\n"
POLICY = MtaStsPolicy(Mode.ENFORCE, ("mx.d.test",), 1000)


def answer(body: str, status: str = "200 OK", kind: str = "text/plain", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return (head + body).encode()


class PolicyHost:
    """An HTTPS server that gives `answer` to everything; nothing at all while `gate` is closed."""

    def __init__(self) -> None:
        self.answer = answer(TEXT)
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, context: ssl.SSLContext) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            host = head.partition("Host: ")[2].partition("\r\n")[0].partition(":")[0]
            self.asked.append(f"{host} {head.split()[1]}")
            await self.gate.wait()
            writer.write(self.answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def policy_host(authority: Any) -> AsyncIterator[PolicyHost]:
    host = PolicyHost()
    await host.start(authority.issue("mta-sts.d.test", "mta-sts.e.test").context())
    yield host
    await host.stop()


@pytest.fixture
def dns(name_server: Any) -> Any:
    for domain in ("d.test", "e.test", "bad.test"):
        name_server.zone[(f"mta-sts.{domain}", "A")] = ["127.0.0.1"]
        name_server.zone[(f"_mta-sts.{domain}", "TXT")] = ['"v=STSv1; id=1"']
    return name_server


def fetcher(dns: Any, host: PolicyHost, authority: Any, **more: Any) -> PolicyFetcher:
    resolver = Resolver(dns.address, "me.test", permits=more.pop("permits", lambda _: True))
    return PolicyFetcher(resolver, tls=authority.trusting(), port=host.port, **more)


class Clock:
    """Unix time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def policies(
    dns: Any,
    host: PolicyHost,
    authority: Any,
    clock: Clock,
    store: Any = None,
    seconds: float = 60.0,
) -> StsPolicies:
    """Policies that ask DNS each time that the clock was moved by a minute."""
    resolver = Resolver(dns.address, "me.test", permits=lambda _: True)
    fetcher = PolicyFetcher(resolver, tls=authority.trusting(), port=host.port, seconds=seconds)
    return StsPolicies(PolicyLookups(resolver, clock), fetcher.fetch, store, clock)


class Away:
    """A store that does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, domain: str) -> PolicyRecord | None:
        self.asked += 1
        raise StoreAway(domain)

    async def put(self, record: PolicyRecord) -> None:
        raise StoreAway(record.domain)


# -- fetching


async def test_policy_is_fetched_from_its_well_known_place(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    assert await fetcher(dns, policy_host, authority).fetch("d.test") == POLICY
    assert policy_host.asked == ["mta-sts.d.test /.well-known/mta-sts.txt"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (answer(TEXT, status="404 Not Found"), "answers 404"),
        (
            answer(TEXT, status="302 Found", more="Location: https://mta-sts.e.test/x\r\n"),
            "answers 302",
        ),
        (answer(TEXT, kind="text/html"), "not text/plain"),
        (answer("x" * (MOST_OCTETS + 1)), "more than 65536 octets"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"x: y\n" * 100_000,
            "more than 65536 octets",
        ),
        (answer("mode: enforce"), "not valid: no version"),
        (b"SSH-2.0-OpenSSH\r\n", "RemoteProtocolError"),
        (b"", "RemoteProtocolError"),
    ],
)
async def test_answer_that_is_no_policy_is_refused(
    dns: Any, policy_host: PolicyHost, authority: Any, given: bytes, problem: str
):
    policy_host.answer = given
    with pytest.raises(FetchError, match=problem):
        await fetcher(dns, policy_host, authority).fetch("d.test")
    assert len(policy_host.asked) == 1


async def test_content_type_may_have_parameters(dns: Any, policy_host: PolicyHost, authority: Any):
    policy_host.answer = answer(TEXT, kind="Text/Plain; charset=utf-8")
    assert await fetcher(dns, policy_host, authority).fetch("d.test") == POLICY


async def test_certificate_for_another_name_is_refused(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    with pytest.raises(FetchError, match="ConnectError"):
        await fetcher(dns, policy_host, authority).fetch("bad.test")
    assert policy_host.asked == []


async def test_certificate_of_an_unknown_authority_is_refused(dns: Any, policy_host: PolicyHost):
    resolver = Resolver(dns.address, "me.test", permits=lambda _: True)
    with pytest.raises(FetchError, match="ConnectError"):
        await PolicyFetcher(resolver, port=policy_host.port).fetch("d.test")
    assert policy_host.asked == []


async def test_private_address_is_never_called(dns: Any, policy_host: PolicyHost, authority: Any):
    with pytest.raises(FetchError, match="not sent to"):
        await fetcher(dns, policy_host, authority, permits=is_public_text).fetch("d.test")
    assert policy_host.asked == []


async def test_policy_host_that_hangs_is_left_after_a_short_while(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    policy_host.gate.clear()
    with pytest.raises(FetchError, match=r"within 0\.2 seconds"):
        await fetcher(dns, policy_host, authority, seconds=0.2).fetch("d.test")


@pytest.mark.parametrize("domain", ["a b.test", "x@y", "d.test/..", "test", "ü.test", ""])
async def test_domain_that_is_no_host_name_is_not_asked(
    dns: Any, policy_host: PolicyHost, authority: Any, domain: str
):
    with pytest.raises(FetchError, match="not the name of a host"):
        await fetcher(dns, policy_host, authority).fetch(domain)


# -- keeping


async def test_policy_is_fetched_once_and_kept(dns: Any, policy_host: PolicyHost, authority: Any):
    known = policies(dns, policy_host, authority, Clock())
    found = await asyncio.gather(*(known.find("d.test") for _ in range(5)))
    assert found == [Known(POLICY)] * 5
    assert await known.find("d.test") == Known(POLICY)
    assert len(policy_host.asked) == 1


async def test_domain_without_a_record_has_no_policy_and_is_not_asked(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    known = policies(dns, policy_host, authority, Clock())
    assert await known.find("plain.test") == Known(None)
    assert policy_host.asked == []


async def test_policy_is_fetched_anew_when_its_id_changes(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    clock = Clock()
    known = policies(dns, policy_host, authority, clock)
    await known.find("d.test")
    policy_host.answer = answer(TEXT.replace("mx.d", "*.d"))
    clock.now += 61
    assert await known.find("d.test") == Known(POLICY)
    dns.zone[("_mta-sts.d.test", "TXT")] = ['"v=STSv1; id=2"']
    clock.now += 61
    found = await known.find("d.test")
    assert found.policy is not None
    assert found.policy.mx == ("*.d.test",)
    assert len(policy_host.asked) == 2


async def test_kept_policy_is_used_when_the_new_one_cannot_be_fetched(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    clock = Clock()
    known = policies(dns, policy_host, authority, clock)
    await known.find("d.test")
    policy_host.answer = answer("gone", status="500 Oops")
    dns.zone[("_mta-sts.d.test", "TXT")] = ['"v=STSv1; id=2"']
    for _ in range(3):
        clock.now += 61
        assert await known.find("d.test") == Known(POLICY)
    assert len(policy_host.asked) == 2  # a policy host that fails is not asked all the time
    clock.now += FAILED_FOR
    assert await known.find("d.test") == Known(POLICY)
    assert len(policy_host.asked) == 3
    clock.now += 1000  # and now it has expired
    assert await known.find("d.test") == Known(None, doubt=True)


async def test_kept_policy_holds_without_its_record_until_it_expires(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    clock = Clock()
    known = policies(dns, policy_host, authority, clock)
    await known.find("d.test")
    dns.zone[("_mta-sts.d.test", "TXT")] = []
    clock.now += 61
    assert await known.find("d.test") == Known(POLICY)
    dns.zone[("_mta-sts.d.test", "TXT")] = "SERVFAIL"
    clock.now += 700
    assert await known.find("d.test") == Known(POLICY)
    clock.now += 300
    assert await known.find("d.test") == Known(None, doubt=True)


async def test_policy_is_refreshed_before_it_expires_while_nobody_waits(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    clock = Clock()
    known = policies(dns, policy_host, authority, clock)
    await known.find("d.test")
    policy_host.answer = answer(TEXT.replace("enforce", "testing"))
    policy_host.gate.clear()
    clock.now += 600
    async with asyncio.timeout(50):  # less than the time that a fetch may take
        assert await known.find("d.test") == Known(POLICY)
    policy_host.gate.set()
    await known.settled()
    found = await known.find("d.test")
    assert found.policy is not None
    assert found.policy.mode is Mode.TESTING
    clock.now += 600  # its life has begun anew
    assert (await known.find("d.test")).policy is not None


async def test_hanging_policy_host_delays_only_its_own_domain(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    clock = Clock()
    known = policies(dns, policy_host, authority, clock)
    assert await known.find("e.test") == Known(POLICY)
    policy_host.gate.clear()
    waiting = asyncio.create_task(known.find("d.test"))
    assert await known.find("e.test") == Known(POLICY)
    assert not waiting.done()
    policy_host.answer = b""
    policy_host.gate.set()
    assert await waiting == Known(None, doubt=True)
    assert await known.find("d.test") == Known(None, doubt=True)
    assert len(policy_host.asked) == 2


async def test_mode_none_is_no_policy_and_is_kept(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    policy_host.answer = answer("version: STSv1\nmode: none\nmax_age: 1000\n")
    known = policies(dns, policy_host, authority, Clock())
    assert [await known.find("d.test") for _ in range(2)] == [Known(None)] * 2
    assert len(policy_host.asked) == 1


async def test_policies_are_shared_through_the_store_and_outlive_a_process(
    dns: Any, policy_host: PolicyHost, authority: Any, mongodb_uri: str
):
    database = Database(mongodb_uri, patience=PATIENCE)
    clock = Clock()
    try:
        first = policies(dns, policy_host, authority, clock, database.policies)
        assert await first.find("d.test") == Known(POLICY)
        await first.settled()
        clock.now += 100
        second = policies(dns, policy_host, authority, clock, database.policies)
        dns.zone[("_mta-sts.d.test", "TXT")] = "SERVFAIL"
        assert await second.find("d.test") == Known(POLICY)
        assert len(policy_host.asked) == 1
        clock.now += 901
        third = policies(dns, policy_host, authority, clock, database.policies)
        assert await third.find("d.test") == Known(None, doubt=True)
    finally:
        await database.close()


async def test_store_that_is_away_keeps_no_policy_from_being_fetched(
    dns: Any, policy_host: PolicyHost, authority: Any
):
    away = Away()
    clock = Clock()
    known = policies(dns, policy_host, authority, clock, away)
    assert await known.find("d.test") == Known(POLICY)
    assert await known.find("e.test") == Known(POLICY)
    assert away.asked == 1  # not by every domain
    clock.now += AWAY_FOR
    assert await known.find("plain.test") == Known(None)
    assert away.asked == 2
    await known.settled()
