"""The tracker as a process, with a real broker behind a line that can be cut."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import httpx
import pytest
from yarl import URL

from postroad_common.broker.topology import EVENTS
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event, EventBatch
from postroad_common.schemas.framing import decode
from postroad_common.tokens import Keyring, LinkSigner
from postroad_testing.ports import free_port

IMPATIENT = (
    "from postroad_common.broker import link; from postroad_tracker import forwarder;"
    "link._LONGEST_PAUSE = forwarder._MAX_PAUSE = 0.5;"
    "from postroad_tracker.main import main; main()"
)
"""The service; it does not wait long before it tries the broker again."""
SECRET = "the secret of these tests"
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"}


class Line:
    """A TCP line to the broker on a fixed port, to be cut and mended."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there, back = await asyncio.open_connection(*self._target)
            try:
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
            finally:
                back.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


class Tracker:
    """A tracker process that listens on one port over its lives."""

    def __init__(self, amqp_url: str, spool: Path) -> None:
        self.port = free_port()
        self.signer = LinkSigner(Keyring([SECRET]), f"http://127.0.0.1:{self.port}")
        self._log = (spool.parent / "tracker.log").open("ab")
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")
        } | {
            "POSTROAD_AMQP_URL": amqp_url,
            "POSTROAD_MONGODB_URI": "mongodb://127.0.0.1:9/nowhere",
            "POSTROAD_SECRET": SECRET,
            "POSTROAD_TRACKER_PORT": str(self.port),
            "POSTROAD_TRACKING_URL": self.signer.base_url,
            "POSTROAD_METRICS_PORT": "0",
            "POSTROAD_SPOOL_DIR": str(spool),
        }
        self._process: asyncio.subprocess.Process | None = None
        self.client = httpx.AsyncClient(headers=BROWSER, trust_env=False, timeout=90)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            IMPATIENT,
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )
        async with asyncio.timeout(90):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await self.client.get(f"{self.signer.base_url}/robots.txt")
                    return
                await asyncio.sleep(0.02)

    async def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), 90)

    async def click(self, message: str) -> None:
        answer = await self.client.get(self.signer.click(message, 0, b"https://example.com/x"))
        assert answer.status_code == 302
        assert answer.headers["location"] == "https://example.com/x"

    async def close(self) -> None:
        await self.end(signal.SIGKILL)
        await self.client.aclose()
        self._log.close()


class Queue:
    """What has arrived on the queue of events."""

    def __init__(self, queue: aio_pika.abc.AbstractQueue) -> None:
        self._queue = queue
        self.events: dict[str, Event] = {}

    async def until(self, messages: set[str], seconds: float = 90.0) -> None:
        async with asyncio.timeout(seconds):
            while not messages <= {event.message for event in self.events.values()}:
                got = await self._queue.get(fail=False)
                if got is None:
                    await asyncio.sleep(0.05)
                    continue
                batch, _ = decode(EventBatch, got.body)
                self.events |= {event.id: event for event in batch.events}
                await got.ack()


@pytest.fixture
async def queue(amqp_url: str) -> AsyncIterator[Queue]:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        yield Queue(await channel.get_queue(EVENTS.name))


@pytest.fixture
async def line(amqp_url: str) -> AsyncIterator[Line]:
    url = URL(amqp_url)
    line = Line(url.host or "", url.port or 5672)
    yield line
    await line.cut()


@pytest.fixture
async def tracker(amqp_url: str, line: Line, tmp_path: Path) -> AsyncIterator[Tracker]:
    url = URL(amqp_url).with_host("127.0.0.1").with_port(line.port)
    tracker = Tracker(str(url), tmp_path / "spool")
    yield tracker
    await tracker.close()


async def test_readers_are_served_and_counted_though_broker_and_database_came_late(
    tracker: Tracker, line: Line, queue: Queue
):
    await tracker.start()
    messages = {new_id() for _ in range(20)}
    for message in messages:
        await tracker.click(message)
    await line.mend()
    await queue.until(messages)
    assert len(queue.events) == 20


async def test_clicks_survive_a_cut_line_and_the_death_of_the_process(
    tracker: Tracker, line: Line, queue: Queue
):
    await line.mend()
    await tracker.start()
    before = new_id()
    await tracker.click(before)
    await queue.until({before})
    await line.cut()
    during = {new_id() for _ in range(50)}
    for message in during:
        await tracker.click(message)
    await tracker.end(signal.SIGKILL)
    await tracker.start()
    after = new_id()
    await tracker.click(after)
    await line.mend()
    await queue.until({*during, after})
    assert len(queue.events) == 52


async def test_kill_in_the_moment_after_the_click_loses_nothing(
    tracker: Tracker, line: Line, queue: Queue
):
    await line.mend()
    messages = set()
    for _ in range(2):
        await tracker.start()
        message = new_id()
        messages.add(message)
        await tracker.click(message)
        await tracker.end(signal.SIGKILL)
    await tracker.start()
    await queue.until(messages)


async def test_sigterm_forwards_what_is_held_at_once(tracker: Tracker, line: Line, queue: Queue):
    await line.mend()
    await tracker.start()
    first = new_id()
    await tracker.click(first)
    await queue.until({first})
    messages = {new_id() for _ in range(10)}
    for message in messages:
        await tracker.click(message)
    assert await tracker.end(signal.SIGTERM) == 0
    await queue.until(messages)
