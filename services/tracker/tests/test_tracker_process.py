"""The tracker as a process, with a real broker behind a line that can be cut."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from yarl import URL

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import Event
from postroad_common.tokens import Keyring, LinkSigner
from postroad_testing.forwarder import Forwarder
from postroad_testing.ports import free_port
from postroad_testing.process import SECRET, ServiceProcess
from postroad_testing.queues import Queues
from postroad_testing.waiting import until

IMPATIENT = (
    "from postroad_common.broker import link; from postroad_tracker import forwarder;"
    "link._LONGEST_PAUSE = forwarder._MAX_PAUSE = 0.5;"
    "from postroad_tracker.main import main; main()"
)
"""The service; it does not wait long before it tries the broker again."""
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"}


class Tracker:
    """A tracker process that listens on one port over its lives."""

    def __init__(self, amqp_url: str, spool: Path) -> None:
        port = free_port()
        self.signer = LinkSigner(Keyring([SECRET]), f"http://127.0.0.1:{port}")
        self.process = ServiceProcess(
            "tracker",
            spool.parent / "tracker.log",
            code=IMPATIENT,
            AMQP_URL=amqp_url,
            MONGODB_URI="mongodb://127.0.0.1:9/nowhere",
            TRACKER_PORT=str(port),
            TRACKING_URL=self.signer.base_url,
            SPOOL_DIR=str(spool),
        )
        self.client = httpx.AsyncClient(headers=BROWSER, trust_env=False, timeout=90)

    async def start(self) -> None:
        self.process.start()
        await until(self._answers, what=f"the tracker answers: {self.process.text()}")

    async def _answers(self) -> bool:
        try:
            await self.client.get(f"{self.signer.base_url}/robots.txt")
        except httpx.TransportError:
            return False
        return True

    async def click(self, message: str) -> None:
        answer = await self.client.get(self.signer.click(message, 0, b"https://example.com/x"))
        assert answer.status_code == 302
        assert answer.headers["location"] == "https://example.com/x"


class Arrived:
    """What has arrived on the queue of events."""

    def __init__(self, amqp_url: str) -> None:
        self._queues = Queues(amqp_url)
        self.events: dict[str, Event] = {}

    async def until(self, messages: set[str]) -> None:
        """Wait until something is told of all of these messages."""

        async def told() -> bool:
            self.events |= {event.id: event for event in await self._queues.events()}
            return messages <= {event.message for event in self.events.values()}

        await until(told)


@pytest.fixture
def arrived(amqp_url: str) -> Arrived:
    return Arrived(amqp_url)


@pytest.fixture
async def line(amqp_url: str) -> AsyncIterator[Forwarder]:
    line, _ = Forwarder.to(amqp_url, 5672)
    yield line
    await line.close()


@pytest.fixture
async def tracker(amqp_url: str, line: Forwarder, tmp_path: Path) -> AsyncIterator[Tracker]:
    url = URL(amqp_url).with_host("127.0.0.1").with_port(line.port)
    tracker = Tracker(str(url), tmp_path / "spool")
    with tracker.process:
        yield tracker
    await tracker.client.aclose()


async def test_readers_are_served_and_counted_though_broker_and_database_came_late(
    tracker: Tracker, line: Forwarder, arrived: Arrived
):
    await tracker.start()
    messages = {new_id() for _ in range(20)}
    for message in messages:
        await tracker.click(message)
    await line.open()
    await arrived.until(messages)
    assert len(arrived.events) == 20


async def test_clicks_survive_a_cut_line_and_the_death_of_the_process(
    tracker: Tracker, line: Forwarder, arrived: Arrived
):
    await line.open()
    await tracker.start()
    before = new_id()
    await tracker.click(before)
    await arrived.until({before})
    await line.close()
    during = {new_id() for _ in range(50)}
    for message in during:
        await tracker.click(message)
    await tracker.process.kill()
    await tracker.start()
    after = new_id()
    await tracker.click(after)
    await line.open()
    await arrived.until({*during, after})
    assert len(arrived.events) == 52


async def test_kill_in_the_moment_after_the_click_loses_nothing(
    tracker: Tracker, line: Forwarder, arrived: Arrived
):
    await line.open()
    messages = set()
    for _ in range(2):
        await tracker.start()
        message = new_id()
        messages.add(message)
        await tracker.click(message)
        await tracker.process.kill()
    await tracker.start()
    await arrived.until(messages)


async def test_sigterm_forwards_what_is_held_at_once(
    tracker: Tracker, line: Forwarder, arrived: Arrived
):
    await line.open()
    await tracker.start()
    first = new_id()
    await tracker.click(first)
    await arrived.until({first})
    messages = {new_id() for _ in range(10)}
    for message in messages:
        await tracker.click(message)
    assert await tracker.process.end() == 0
    await arrived.until(messages)
