"""The sender's own couriers, dialer and SMTP client against a scripted receiver on loopback."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from postroad_common.schemas.outbound import OutboundMessage, OutboundRecipient
from postroad_sender.control import Caps, Controller
from postroad_sender.courier import Crew, Slots
from postroad_sender.destination import Destinations
from postroad_sender.dialer import Contexts, Dialer
from postroad_sender.job import Job, Shard
from postroad_sender.lane import Lane
from postroad_sender.outcome import Outcome, Status
from postroad_sender.resolver import Resolver
from postroad_sender.routes import Route, Routes
from postroad_sender.wire.session import Session, TlsWish

_MIME = b"Subject: hello\r\n\r\nhello\r\n"
_SECONDS = 12.0
_STEADY = 4.0


@dataclass
class ScriptedReceiver:
    """Answers 421 above `connections` and 450 4.7.1 above `rate` messages per second."""

    connections: int = 1000
    rate: float = 1e9
    burst: float = 5.0
    seconds: float = 0.02
    taken: list[float] = field(default_factory=list)
    refused: int = 0
    _open: int = 0
    _tokens: float = 5.0
    _filled: float = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._open += 1
        try:
            if self._open > self.connections:
                self.refused += 1
                writer.write(b"421 4.7.0 too many connections\r\n")
                return
            writer.write(b"220 receiver.test\r\n")
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender is done
        finally:
            self._open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        welcome = False
        while True:
            verb = (await reader.readuntil(b"\r\n"))[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-receiver.test\r\n250 PIPELINING\r\n")
            elif verb == b"RCPT":
                welcome = self._take()
                writer.write(b"250 2.1.5 ok\r\n" if welcome else b"450 4.7.1 slow down\r\n")
            elif verb == b"DATA" and not welcome:
                writer.write(b"554 5.5.1 no recipients\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await asyncio.sleep(self.seconds)
                self.taken.append(time.monotonic())
                writer.write(b"250 2.0.0 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                return
            else:
                writer.write(b"250 2.0.0 ok\r\n")

    def _take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class _BenchJob(Job):
    """A job that came from no broker, so none can take it back."""

    @property
    def is_ours(self) -> bool:
        """Always."""
        return True


class _Count:
    """Endings that only count; every message that ends is followed by another."""

    def __init__(self) -> None:
        self.deferred: list[float] = []
        self.crew: Crew | None = None
        self._shard = Shard("bench", 1)

    def feed(self, count: int) -> None:
        """Put `count` more messages into the lane."""
        assert self.crew is not None  # noqa: S101 - set before the first
        for _ in range(count):
            recipient = OutboundRecipient(id="m", address="u@receiver.test")
            message = OutboundMessage(
                id="m",
                submission="m",
                account="a",
                envelope="",
                mail_from="",
                recipients=(recipient,),
                received=0.0,
                expires=1e12,
                size=len(_MIME),
            )
            self.crew.lane.put(_BenchJob(message, memoryview(_MIME), "receiver.test", self._shard))
        self.crew.kick()

    def finish(self, job: Job, outcomes: Sequence[Outcome], session: Session | None) -> None:
        """Part of Endings."""
        del job, session
        if outcomes[0].status is not Status.DELIVERED:
            self.deferred.append(time.monotonic())
        self.feed(1)

    def park(
        self, job: Job, seconds: float, reason: str, label: str, queue: str | None = None
    ) -> None:
        """Part of Endings: the lane is closed for long; the next message waits for it."""
        del job, seconds, reason, label, queue

    def leave(self, job: Job) -> None:
        """Part of Endings."""

    def reroute(self, job: Job, shard: str) -> None:
        """Part of Endings."""


async def _pieces(job: Job) -> tuple[bytes | memoryview, ...]:
    return (job.body,)


async def measure(
    receiver: ScriptedReceiver, seconds: float = _SECONDS, steady: float = _STEADY
) -> tuple[float, float]:
    """Messages per second that it took, and the share deferred, after `steady` seconds."""
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    route = Route(domain="*", host="127.0.0.1", port=port, tls=TlsWish.NONE)
    resolver = Resolver("127.0.0.1:9", "bench.test")
    destination = Destinations(Routes((route,)), resolver).known("receiver.test")
    assert destination is not None  # noqa: S101 - the route names the host
    now = asyncio.get_running_loop().time()
    endings = _Count()
    crew = endings.crew = Crew(
        Lane(destination.key, Controller(Caps(connections=50), now), now),
        destination,
        Dialer(resolver, "bench.test", Contexts.make()),
        slots=Slots(1000),
        endings=endings,
        pieces=_pieces,
        idle_seconds=5.0,
        most_messages=1000,
    )
    endings.feed(200)
    await asyncio.sleep(seconds)
    end = time.monotonic()
    start = end - (seconds - steady)
    await crew.stop(1.0)
    server.close()
    took = sum(start <= at <= end for at in receiver.taken)
    bad = sum(start <= at <= end for at in endings.deferred)
    return took / (end - start), bad / max(1, bad + took)


async def wire_rows() -> list[str]:
    """The table of a few receivers over real sockets."""
    lines = ["| receiver | messages/s | deferred | connections refused |", "|---|---|---|---|"]
    for title, receiver in (
        ("421 above 5 connections", ScriptedReceiver(connections=5)),
        ("450 4.7.1 above 50/s", ScriptedReceiver(rate=50)),
        ("both", ScriptedReceiver(connections=3, rate=50)),
    ):
        speed, deferred = await measure(receiver)
        lines.append(f"| {title} | {speed:.1f} | {100 * deferred:.2f} % | {receiver.refused} |")
    return lines
