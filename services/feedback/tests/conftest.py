"""What the tests of feedback share: a database with its indexes."""

from collections.abc import AsyncIterator

import pytest

from postroad_common.store import Database
from postroad_testing.waiting import PATIENCE


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    await database.prepare()
    yield database
    await database.close()
