"""Senders that run in this process, and the world around them: queues, receivers, DNS."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from postroad_common.broker import BrokerLink, EventWriter, Publisher, topology
from postroad_common.health import Health
from postroad_common.publicaddress import is_public_text
from postroad_common.schemas.events import Event, EventName
from postroad_common.schemas.framing import encode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.returns import DeliveryFailure
from postroad_common.service import ServiceContext
from postroad_common.store.database import Database
from postroad_sender.main import build
from postroad_sender.settings import Settings
from postroad_sender.timings import Timings
from postroad_testing import factories
from postroad_testing.certificates import Authority, self_signed
from postroad_testing.dialogserver import Start, dialog_servers
from postroad_testing.factories import MIME
from postroad_testing.nameserver import NameServer, running_name_server
from postroad_testing.queues import Queues
from postroad_testing.waiting import PATIENCE, until


class _Running:
    """A sender in this process, with connections and a database of its own."""

    def __init__(self, settings: Settings) -> None:
        outgoing, incoming = (BrokerLink(settings.amqp_url, role) for role in ("out", "in"))
        publisher = Publisher(outgoing)
        self._links = (outgoing, incoming)
        self.context = ServiceContext(
            name="sender",
            settings=settings,
            link=incoming,
            publisher=publisher,
            events=EventWriter(publisher),
            database=Database(settings.mongodb_uri),
            health=Health(),
        )

    async def start(self, timings: Timings, permits: Callable[[str], bool]) -> None:
        for link in self._links:
            link.start()
            await link.up.wait()
        self.context.events.start()
        await build(self.context, timings, permits)

    async def stop(self) -> None:
        """End it as at SIGTERM."""
        for hook in self.context.drain_hooks:
            await hook()
        await self.context.events.close()
        await self.context.tasks.close()
        for link in self._links:
            await link.close()
        await self.context.database.close()


class Senders:
    """Senders in this process, by their names in EHLO, and the queues around them.

    `timings` and `permits` are theirs, `settings` what each has beside what its start says.
    """

    def __init__(self, amqp_url: str, mongodb_uri: str, spool: Path) -> None:
        self.timings = Timings()
        self.permits: Callable[[str], bool] = is_public_text
        self.settings: dict[str, Any] = {
            "amqp_url": amqp_url,
            "mongodb_uri": mongodb_uri,
            "secret": ("a secret for tests only",),
        }
        self.events: list[Event] = []
        self.failures: list[tuple[DeliveryFailure, bytes]] = []
        self.queues = Queues(amqp_url)
        self.database = Database(mongodb_uri, patience=PATIENCE)
        self._spool = spool
        self._running: dict[str, _Running] = {}
        self._link = BrokerLink(amqp_url, "test")
        self._publisher = Publisher(self._link)

    async def open(self) -> None:
        """Connect to hand messages in."""
        self._link.start()
        await self._link.up.wait()

    async def start(
        self, routes: list[dict[str, Any]], *, name: str = "me.test", **more: Any
    ) -> ServiceContext[Settings]:
        """Start a sender; `more` are settings, those of several values as JSON."""
        given = {
            key: json.dumps(value) if isinstance(value, list | dict) else value
            for key, value in (self.settings | more).items()
        }
        running = _Running(
            Settings(
                hostname=name,
                spool_dir=self._spool / name,
                routes=json.dumps(routes),
                **given,
            )
        )
        self._running[name] = running
        await running.start(self.timings, self.permits)
        return running.context

    async def stop(self, name: str = "me.test") -> None:
        """End a sender as at SIGTERM."""
        await self._running.pop(name).stop()

    async def close(self) -> None:
        """End all of them."""
        for name in list(self._running):
            await self.stop(name)
        await self.database.close()
        await self._link.close()

    async def hand_in(
        self, *addresses: str, octets: bytes = MIME, **changes: Any
    ) -> OutboundMessage:
        """Put one message on the shard of its first address."""
        values = {
            "mail_from": "bounce+x@bounce.test",
            "expires": time.time() + 3600,
            "size": len(octets),
            **changes,
        }
        message = factories.outbound(*addresses, **values)
        await self._publisher.publish(
            topology.OUTBOUND.name, _domain(addresses[0]), encode(message, octets)
        )
        return message

    async def put(self, *addresses: str, shard: str = "") -> None:
        """Put a message for each address on `shard`, or on the shard of its domain."""
        exchange = "" if shard else topology.OUTBOUND.name
        batch = [
            (
                exchange,
                shard or _domain(address),
                encode(factories.outbound(address), MIME),
            )
            for address in addresses
        ]
        for start in range(0, len(batch), 500):
            await self._publisher.publish_many(batch[start : start + 500])

    async def read(self) -> None:
        """Take what is on the queues of events and failures."""
        self.events += await self.queues.events()
        self.failures += await self.queues.failures()

    def named(self, *names: EventName) -> list[Event]:
        """Return the events read so far with one of these names."""
        return [event for event in self.events if event.event in names]

    async def told(self, name: EventName, count: int = 1) -> list[Event]:
        """Wait until `count` events of that name were written."""

        async def enough() -> bool:
            await self.read()
            return len(self.named(name)) >= count

        await until(enough, what=f"{count} events {name} are written")
        return self.named(name)


def _domain(address: str) -> str:
    return address.partition("@")[2]


@pytest.fixture
async def senders(amqp_url: str, mongodb_uri: str, tmp_path: Path) -> AsyncIterator[Senders]:
    """Yield senders, none of them started."""
    found = Senders(amqp_url, mongodb_uri, tmp_path)
    await found.open()
    yield found
    await found.close()


@pytest.fixture
async def name_server() -> AsyncIterator[NameServer]:
    async with running_name_server() as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests: keys take time."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem").context()


@pytest.fixture
async def dialog(server_tls: ssl.SSLContext) -> AsyncIterator[Start]:
    """Start a server that plays the named dialog; what is said otherwise fails the test."""
    async with dialog_servers(Path(__file__).parent / "dialogs", server_tls) as start:
        yield start


class _Reader(asyncio.StreamReader):
    """What a client sends; it `has_ended` as soon as the client is gone, whatever is unread."""

    has_ended = False

    def feed_eof(self) -> None:
        self.has_ended = True
        super().feed_eof()

    def set_exception(self, exc: BaseException | type[BaseException]) -> None:
        self.has_ended = True
        super().set_exception(exc)


class Sink:
    """A receiving server that does as told and remembers what it took.

    `refuse` maps the start of a recipient address to replies given to its RCPT, one after the
    other; the last repeats. `gate` holds back the reply to the final dot while it is closed, and
    `pause` for some seconds. `most_open` and `most_owners` are the most connections, and
    by their names in EHLO, that there were at the same time.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], bytes]] = []
        self.refuse: dict[str, list[str]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.dsn = False
        self.tls: ssl.SSLContext | None = None
        self.requiretls = False
        self.commands: list[str] = []  # of MAIL, with "TLS " before those that were protected
        self.most_connections = 1000
        self.connections = 0
        self.refused = 0
        self.pause = 0.0
        self.most_open = 0
        self.most_owners = 0
        self._readers: set[_Reader] = set()
        self._clients: dict[_Reader, str] = {}
        self.host = "127.0.0.1"
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def recipients(self) -> list[str]:
        """Every address a message was taken for, in order."""
        return [address for _, addresses, _ in self.taken for address in addresses]

    @property
    def open(self) -> int:
        """How many connections there are."""
        return sum(not reader.has_ended for reader in self._readers)

    def owners(self) -> set[str]:
        """Return the clients that are connected now, by their names in EHLO."""
        return {name for reader, name in self._clients.items() if not reader.has_ended}

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(_Reader(67_108_864, loop), self._serve, loop)

        self._server = await loop.create_server(protocol, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert isinstance(reader, _Reader)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self._readers.add(reader)
        self.most_open = max(self.most_open, self.open)
        try:
            if self.open > self.most_connections:
                self.refused += 1
                writer.write(b"421 4.7.0 too many connections\r\n")
                await writer.drain()
            else:
                writer.write(b"220 sink.test\r\n")
                await self._talk(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._readers.discard(reader)
            self._clients.pop(reader, None)
            writer.close()

    def _greet(self, name: str, reader: _Reader) -> None:
        self._clients[reader] = name
        self.most_owners = max(self.most_owners, len(self.owners()))

    async def _talk(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        sender, recipients = "", []
        secure = False
        while True:
            line = (await reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")
            match line[:4].upper():
                case "EHLO":
                    self._greet(line[5:], reader)
                    offered = ["sink.test", "PIPELINING", "8BITMIME", "SIZE 99999999"]
                    offered += ["DSN"] if self.dsn else []
                    offered += ["STARTTLS"] if self.tls is not None and not secure else []
                    offered += ["REQUIRETLS"] if self.requiretls and secure else []
                    lines = [f"250-{word}\r\n" for word in offered[:-1]]
                    writer.write("".join([*lines, f"250 {offered[-1]}\r\n"]).encode())
                case "STAR" if self.tls is not None:
                    writer.write(b"220 2.0.0 go\r\n")
                    await writer.start_tls(self.tls)
                    secure = True
                case "MAIL":
                    self.commands.append(f"TLS {line}" if secure else line)
                    sender, recipients = line.partition("<")[2].partition(">")[0], []
                    writer.write(b"250 2.1.0 ok\r\n")
                case "RCPT":
                    address = line.partition("<")[2].partition(">")[0]
                    reply = self._reply_to(address)
                    if reply.startswith("250"):
                        recipients.append(address)
                    writer.write(f"{reply}\r\n".encode())
                case "DATA":
                    if not recipients:
                        writer.write(b"554 5.5.1 no recipients\r\n")
                        continue
                    writer.write(b"354 go\r\n")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    await self.gate.wait()
                    if self.pause:
                        await asyncio.sleep(self.pause)
                    self.taken.append((sender, recipients, data[:-3]))
                    writer.write(b"250 2.0.0 queued\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                case _:
                    writer.write(b"250 ok\r\n")

    def _reply_to(self, address: str) -> str:
        for start, replies in self.refuse.items():
            if address.startswith(start):
                return replies.pop(0) if len(replies) > 1 else replies[0]
        return "250 2.1.5 ok"


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """Return a receiving server on loopback."""
    sink = Sink()
    await sink.start()
    yield sink
    await sink.stop()


@pytest.fixture
async def more_sinks() -> AsyncIterator[Callable[[], Awaitable[Sink]]]:
    """Further receiving servers."""
    async with AsyncExitStack() as stack:

        async def start() -> Sink:
            sink = Sink()
            await sink.start()
            stack.push_async_callback(sink.stop)
            return sink

        yield start
