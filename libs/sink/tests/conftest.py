"""A sink in the loop of the test."""

import ssl
from collections.abc import AsyncIterator

import pytest

from postroad_sink.certificate import server_context
from postroad_sink.harness import RunningSink, running_sink


@pytest.fixture(scope="session")
def tls_context() -> ssl.SSLContext:
    return server_context(None, None, ["sink.test"])


@pytest.fixture
async def running(tls_context: ssl.SSLContext) -> AsyncIterator[RunningSink]:
    async with running_sink(
        tls_context=tls_context, hosts=("127.0.0.1", "127.0.0.2"), seed=7
    ) as running:
        yield running
