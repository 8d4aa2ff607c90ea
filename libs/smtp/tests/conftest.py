"""Servers that play the files in `dialogs` with the client."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from postroad_smtp.client.connection import Connection
from postroad_smtp.client.session import ClientSession, Timeouts, TlsWish, open_session
from postroad_testing.certificates import Issued, self_signed
from postroad_testing.dialogserver import DialogServer, Start, dialog_servers


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture(scope="session")
def server_tls(certificate: Issued) -> ssl.SSLContext:
    return certificate.context()


@pytest.fixture
async def dialog(server_tls: ssl.SSLContext) -> AsyncIterator[Start]:
    """Start a server that plays the named dialog; what is said otherwise fails the test."""
    async with dialog_servers(Path(__file__).parent / "dialogs", server_tls) as start:
        yield start


@pytest.fixture
def connect() -> Callable[..., Awaitable[ClientSession]]:
    """Open a session with a server, patiently; `changes` are those of `open_session`."""

    async def session(server: DialogServer, **changes: Any) -> ClientSession:
        options: dict[str, Any] = {
            "host": "localhost",
            "tls": TlsWish.NONE,
            "context": None,
            "login": None,
            "timeouts": Timeouts(connect=60, greeting=60, command=60, block=60, dot=60),
        } | changes
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(options["timeouts"].greeting), "127.0.0.1", server.port
        )
        return await open_session(connection, hostname="me.test", **options)

    return session
