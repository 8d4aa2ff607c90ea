"""Leases in a real database: allowances of a day, and numbers that are divided."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from postroad_common.store.database import Database
from postroad_common.store.leases import Division, Grant
from postroad_testing.waiting import PATIENCE


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    found = Database(mongodb_uri, patience=PATIENCE)
    yield found
    await found.close()


async def test_those_who_lease_at_the_same_time_get_no_more_than_there_is(database: Database):
    leases = database.leases
    grants = await asyncio.gather(*(leases.lease("cap", 20_000, 7, 100) for _ in range(30)))
    assert sum(grant.granted for grant in grants) == 100
    assert max(grant.leased for grant in grants) == 100
    assert await leases.lease("cap", 20_001, 7, 100) == Grant(7, 7)


async def test_what_is_given_back_can_be_leased_again_and_a_smaller_limit_takes_nothing_back(
    database: Database,
):
    leases = database.leases
    assert await leases.lease("cap", 20_000, 80, 100) == Grant(80, 80)
    await leases.give_back("cap", 20_000, 30)
    assert await leases.lease("cap", 20_000, 60, 100) == Grant(50, 100)
    assert await leases.lease("cap", 20_000, 5, 40) == Grant(0, 100)


async def test_of_two_who_divide_a_number_at_the_same_time_one_has_to_look_again(
    database: Database,
):
    leases = database.leases
    assert await leases.divisions(["a"]) == {}
    first = Division(0, {"00": 3}, {"00": (5, 12.5)})
    done = await asyncio.gather(*(leases.divide("a", first) for _ in range(4)))
    assert sorted(done) == [False, False, False, True]
    found = (await leases.divisions(["a", "b"]))["a"]
    assert found == Division(1, {"00": 3}, {"00": (5, 12.5)})
    assert await leases.divide("a", found)
    assert not await leases.divide("a", found)
