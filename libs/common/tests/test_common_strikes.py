import time
from collections.abc import AsyncIterator

import pytest

from postroad_common.store.database import Database
from postroad_common.store.strikes import DAY, Strike
from postroad_testing.waiting import PATIENCE

NOW = time.time()
TODAY = int(NOW // DAY)


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    yield database
    await database.close()


async def test_strikes_of_one_day_count_once_and_of_other_days_add_up(database: Database):
    strike = Strike("acc", "Kim@example.net", NOW)
    earlier = Strike("acc", "kim@EXAMPLE.net", NOW - 2 * DAY)
    assert await database.strikes.add([strike, strike]) == {
        ("acc", "kim@example.net"): frozenset({TODAY})
    }
    assert await database.strikes.add([earlier]) == {
        ("acc", "kim@example.net"): frozenset({TODAY, TODAY - 2})
    }


async def test_accounts_and_addresses_have_their_own_strikes_and_can_be_cleared(
    database: Database,
):
    await database.strikes.add([Strike("one", "kim@example.net", NOW - DAY)])
    found = await database.strikes.add(
        [Strike("two", "kim@example.net", NOW), Strike("one", "lee@example.net", NOW)]
    )
    assert found == {
        ("two", "kim@example.net"): frozenset({TODAY}),
        ("one", "lee@example.net"): frozenset({TODAY}),
    }
    await database.strikes.clear("one", "KIM@example.net")
    assert await database.strikes.add([Strike("one", "kim@example.net", NOW)]) == {
        ("one", "kim@example.net"): frozenset({TODAY})
    }


async def test_no_strikes_ask_nothing_of_the_database(database: Database):
    assert await database.strikes.add([]) == {}
