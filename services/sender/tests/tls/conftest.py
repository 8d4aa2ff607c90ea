"""The sender from its dispatcher on, with DNS, a policy host and STARTTLS receivers on loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from postroad_common.mail.requeue import RequeueReason
from postroad_sender.connect.destination import Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.facts import facts_of
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import Outcome
from postroad_sender.dns.resolver import Resolver
from postroad_sender.lanes.dispatch import LaneDispatcher
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means, Requeue
from postroad_sender.lanes.worker import work
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.throttle.controller import Caps
from postroad_sender.tls.fetch import FetchError
from postroad_sender.tls.mta_sts import MtaStsPolicy, parse
from postroad_sender.tls.policies import StsPolicies
from postroad_sender.tls.records import PolicyLookups
from postroad_smtp.client.session import Timeouts
from postroad_testing.factories import outbound, outbound_recipient

MIME = b"Subject: hello\r\n\r\nhello\r\n"


class _Job(Job):
    """A job that came from no broker, so none can take it back."""

    @property
    def is_ours(self) -> bool:
        return True


class Ended:
    """Disposition that remember: address, outcome, and the facts of its event."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Outcome, dict[str, Any]]] = []
        self.more = asyncio.Event()

    def finish(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        address = job.message.recipients[0].address
        self.jobs.append((address, outcomes[0], facts_of(outcomes[0]).to_data()))
        self.more.set()

    def requeue(
        self, job: Job, seconds: float, reason: RequeueReason, text: str, queue: str | None = None
    ) -> None:
        raise AssertionError((job, seconds, reason, text, queue))

    def leave(self, job: Job) -> None:
        raise AssertionError(job)

    def reroute(self, job: Job, shard: str) -> None:
        raise AssertionError((job, shard))


class Relay:
    """The sender from its dispatcher on, for one receiving port."""

    def __init__(self, name_server: Any, authority: Any, port: int, **changes: Any) -> None:
        dnssec = changes.pop("dnssec", False)
        self.ended = Ended()
        self.lanes: list[Lane[Job]] = []
        self.policies: dict[str, str] = {}
        self._dns = name_server
        resolver = Resolver(
            name_server.address, "me.test", dnssec=dnssec, permits=lambda _: True, lifetime=60.0
        )
        records = PolicyLookups(resolver)
        lax = ssl.create_default_context()
        lax.check_hostname = False
        lax.verify_mode = ssl.CERT_NONE
        contexts = Contexts(lax=lax, strict=authority.trusting())
        timeouts = Timeouts(60.0, 60.0, 60.0, 60.0, 60.0)
        self.dialer = Dialer(resolver, "me.test", contexts, records=records, timeouts=timeouts)
        route = Route(**({"domain": "*", "port": port} | changes))
        self.destinations = Destinations(
            Routes((route,)), resolver, StsPolicies(records, self._policy, None)
        )
        self._dispatcher: LaneDispatcher = LaneDispatcher(
            self.destinations,
            self.ended,  # type: ignore[arg-type]
            self.make_pool,
            caps=Caps(connections=changes.get("connections", 5)),
        )

    def domain(self, name: str, *hosts: str, policy: str = "") -> None:
        """Mail for `name` goes to `hosts`, all of them on loopback."""
        self._dns.zone[(name, "MX")] = [f"{10 + n} {host}." for n, host in enumerate(hosts)]
        for host in hosts:
            self._dns.zone[(host, "A")] = ["127.0.0.1"]
        if policy:
            self._dns.zone[(f"_mta-sts.{name}", "TXT")] = ['"v=STSv1; id=1"']
            self.policies[name] = policy

    async def _policy(self, domain: str) -> MtaStsPolicy:
        if domain not in self.policies:
            raise FetchError("none")
        mode, *patterns = self.policies[domain].split()
        lines = ["version: STSv1", f"mode: {mode}", "max_age: 900", *(f"mx: {p}" for p in patterns)]
        return parse("\n".join(lines).encode())

    def make_pool(
        self,
        lane: Lane[Job],
        destination: Any,
        *,
        home: Shard | None,
        requeue: Requeue | None,
    ) -> ConnectionPool:
        self.lanes.append(lane)
        return ConnectionPool(
            lane,
            destination,
            Means(
                dialer=self.dialer,
                connection_limit=ConnectionLimit(100),
                disposition=self.ended,
                pieces=self._pieces,
                idle_seconds=5.0,
                most_messages=1000,
                work=work,
            ),
            home=home,
            requeue=requeue,
        )

    async def _pieces(self, job: Job) -> tuple[bytes | memoryview, ...]:
        return (job.body,)

    def job(self, address: str, octets: bytes = MIME, *, requiretls: bool = False) -> Job:
        """Return a message; its account is the local part of `address`."""
        account, _, domain = address.partition("@")
        message = outbound(
            account=account,
            recipients=(outbound_recipient(address, id=address),),
            size=len(octets),
            requiretls=requiretls,
        )
        return _Job(message, memoryview(octets), domain, Shard("x", 100))

    async def send(
        self, *addresses: str, octets: bytes = MIME, requiretls: bool = False
    ) -> list[tuple[str, Outcome, dict[str, Any]]]:
        """Hand messages in together; returns how they ended, in that order."""
        before = len(self.ended.jobs)
        for address in addresses:
            self._dispatcher.place(self.job(address, octets, requiretls=requiretls))
        async with asyncio.timeout(90):
            while len(self.ended.jobs) - before < len(addresses):
                self.ended.more.clear()
                await self.ended.more.wait()
        found = {address: ending for ending in self.ended.jobs[before:] for address in ending[:1]}
        return [found[address] for address in addresses]

    async def close(self) -> None:
        await self._dispatcher.stop()


@pytest.fixture
async def relay(name_server: Any, authority: Any, sink: Any) -> AsyncIterator[Callable[..., Relay]]:
    async with AsyncExitStack() as stack:

        def start(port: int = 0, **changes: Any) -> Relay:
            relay = Relay(name_server, authority, port or sink.port, **changes)
            stack.push_async_callback(relay.close)
            return relay

        yield start
