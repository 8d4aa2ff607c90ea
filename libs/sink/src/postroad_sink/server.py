"""The receiving server: what its sessions share, and its listeners.

`session` is one connection; the web side is in `web`.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from postroad_common.mail.reply import Reply
from postroad_sink.behaviour import Behaviour
from postroad_sink.connection import SinkConnection
from postroad_sink.counts import Counts, Presence
from postroad_sink.extensions import Offer
from postroad_sink.mailbox import ConnectionOrigin, KeptMessage, SinkMailbox
from postroad_sink.session import SinkSession

_SWEEP_SECONDS = 10.0
_BACKLOG = 1024


@dataclass(frozen=True)
class SinkLimits:
    """What the sink stands at most. Bytes, seconds."""

    messages: int = 20_000
    kept_bytes: int = 256 * 1024 * 1024
    incoming_bytes: int = 512 * 1024 * 1024
    connections: int = 4_000
    recipients: int = 10_000
    idle_seconds: float = 300


@dataclass
class Sink:
    """State shared by all sessions. With `discard` messages are counted and not kept."""

    hostname: str = "sink.postroad.test"
    discard: bool = False
    limits: SinkLimits = field(default_factory=SinkLimits)
    tls_context: ssl.SSLContext | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        self.offer = Offer()
        self.counts = Counts()
        self.presence = Presence()
        self.mailbox = SinkMailbox(self.limits.messages, self.limits.kept_bytes)
        self.behaviour = Behaviour(self.presence, random.Random(self.seed).random)
        self.sessions: set[SinkConnection] = set()
        self.incoming_bytes = 0

    def take(
        self,
        *,
        envelope: str,
        parameters: dict[str, str],
        recipients: Sequence[str],
        recipient_parameters: Sequence[dict[str, str]],
        origin: ConnectionOrigin | None,
        transaction: int,
        raw: bytes,
        size: int,
    ) -> int:
        """Count a message, and keep it if there is an `origin`; its number."""
        counts = self.counts
        now = time.time()
        counts.accepted += 1
        counts.bytes += size
        counts.recipients += len(recipients)
        counts.last = now
        if counts.first is None:
            counts.first = now
        for address in recipients:
            counts.domain(address.rpartition("@")[2].lower()).accepted += 1
        number = self.mailbox.next_number()
        if origin is not None:
            self.mailbox.add(
                KeptMessage(
                    number=number,
                    time=now,
                    envelope=envelope,
                    parameters=parameters,
                    recipients=tuple(recipients),
                    recipient_parameters=tuple(recipient_parameters),
                    origin=origin,
                    transaction=transaction,
                    raw=raw,
                )
            )
        return number


class SinkServer:
    """The listeners of one sink."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def listening(self) -> bool:
        """Whether clients can connect."""
        return bool(self._servers) and all(server.is_serving() for server in self._servers)

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen on `port` of each host, a free one if it is 0, and return it.

        Raises:
            OSError: an address or the port cannot be had.
        """
        loop = asyncio.get_running_loop()
        try:
            for host in hosts:
                server = await loop.create_server(
                    lambda: SinkSession(self.sink, loop), host, port, backlog=_BACKLOG
                )
                self._servers.append(server)
                port = server.sockets[0].getsockname()[1]
        except OSError:
            await self.stop()
            raise
        self._sweeper = loop.create_task(self._sweep(), name="sink-sweep")
        return port

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for session in list(self.sink.sessions):
            session.shut_down(Reply(421, "4.3.2", "The sink stops"))

    async def _sweep(self) -> None:
        """Close connections that have said nothing for too long; precise to one sweep."""
        loop = asyncio.get_running_loop()
        every = min(_SWEEP_SECONDS, self.sink.limits.idle_seconds / 2)
        while True:
            await asyncio.sleep(every)
            silent_since = loop.time() - self.sink.limits.idle_seconds
            for session in list(self.sink.sessions):
                session.close_if_silent(silent_since)
