"""The real service on a real RabbitMQ and MongoDB, and a client that speaks lines.

It runs as a process of its own (`start_ingress`), or, where only limits and settings differ, as
listeners on a thread of this process (`ingress_with`): milliseconds instead of a second.
"""

import asyncio
import base64
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import uvloop

from postroad_common import secrets as passwords
from postroad_common.broker import topology
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.health import Health
from postroad_common.mail.feedbackloop import FeedbackAddresses
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode
from postroad_common.schemas.returns import Return
from postroad_common.schemas.submission import Submission
from postroad_common.service import ServiceContext
from postroad_common.settings import load
from postroad_common.store.database import Database
from postroad_common.tokens import Keyring
from postroad_ingress_smtp.main import open_listeners
from postroad_ingress_smtp.settings import Settings
from postroad_stack.certificates import Certificates, ensure_certificates
from postroad_stack.stack import Stack
from postroad_testing.lineclient import LineClient

SECRET = "a-secret-of-the-tests-long-enough"
BOUNCE_DOMAIN = "bounce.postroad.test"
PATIENCE = 90.0  # seconds; reached only by a failing test
IMPATIENT = (
    "from postroad_common import memory; memory.INTERVAL = {seconds};"
    "from postroad_ingress_smtp.main import main; main()"
)
"""The service with another `memory.INTERVAL`."""


@dataclass(frozen=True)
class Servers:
    """Where RabbitMQ and MongoDB are; `stack` if they are ours to kill."""

    amqp_url: str
    mongodb_uri: str
    stack: Stack


@dataclass(frozen=True)
class Login:
    username: str
    password: str

    @property
    def plain(self) -> str:
        return base64.b64encode(f"\0{self.username}\0{self.password}".encode()).decode()


