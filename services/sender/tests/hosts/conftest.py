"""The sender from its dispatcher on, with DNS and receiving servers on loopback."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.outbound import OutboundMessage
from postroad_sender.connect.destination import Destination, Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.body_room import BodyRoom
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import Outcome, Status
from postroad_sender.dns.resolver import Resolver
from postroad_sender.lanes.dispatch import LaneDispatcher
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means, Requeue
from postroad_sender.lanes.worker import work
from postroad_sender.limits.address_limits import AddressLimits
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.throttle.controller import Caps
from postroad_smtp.client.session import Timeouts, TlsWish
from postroad_testing.factories import MIME, outbound, outbound_recipient
from postroad_testing.mailhost import MailHost
from postroad_testing.waiting import until


class _Job(Job):
    """A job that came from no broker, so none can take it back."""

    @property
    def is_ours(self) -> bool:
        return True


class Ended:
    """Where jobs end: what came of each recipient."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[Outcome]] = {}
        self.remembered: list[str] = []
        self.requeued: list[tuple[str, RequeueReason]] = []

    def requeue(self, job: Job, _seconds: float, reason: RequeueReason, _text: str) -> None:
        self.requeued += [(recipient.address, reason) for recipient in job.message.recipients]

    def remember(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        for recipient, outcome in zip(job.message.recipients, outcomes, strict=True):
            if outcome.status is Status.DELIVERED:
                self.remembered.append(recipient.address)

    def finish(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        for recipient, outcome in zip(job.message.recipients, outcomes, strict=True):
            self.outcomes.setdefault(recipient.address, []).append(outcome)


class Site:
    """A sender from its dispatcher on, and the hosts that take mail for `site.test`."""

    def __init__(self, name_server: Any, stack: AsyncExitStack) -> None:
        self._dns = name_server
        self._stack = stack
        self.ended = Ended()
        self.port = 0
        self.hosts: list[MailHost] = []
        self.defects: set[str] = set()
        """The addresses whose mail nothing can read."""
        self.room = BodyRoom(100, within=0.05)
        self.lanes_broken = 0
        """How many lanes cannot be made."""

    async def open(
        self,
        *hosts: MailHost,
        logins: Sequence[str] = (),
        openings: float = 50.0,
        neighbours: int = 0,
        limits: AddressLimits | None = None,
        connections: int = 1,
        in_all: int = 100,
    ) -> None:
        """Start `hosts`; with `logins`, each is that of the route to `<login>.test`.

        The first is also `shared1.test` and so on, as the one host of each of its `neighbours`.
        """
        self.hosts = list(hosts)
        for number, host in enumerate(hosts, 1):
            self.port = await host.start(f"127.0.0.{number}", self.port)
            self._stack.push_async_callback(host.stop)
            self._dns.zone[(f"mx{number}.test", "A")] = [f"127.0.0.{number}"]
        self._dns.zone[("site.test", "MX")] = [
            f"{number} mx{number}.test." for number in range(1, len(hosts) + 1)
        ]
        for number in range(1, neighbours + 1):
            self._dns.zone[(f"shared{number}.test", "MX")] = [f"1 mx.shared{number}.test."]
            self._dns.zone[(f"mx.shared{number}.test", "A")] = ["127.0.0.1"]
        resolver = Resolver(self._dns.address, "me.test", permits=lambda _: True, lifetime=60.0)
        dialer = Dialer(
            resolver,
            "me.test",
            Contexts.make(),
            timeouts=Timeouts(60.0, 60.0, 60.0, 60.0, 60.0),
            limits=limits,
        )
        route = Route(domain="*", port=self.port, tls=TlsWish.NONE)
        smart = {"host": "127.0.0.1", "username": "", "password": "x"}
        routes = [
            route.model_copy(update=smart | {"domain": f"{login}.test", "username": login})
            for login in logins
        ]
        means = Means(
            dialer=dialer,
            connection_limit=ConnectionLimit(in_all),
            disposition=self.ended,  # type: ignore[arg-type]
            pieces=self._pieces,
            idle_seconds=600.0,
            most_messages=1000,
            work=work,
            openings_per_second=openings,
            room=self.room,
        )
        self.dispatcher = LaneDispatcher(
            Destinations(Routes((*routes, route)), resolver),
            self.ended,  # type: ignore[arg-type]
            partial(self._make_pool, means),
            caps=Caps(connections=connections),
        )
        self._stack.push_async_callback(self.dispatcher.stop)

    def _make_pool(
        self,
        means: Means,
        /,
        lane: Lane[Job],
        destination: Destination,
        *,
        home: Shard | None,
        requeue: Requeue,
    ) -> ConnectionPool:
        if self.lanes_broken:
            self.lanes_broken -= 1
            raise RuntimeError("a defect")
        return ConnectionPool(lane, destination, means, home=home, requeue=requeue)

    async def _pieces(self, job: Job) -> tuple[bytes | memoryview, ...]:
        if job.message.recipients[0].address in self.defects:
            raise RuntimeError("a defect")
        return (job.body,)

    def place(self, message: OutboundMessage, octets: bytes = MIME) -> None:
        """Hand in `message`."""
        domain = message.recipients[0].address.partition("@")[2]
        self.dispatcher.place(_Job(message, memoryview(octets), domain, Shard("x", 100)))

    async def send(self, *addresses: str, octets: bytes = MIME, **changes: Any) -> list[Outcome]:
        """Hand in one message for `addresses`; returns what came of each."""
        values: dict[str, Any] = {
            "recipients": tuple(outbound_recipient(one, id=one) for one in addresses),
            "size": len(octets),
            "eightbit": not octets.isascii(),
        }
        self.place(outbound(**values | changes), octets)
        await until(lambda: all(address in self.ended.outcomes for address in addresses))
        return [self.ended.outcomes[address][-1] for address in addresses]


@pytest.fixture
async def site(name_server: Any) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(name_server, stack)
