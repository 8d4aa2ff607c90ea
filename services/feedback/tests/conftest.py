"""What the tests of feedback share: a database with its indexes."""

from collections.abc import AsyncIterator

import pytest

from postroad_common.store import Database


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri)
    await database.prepare()
    yield database
    await database.close()