@pytest.fixture(scope="session")
def servers(
    own_servers: Stack | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """Give a RabbitMQ and a MongoDB that no other test uses now: they get killed, too."""
    given = os.environ.get("POSTROAD_TEST_INGRESS_SMTP_STATE")  # to reuse a pair while developing
    if own_servers is not None and not given:
        document = own_servers.document
        yield Servers(document.amqp, document.mongodb, own_servers)
        return
    folder = Path(given) if given else tmp_path_factory.mktemp("servers")
    stack = Stack.start(folder, only=("rabbitmq", "mongod"))
    try:
        document = stack.document
        yield Servers(document.amqp, document.mongodb, stack)
    finally:
        if not given:
            stack.stop(wipe=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return ensure_certificates(tmp_path_factory.mktemp("tls"), ["localhost", "127.0.0.1"])


def _in_database(uri: str, work: Callable[[Database], Any]) -> Any:
    async def run() -> Any:
        database = Database(uri)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


@pytest.fixture(scope="session")
def new_login(servers: Servers) -> Callable[..., Login]:
    """Return what makes a login; keyword arguments as `Credentials.create`, and `disabled`."""

    def make(*, disabled: bool = False, **fields: Any) -> Login:
        login = Login(passwords.new_username(), passwords.new_password())

        async def create(database: Database) -> None:
            await database.credentials.create(
                **{
                    "account": "acme",
                    "username": login.username,
                    "password_hash": passwords.hash_password(login.password),
                    "name": "test",
                    "features": Features(clicktracking=True),
                    **fields,
                }
            )
            if disabled:
                await database.credentials.update("acme", login.username, {"disabled": True})

        _in_database(servers.mongodb_uri, create)
        return login

    return make


@pytest.fixture(scope="session")
def login(new_login: Callable[..., Login]) -> Login:
    return new_login()


@pytest.fixture
def change_login(servers: Servers) -> Callable[[Login, Mapping[str, Any]], None]:
    """Return what changes fields of a login; `password` rotates it."""

    def change(login: Login, changes: Mapping[str, Any]) -> None:
        async def update(database: Database) -> None:
            if "password" in changes:
                await database.credentials.rotate(
                    "acme", login.username, passwords.hash_password(changes["password"])
                )
            else:
                await database.credentials.update("acme", login.username, changes)

        _in_database(servers.mongodb_uri, update)

    return change


@pytest.fixture(scope="session")
def bounce_addresses() -> BounceAddresses:
    return BounceAddresses(Keyring((SECRET,)), BOUNCE_DOMAIN)


@pytest.fixture(scope="session")
def feedback_addresses() -> FeedbackAddresses:
    return FeedbackAddresses(Keyring((SECRET,)), BOUNCE_DOMAIN)


@dataclass
class Broker:
    """The queues behind the service, for looking at what it published."""

    url: str

    def take(self, count: int, queue_name: str = topology.ACCEPTED.name) -> list[bytes]:
        """Exactly the next `count` frames of the queue."""

        async def run() -> list[bytes]:
            connection = await aio_pika.connect(self.url)
            async with connection:
                channel = await connection.channel()
                declared = await channel.get_queue(queue_name)
                frames: list[bytes] = []
                async with asyncio.timeout(PATIENCE):
                    while len(frames) < count:
                        message = await declared.get(fail=False)
                        if message is not None:
                            await message.ack()
                            frames.append(message.body)
                return frames

        return asyncio.run(run())

    def count(self, queue_name: str = topology.ACCEPTED.name) -> int:
        """How many messages are on the queue."""

        async def run() -> int:
            connection = await aio_pika.connect(self.url)
            async with connection:
                channel = await connection.channel()
                declared = await channel.declare_queue(queue_name, passive=True)
                return int(declared.declaration_result.message_count or 0)

        return asyncio.run(run())

    def purge(self) -> None:
        """Forget what earlier tests left."""

        async def run() -> None:
            connection = await aio_pika.connect(self.url)
            async with connection:
                channel = await connection.channel()
                for name in (topology.ACCEPTED.name, topology.RETURNS.name, topology.EVENTS.name):
                    await (await channel.get_queue(name)).purge()

        asyncio.run(run())

    def submission(self) -> tuple[Submission, bytes]:
        submission, body = decode(Submission, self.take(1)[0])
        return submission, bytes(body)

    def returned(self) -> tuple[Return, bytes]:
        returned, body = decode(Return, self.take(1, topology.RETURNS.name)[0])
        return returned, bytes(body)


@pytest.fixture
def broker(servers: Servers) -> Broker:
    broker = Broker(servers.amqp_url)
    broker.purge()
    return broker


@dataclass
class Listening:
    """An ingress-smtp that listens, wherever it runs."""

    certificates: Certificates
    ports: dict[str, int] = field(default_factory=dict)

    def client(self, listener: str = "submission", **options: Any) -> LineClient:
        return LineClient(self.ports[listener], self.certificates.ca, **options)

    def secure_client(self, login: Login | None = None) -> LineClient:
        """Return a client after STARTTLS, EHLO and, with a login, AUTH."""
        client = self.client()
        client.expect("220 ")
        client.ask("EHLO client.test", "250")
        client.ask("STARTTLS", "220")
        client.start_tls()
        client.ask("EHLO client.test", "250")
        if login is not None:
            client.ask(f"AUTH PLAIN {login.plain}", "235")
        return client


@dataclass
class Ingress(Listening):
    """A running ingress-smtp process."""

    process: "subprocess.Popen[str] | None" = None
    log: list[dict[str, Any]] = field(default_factory=list)
    _lines: "queue.Queue[str | None]" = field(default_factory=queue.Queue)

    def wait_started(self) -> None:
        def read() -> None:
            assert self.process is not None
            assert self.process.stdout is not None
            for line in self.process.stdout:
                self._lines.put(line)
            self._lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        deadline = time.monotonic() + PATIENCE
        while "operations" not in self.ports:
            assert time.monotonic() < deadline, self.log
            self._take_line(1.0)
        while not self.ready():
            assert time.monotonic() < deadline, self.log
            self.drain_log(0.05)

    def _take_line(self, patience: float) -> bool:
        try:
            line = self._lines.get(timeout=patience)
        except queue.Empty:
            return False
        assert line is not None, f"the service ended: {self.log}"
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            self.log.append(entry)
            if entry["event"] == "listening":
                self.ports[entry["listener"]] = entry["port"]
            elif entry["event"] == "started":
                self.ports["operations"] = entry["operations_port"]
        return True

    def drain_log(self, patience: float = 0.0) -> None:
        while self._take_line(patience):
            patience = 0.0

    def wait_log(self, event: str) -> dict[str, Any]:
        """Return the first log entry of that name, as soon as it is there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for entry in self.log:
                if entry["event"] == event:
                    return entry
            assert time.monotonic() < deadline, self.log
            with contextlib.suppress(AssertionError):
                self._take_line(0.1)

    def get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.ports['operations']}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    def ready(self) -> bool:
        try:
            return bool(json.loads(self.get("/readyz"))["ready"])
        except OSError:
            return False

    def metric(self, line: str) -> float:
        """Return the value of the metric with this name and labels; 0.0 if it is not there yet."""
        for row in self.get("/metrics").splitlines():
            if row.startswith(line + " "):
                return float(row.rpartition(" ")[2])
        return 0.0

    def resident(self) -> int:
        """Octets of memory in use."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii")
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def _environment(
    servers: Servers, certificates: Certificates, limits: Mapping[str, Any] | None, **more: str
) -> dict[str, str]:
    """Return the settings of an ingress; `more` are others in capitals, without the prefix."""
    settings = {
        "AMQP_URL": servers.amqp_url,
        "MONGODB_URI": servers.mongodb_uri,
        "SECRET": SECRET,
        "HOSTNAME": "mail.postroad.test",
        "BOUNCE_DOMAIN": BOUNCE_DOMAIN,
        "METRICS_PORT": "0",
        "SMTP_PORT": "0",
        "SMTPS_PORT": "0",
        "MX_PORT": "0",
        "TLS_CERT": str(certificates.certificate),
        "TLS_KEY": str(certificates.key),
        "LIMITS": json.dumps({"smtp": {"auth_delay_seconds": 0, **(limits or {})}}),
        **more,
    }
    return {f"POSTROAD_{name}": value for name, value in settings.items()}


@pytest.fixture(scope="session")
def start_ingress(servers: Servers, certificates: Certificates) -> Iterator[Callable[..., Ingress]]:
    """Return what starts a process; its keywords are `limits` and settings in capitals.

    With `tidy_seconds` it gives memory back so often, instead of every 20 seconds.
    """
    started: list[Ingress] = []

    def start(
        limits: Mapping[str, Any] | None = None,
        *,
        tidy_seconds: float | None = None,
        **settings: str,
    ) -> Ingress:
        program = ["-m", "postroad_ingress_smtp"]
        if tidy_seconds is not None:
            program = ["-c", IMPATIENT.format(seconds=tidy_seconds)]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")
        } | _environment(servers, certificates, limits, **settings)
        process = subprocess.Popen(
            [sys.executable, *program],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        ingress = Ingress(certificates, process=process)
        started.append(ingress)
        ingress.wait_started()
        return ingress

    yield start
    for ingress in started:
        if ingress.process.poll() is None:
            ingress.process.kill()
        ingress.process.wait(PATIENCE)


class Thread:
    """An event loop on a thread of its own, with the connections that its listeners share."""

    def __init__(self, servers: Servers) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._connect(servers))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    async def _connect(self, servers: Servers) -> None:
        self.link = BrokerLink(servers.amqp_url, "tests", declare=True)
        self.publisher = Publisher(self.link)
        self.events = EventWriter(self.publisher)
        self.database = Database(servers.mongodb_uri)
        self.link.start()
        self.events.start()
        await self.link.up.wait()

    async def open(self, settings: Settings) -> "tuple[ServiceContext[Settings], dict[str, int]]":
        context = ServiceContext(
            name="ingress-smtp",
            settings=settings,
            link=self.link,
            publisher=self.publisher,
            events=self.events,
            database=self.database,
            health=Health(),
        )
        listeners = await open_listeners(context)
        return context, {listener.name: listener.port for listener in listeners}

    async def close(self, context: "ServiceContext[Settings]") -> None:
        for hook in context.drain_hooks:
            await hook()
        await context.tasks.close()

    def stop(self) -> None:
        async def disconnect() -> None:
            await self.events.close()
            await self.link.close()
            await self.database.close()

        self.run(disconnect())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


