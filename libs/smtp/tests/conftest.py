"""Servers that play the files in `dialogs` with the client."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad_testing.certificates import Issued, self_signed
from postroad_testing.dialogserver import Start, dialog_servers


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
