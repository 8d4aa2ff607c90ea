"""What the tests of feedback share: a database with its indexes, end points, a dispatcher."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from postroad_common.store import Database
from postroad_common.web.guard import UrlGuard
from postroad_common.web.resolver import Resolver
from postroad_feedback.calls import CALL_SECONDS, Caller
from postroad_feedback.dispatch import WebhookDispatcher
from postroad_testing.endpoint import Open, opening_end_points
from postroad_testing.waiting import PATIENCE

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    await database.prepare()
    yield database
    await database.close()


@pytest.fixture
async def listening() -> AsyncIterator[Open]:
    async with opening_end_points() as listen:
        yield listen


@contextlib.asynccontextmanager
async def _dispatching(
    database: Database,
    allowed: list[ipaddress.IPv4Network | ipaddress.IPv6Network] | None = None,
    tls: ssl.SSLContext | None = None,
    *,
    call_seconds: float = CALL_SECONDS,
    turns: int = 64,
) -> AsyncIterator[WebhookDispatcher]:
    guard = UrlGuard(LOOPBACK if allowed is None else allowed, Resolver().addresses)
    caller = Caller(guard, tls, call_seconds=call_seconds)
    dispatcher = WebhookDispatcher(database.outbox, database.webhooks, caller, turns=turns)
    task = asyncio.create_task(dispatcher.run())
    yield dispatcher
    await dispatcher.stop()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def dispatching() -> Callable[..., contextlib.AbstractAsyncContextManager[WebhookDispatcher]]:
    """Return what runs a dispatcher while it is entered."""
    return _dispatching
