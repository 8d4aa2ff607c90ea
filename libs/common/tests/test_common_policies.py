import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC

import pytest

from postroad_common.store.database import Database
from postroad_common.store.indexes import INDEXES
from postroad_common.store.policies import PolicyRecord
from postroad_testing.documents import documents
from postroad_testing.waiting import PATIENCE

RECORD = PolicyRecord("d.test", "1", "enforce", ("mx.d.test", "*.d.test"), 1000, time.time())


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    yield database
    await database.close()


async def test_policy_is_found_again_as_it_was_and_the_last_one_counts(database: Database):
    assert await database.policies.get("d.test") is None
    await database.policies.put(RECORD)
    assert await database.policies.get("d.test") == RECORD
    newer = replace(RECORD, id="2", mode="none", mx=())
    await database.policies.put(newer)
    assert await database.policies.get("d.test") == newer
    assert await database.policies.get("e.test") is None


async def test_policy_is_removed_by_the_database_when_it_has_expired(
    database: Database, mongodb_uri: str
):
    await database.policies.put(RECORD)
    async with documents(mongodb_uri) as collections:
        stored = await collections["policies"].find_one({"_id": "d.test"})
    assert stored is not None
    expires = stored["at"].replace(tzinfo=UTC).timestamp()
    assert expires == pytest.approx(RECORD.expires, abs=0.01)
    (index,) = INDEXES["policies"]
    assert index.document["expireAfterSeconds"] == 0
    assert list(index.document["key"]) == ["at"]
