"""Shared by the tests of the common library: a real broker."""

from collections.abc import AsyncIterator

import pytest

from postroad_testing.broker import Broker, connected


@pytest.fixture
async def broker(amqp_url: str) -> AsyncIterator[Broker]:
    async with connected(amqp_url) as broker:
        yield broker