@pytest.fixture(scope="session")
def thread(servers: Servers) -> Iterator[Thread]:
    thread = Thread(servers)
    yield thread
    thread.stop()


@pytest.fixture(scope="session")
def ingress_with(
    servers: Servers, certificates: Certificates, thread: Thread
) -> Iterator[Callable[..., Listening]]:
    """Return listeners with these `limits` and settings, one for each set of them."""
    opened: dict[str, tuple[ServiceContext[Settings], Listening]] = {}

    def open_with(limits: Mapping[str, Any] | None = None, **settings: str) -> Listening:
        key = json.dumps([limits, settings], sort_keys=True)
        if key not in opened:
            with pytest.MonkeyPatch.context() as patch:
                for name in os.environ:
                    if name.startswith("POSTROAD_") and not name.startswith("POSTROAD_TEST_"):
                        patch.delenv(name)
                for name, value in _environment(servers, certificates, limits, **settings).items():
                    patch.setenv(name, value)
                read = load(Settings)
            context, ports = thread.run(thread.open(read))
            opened[key] = context, Listening(certificates, ports)
        return opened[key][1]

    yield open_with
    for context, _ in opened.values():
        thread.run(thread.close(context))


@pytest.fixture(scope="session")
def common_ingress(start_ingress: Callable[..., Ingress]) -> Ingress:
    return start_ingress()


@pytest.fixture
def ingress(common_ingress: Ingress) -> Ingress:
    """One process with the default limits, but failed logins answered at once."""
    deadline = time.monotonic() + PATIENCE
    while not common_ingress.ready():  # an earlier test may have taken its broker away
        assert time.monotonic() < deadline
        common_ingress.drain_log(0.05)
    return common_ingress
