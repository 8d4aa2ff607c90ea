"""The whole application, in this process, on real RabbitMQ and MongoDB.

`Site` is built as `main` builds it; requests go through ASGI, or through a real socket where that
is the point. `Gate` is a TCP forwarder that tests close to make a server go away.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aio_pika
import httpx
import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from starlette.types import ASGIApp
from yarl import URL

from postroad_common.broker import BrokerLink, EventWriter, Publisher
from postroad_common.broker.topology import ACCEPTED
from postroad_common.health import Health
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.framing import decode
from postroad_common.schemas.submission import Submission
from postroad_common.service import ServiceContext
from postroad_common.store import Database
from postroad_ingress_http import application
from postroad_ingress_http.access.bootstrap import Bootstrap
from postroad_ingress_http.dependencies import Dependencies
from postroad_ingress_http.main import build_dashboard, build_dependencies, build_limits
from postroad_ingress_http.settings import Settings

TOKEN = "pr_token_of_the_tests_0123456789"
EMAIL = "admin@example.com"
PASSWORD = "correct horse battery"


@dataclass
class Site:
    """The application and what stands behind it."""

    app: ASGIApp
    dependencies: Dependencies
    database: Database
    context: ServiceContext[Settings]
    amqp_url: str
    token: str = TOKEN
    email: str = EMAIL
    password: str = PASSWORD

    def client(self, address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        """Return a client of the API with a token that may do everything."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(
                self.app, raise_app_exceptions=False, client=(address, 1234)
            ),
            base_url="http://postroad.test",
            headers={"Authorization": f"Bearer {TOKEN}", **headers},
        )

    async def submissions(self) -> list[tuple[Submission, bytes]]:
        """Take what lies on the queue of the transformer."""
        found = []
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            queue = await (await connection.channel()).get_queue(ACCEPTED.name)
            while (message := await queue.get(fail=False)) is not None:
                submission, body = decode(Submission, message.body)
                found.append((submission, bytes(body)))
                await message.ack()
        return found

    async def empty(self) -> None:
        """Nothing is left on the queue of the transformer, whoever put it there."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            await (await (await connection.channel()).get_queue(ACCEPTED.name)).purge()

    @staticmethod
    def csrf_of(page: str) -> str:
        """Return the token of the forms on a page."""
        found = re.search(r'name="csrf" value="(\w+)"', page)
        assert found, "the page has no form"
        return found[1]

    async def last(self) -> tuple[Submission, bytes]:
        """Return the one submission that lies on the queue."""
        (found,) = await self.submissions()
        return found


class Gate:
    """Forwards a port of its own to a server until it is closed."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, far_writer}
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._writers -= {writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


def settings_for(amqp_url: str, mongodb_uri: str, **more: object) -> Settings:
    return Settings(
        **{
            "amqp_url": amqp_url,
            "mongodb_uri": mongodb_uri,
            "secret": ("a secret of the tests",),
            "hostname": "mail.postroad.test",
            "http_port": 0,
            **more,
        }  # type: ignore[arg-type]
    )


@contextlib.asynccontextmanager
async def run_site(
    amqp_url: str, mongodb_uri: str, *, wait: bool = True, **more: object
) -> AsyncIterator[Site]:
    settings = settings_for(amqp_url, mongodb_uri, **more)
    outgoing = BrokerLink(amqp_url, "test publish", declare=True)
    publisher = Publisher(outgoing)
    database = Database(mongodb_uri)
    events = EventWriter(publisher)
    context = ServiceContext("test", settings, outgoing, publisher, events, database, Health())
    dependencies = build_dependencies(context)
    app = application.build(dependencies, build_dashboard(context), build_limits(settings))
    outgoing.start()
    events.start()
    if wait:
        async with asyncio.timeout(90):
            await outgoing.up.wait()
            await Bootstrap(
                database.accounts,
                database.users,
                database.tokens,
                email=EMAIL,
                password=PASSWORD,
                token=TOKEN,
            ).run()
    context.health.started = True
    try:
        yield Site(app, dependencies, database, context, amqp_url)
    finally:
        await events.close()
        await outgoing.close()
        await database.close()


def own_database(uri: str) -> str:
    """Return the same server, with a database of its own."""
    head, _, options = uri.partition("?")
    return f"{head.rsplit('/', 1)[0]}/test_{new_id()}" + (f"?{options}" if options else "")


async def drop(uri: str) -> None:
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(uri)
    await client.drop_database(client.get_default_database().name)
    await client.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(servers: tuple[str, str]) -> AsyncIterator[Site]:
    """One application for all tests of a module."""
    uri = own_database(servers[1])
    async with run_site(servers[0], uri, max_message_size=1_000_000, max_recipients=50) as running:
        await running.empty()
        yield running
    await drop(uri)


@pytest_asyncio.fixture(loop_scope="module")
async def api(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client with every scope; the queue is empty when the test begins."""
    await site.submissions()
    async with site.client() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def browser(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is logged in to the dashboard."""
    async with site.client() as client:
        del client.headers["Authorization"]
        page = await client.get("/dashboard/login")
        answer = await client.post(
            "/dashboard/login",
            data={"csrf": Site.csrf_of(page.text), "email": EMAIL, "password": PASSWORD},
        )
        assert answer.status_code == 303, answer.text
        yield client


@pytest.fixture
def gate() -> Callable[[str], Awaitable[tuple[Gate, str]]]:
    """Return a gate in front of the server of a URL, and the URL that leads through it."""

    async def make(url: str) -> tuple[Gate, str]:
        parsed = URL(url)
        made = Gate(parsed.host or "", parsed.port or 0)
        await made.open()
        return made, str(parsed.with_host("127.0.0.1").with_port(made.port))

    return make
