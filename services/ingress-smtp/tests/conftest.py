"""The real service on a real RabbitMQ and MongoDB, and a client that speaks lines.

It runs as a process of its own (`start_ingress`), or, where only limits and settings differ, as
listeners on a thread of this process (`ingress_with`): milliseconds instead of a second.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from postroad_common import secrets as passwords
from postroad_common.broker import topology
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.health import Health
from postroad_common.mail.feedbackloop import FeedbackAddresses
from postroad_common.mail.identifiers import new_id
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.features import Features
from postroad_common.schemas.framing import decode
from postroad_common.schemas.returns import Return
from postroad_common.schemas.submission import Submission
from postroad_common.service import ServiceContext
from postroad_common.settingsloading import load
from postroad_common.store.accounts import Account
from postroad_common.store.database import Database
from postroad_common.store.rollups import RollupKey
from postroad_common.tokens import Keyring
from postroad_ingress_smtp.main import open_listeners
from postroad_ingress_smtp.settings import Settings
from postroad_stack.certificates import Certificates, ensure_certificates
from postroad_stack.stack import Stack
from postroad_testing.lineclient import LineClient
from postroad_testing.process import ServiceProcess
from postroad_testing.queues import Queues
from postroad_testing.waiting import PATIENCE, until, wait_until

SECRET = "a-secret-of-the-tests-long-enough"
BOUNCE_DOMAIN = "bounce.postroad.test"
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
def strict_accounts(servers: Servers) -> None:
    """Make an account that sends from what it has verified, one suspended, one at its limit."""

    async def create(database: Database) -> None:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
        await database.accounts.create(Account("strict", verified_senders_only=True))
        await database.accounts.create(Account("suspended", suspended=True))
        await database.accounts.create(Account("limited", limits={"messages_per_day": 2}))
        for day in (today, tomorrow):
            await database.rollups.add(new_id(), {RollupKey("limited", day, ""): {"accepted": 2}})
        await database.domains.create("strict", "verified.example", "proof", [], trusted=True)
        await database.domains.create("strict", "pending.example", "proof", [])

    _in_database(servers.mongodb_uri, create)


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


class Broker:
    """The queues after the service, for looking at what it published."""

    def __init__(self, amqp_url: str) -> None:
        self._queues = Queues(amqp_url)

    def take(self, count: int, queue_name: str = topology.ACCEPTED.name) -> list[bytes]:
        """Exactly the next `count` frames of the queue."""
        frames: list[bytes] = []

        async def enough() -> bool:
            frames.extend(await self._queues.take(queue_name, count - len(frames)))
            return len(frames) == count

        asyncio.run(until(enough, what=f"{count} frames are on {queue_name}"))
        return frames

    def count(self, queue_name: str = topology.ACCEPTED.name) -> int:
        """How many messages are on the queue."""
        return asyncio.run(self._queues.depth(queue_name))

    def purge(self) -> None:
        """Forget what earlier tests left."""
        names = (topology.ACCEPTED.name, topology.RETURNS.name, topology.EVENTS.name)
        asyncio.run(self._queues.purge(*names))

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


class Ingress(Listening):
    """A running ingress-smtp process."""

    def __init__(self, certificates: Certificates, process: ServiceProcess) -> None:
        super().__init__(certificates)
        self.process = process
        process.start().wait_logged("started")
        self.ports |= {each["listener"]: each["port"] for each in process.entries("listening")}
        wait_until(self.ready, what=f"ingress-smtp is ready: {process.text()}")

    def ready(self) -> bool:
        return self.process.is_ready()

    def wait_log(self, event: str) -> dict[str, Any]:
        """Return the first log entry of that name, as soon as it is there."""
        return self.process.wait_logged(event)

    def metric(self, line: str) -> float:
        """Return the value of the metric with this name and labels; 0.0 if it is not there yet."""
        return self.process.metric(line)

    def stop(self) -> int:
        """End it as the system does, and return its exit code."""
        self.process.send(signal.SIGTERM)
        return self.process.wait()


def _settings(
    servers: Servers, certificates: Certificates, limits: Mapping[str, Any] | None, **more: str
) -> dict[str, str]:
    """Return the settings of an ingress; `more` are others in capitals, without the prefix."""
    return {
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


@pytest.fixture(scope="session")
def start_ingress(
    servers: Servers, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Ingress]]:
    """Return what starts a process; its keywords are `limits` and settings in capitals.

    With `tidy_seconds` it gives memory back so often, instead of every 20 seconds.
    """
    folder = tmp_path_factory.mktemp("ingress-smtp")
    with contextlib.ExitStack() as stack:
        numbers = itertools.count()

        def start(
            limits: Mapping[str, Any] | None = None,
            *,
            tidy_seconds: float | None = None,
            **settings: str,
        ) -> Ingress:
            process = ServiceProcess(
                "ingress-smtp",
                folder / f"{next(numbers)}.log",
                code=None if tidy_seconds is None else IMPATIENT.format(seconds=tidy_seconds),
                **_settings(servers, certificates, limits, **settings),
            )
            return Ingress(certificates, stack.enter_context(process))

        yield start


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
                given = _settings(servers, certificates, limits, **settings)
                for name, value in given.items():
                    patch.setenv(f"POSTROAD_{name}", value)
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
    wait_until(common_ingress.ready)  # an earlier test may have taken its broker away
    return common_ingress
