"""The whole application, in this process, on real RabbitMQ and MongoDB.

`Site` is built as `main` builds it; requests go through ASGI, or through a real socket where that
is the point.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from pymongo import AsyncMongoClient
from starlette.types import ASGIApp

from postroad_common.broker import BrokerLink, EventWriter, Publisher
from postroad_common.broker.topology import ACCEPTED
from postroad_common.health import Health
from postroad_common.listener import HttpListener
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.framing import decode
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.service import ServiceContext
from postroad_common.store import Database
from postroad_ingress_http import application
from postroad_ingress_http.access.bootstrap import Bootstrap
from postroad_ingress_http.dependencies import Dependencies
from postroad_ingress_http.http.connection import GuardedHttp
from postroad_ingress_http.main import build_dashboard, build_dependencies, build_limits
from postroad_ingress_http.settings import Settings
from postroad_testing import factories
from postroad_testing.chromium import chromium_flags, chromium_path
from postroad_testing.forwarder import Forwarder
from postroad_testing.queues import Queues

TOKEN = "pr_token_of_the_tests_0123456789"
EMAIL = "admin@example.com"
PASSWORD = "correct horse battery"
BROWSER_PATIENCE_MS = 60_000
expect.set_options(timeout=BROWSER_PATIENCE_MS)


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

    @property
    def queues(self) -> Queues:
        return Queues(self.amqp_url)

    async def submissions(self) -> list[tuple[Submission, bytes]]:
        """Take what lies on the queue of the transformer."""
        decoded = [decode(Submission, frame) for frame in await self.queues.take(ACCEPTED.name)]
        return [(submission, bytes(body)) for submission, body in decoded]

    async def empty(self) -> None:
        """Nothing is left on the queue of the transformer, whoever put it there."""
        await self.queues.purge(ACCEPTED.name)

    @staticmethod
    def csrf_of(page: str) -> str:
        """Return the token of the forms on a page."""
        found = re.search(r'name="csrf" value="(\w+)"', page)
        assert found, "the page has no form"
        return found[1]

    async def mail(self, recipient: str, subject: str) -> str:
        """Record an accepted message; return its id."""
        to = Recipient(id=new_id(), address=recipient)
        submission = factories.submission(
            account="main", received=time.time(), subject=subject, recipients=(to,),
            sender="shop@wide.example",
        )  # fmt: skip
        told = [events.accepted(submission, to)]
        await self.database.events.insert(told)
        await self.database.messages.apply(told)
        return to.id

    async def log_in_browser(self, context: BrowserContext, email: str = EMAIL) -> Page:
        """Log in by the form; return the page."""
        context.set_default_timeout(BROWSER_PATIENCE_MS)
        page = await context.new_page()
        await page.goto("/dashboard/login")
        await page.get_by_label("E-mail").fill(email)
        await page.get_by_label("Password").fill(self.password)
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url("**/dashboard")
        return page

    async def last(self) -> tuple[Submission, bytes]:
        """Return the one submission that lies on the queue."""
        (found,) = await self.submissions()
        return found


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


_CA_FILE = Path(__file__).resolve()
"""What stands for the CA of SMTP: any file that is there."""
METRICS_NETWORK = "198.51.100.0/24"
"""From where metrics of the shared site are read without a token."""


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
    app = application.build(
        dependencies, build_dashboard(context), build_limits(settings), settings.metrics_networks
    )
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


@pytest.fixture
async def own_mongodb(servers: tuple[str, str]) -> AsyncIterator[str]:
    """Yield the URI of a database for one test alone."""
    uri = own_database(servers[1])
    yield uri
    await drop(uri)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(servers: tuple[str, str]) -> AsyncIterator[Site]:
    """One application for all tests of a module."""
    uri = own_database(servers[1])
    settings = {
        "max_message_size": 1_000_000,
        "max_recipients": 50,
        "attachment_allow_networks": "127.0.0.1/32",
        "smtp_ca_file": str(_CA_FILE),
    }
    async with run_site(servers[0], uri, metrics_networks=METRICS_NETWORK, **settings) as running:
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
async def open_line() -> AsyncIterator[Callable[[str], Awaitable[tuple[Forwarder, str]]]]:
    """Return what opens a line to the server of a URL, and gives the URL that leads through it."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(url: str) -> tuple[Forwarder, str]:
            line, through = Forwarder.to(url, 5672 if url.startswith("amqp") else 27_017)
            await line.open()
            stack.push_async_callback(line.close)
            return line, through

        yield make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(site: Site) -> AsyncIterator[str]:
    """Yield the URL under which the dashboard is served."""
    listener = HttpListener(site.app, "127.0.0.1", 0, http=GuardedHttp)
    await listener.start()
    yield f"http://127.0.0.1:{listener.port}"
    await listener.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    path = chromium_path()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=chromium_flags(), timeout=2 * BROWSER_PATIENCE_MS
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def context(chromium: Browser, address: str, site: Site) -> AsyncIterator[BrowserContext]:
    """Yield a browser in Tokyo in which the operator has logged in, by the form."""
    made = await chromium.new_context(base_url=address, timezone_id="Asia/Tokyo")
    page = await site.log_in_browser(made)
    await page.close()
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """Yield a page that must not report an error of a script or of the security policy."""
    wrong: list[str] = []
    made = await context.new_page()
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if "Policy" in said.text else None)
    yield made
    await made.close()
    assert wrong == []
