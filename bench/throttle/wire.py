"""The sender's own couriers, dialer and SMTP client against a scripted receiver on loopback."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from bench.throttle.receiver import ScriptedReceiver
from bench.throttle.simulation import Letter, Result
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_sender.connect.destination import Destinations
from postroad_sender.connect.dialer import Contexts, Dialer
from postroad_sender.delivery.job import Job, Shard
from postroad_sender.delivery.outcome import Outcome
from postroad_sender.dns.resolver import Resolver
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.pool import ConnectionPool, Means
from postroad_sender.lanes.worker import work
from postroad_sender.limits.connection_limit import ConnectionLimit
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.throttle.controller import Caps, Controller
from postroad_smtp.client.session import TlsWish

_MIME = b"Subject: hello\r\n\r\nhello\r\n"
_BACKLOG = 200  # messages that wait in the lane, as long as it is to be endless


class _BenchJob(Job):
    """A job that came from no broker, so none can take it back."""

    @property
    def is_ours(self) -> bool:
        """Always."""
        return True


class Rig:
    """One lane with its couriers. If it is endless, another message follows each that ends."""

    def __init__(self, *, endless: bool) -> None:
        self.pool: ConnectionPool | None = None
        self.waits: dict[str, list[float]] = {}
        self.starts: list[tuple[float, str]] = []
        self._endless = endless
        self._shard = Shard("bench", 1)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def feed(self, accounts: Iterable[str]) -> None:
        """Put a message for each of `accounts` into the lane."""
        assert self.pool is not None  # noqa: S101 - set before the first
        now = self._loop.time()
        for account in accounts:
            recipient = OutboundRecipient(id="m", address="u@receiver.test")
            message = OutboundMessage(
                id="m",
                submission="m",
                account=account,
                envelope="",
                mail_from="",
                recipients=(recipient,),
                received=0.0,
                expires=1e12,
                size=len(_MIME),
            )
            job = _BenchJob(message, memoryview(_MIME), "receiver.test", self._shard)
            job.since = now
            self.pool.lane.put(job)
        self.pool.schedule()

    async def pieces(self, job: Job) -> tuple[bytes | memoryview, ...]:
        """Its transaction begins."""
        now = self._loop.time()
        self.waits.setdefault(job.account, []).append(now - job.since)
        self.starts.append((now - self._began, job.account))
        return (job.body,)

    def remember(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """Part of Disposition."""

    def finish(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """Part of Disposition."""
        del outcomes
        if self._endless:
            self.feed([job.account])

    def requeue(
        self, job: Job, seconds: float, reason: RequeueReason, text: str, queue: str | None = None
    ) -> None:
        """Part of Disposition: the lane is closed for long; the next message waits for it."""
        del job, seconds, reason, text, queue

    def nack(self, job: Job, reason: RequeueReason) -> None:
        """Part of Disposition."""

    def reroute(self, job: Job, shard: str) -> None:
        """Part of Disposition."""


@asynccontextmanager
async def _at_work(
    receiver: ScriptedReceiver, rig: Rig, connections: int, *, pipelining: bool
) -> AsyncIterator[ConnectionPool]:
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    route = Route(domain="*", host="127.0.0.1", port=port, tls=TlsWish.NONE, pipelining=pipelining)
    resolver = Resolver("127.0.0.1:9", "bench.test")
    destination = Destinations(Routes((route,)), resolver).known("receiver.test")
    assert destination is not None  # noqa: S101 - the route names the host
    now = asyncio.get_running_loop().time()
    rig.pool = ConnectionPool(
        Lane(destination.key, Controller(Caps(connections=connections), now), now),
        destination,
        Means(
            dialer=Dialer(resolver, "bench.test", Contexts.make()),
            connection_limit=ConnectionLimit(1000),
            disposition=rig,
            pieces=rig.pieces,
            idle_seconds=5.0,
            most_messages=1000,
            work=work,
        ),
    )
    try:
        yield rig.pool
    finally:
        await rig.pool.stop(1.0)
        server.close()
        await receiver.ended(5.0)


async def drive(
    receiver: ScriptedReceiver,
    seconds: float,
    *,
    connections: int = 50,
    pipelining: bool = True,
    letters: Sequence[Letter] | None = None,
) -> Result:
    """Return what an endless backlog, or `letters`, came to in `seconds`."""
    rig = Rig(endless=letters is None)
    async with _at_work(receiver, rig, connections, pipelining=pipelining):
        if letters is None:
            rig.feed([""] * _BACKLOG)
        for moment in sorted({letter.since for letter in letters or ()}):
            await asyncio.sleep(max(0.0, moment - receiver.now))
            rig.feed(letter.account for letter in letters or () if letter.since == moment)
        await asyncio.sleep(max(0.0, seconds - receiver.now))
    receiver.result.waits = rig.waits
    receiver.result.starts = rig.starts
    return receiver.result
