"""Sums of parts over hours: the same from the counters of days as from every hour.

What they are compared with is read from all hours. The counters are made as feedback adds to them,
with all that may have become of them since.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from pymongo import AsyncMongoClient

from postroad_common.mail.identifiers import new_id
from postroad_common.store import Database
from postroad_common.store.rollupparts import LOGIN, TAG, TAGGED, WHOLE, MailPart
from postroad_common.store.rollups import Counts, RollupKey, Rollups
from postroad_common.store.rolluptags import TagRollups
from postroad_ingress_http.dashboard.breakdown import break_down
from postroad_ingress_http.dashboard.figures import read_counts
from postroad_ingress_http.dashboard.periods import PeriodChoice
from postroad_ingress_http.dashboard.subjects import Labels, Subject
from postroad_ingress_http.history.hourparts import Counters, parts_of_hours
from postroad_ingress_http.history.statistics import sums_of_parts

DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=8)
"""The first of the days; hours are not kept for long."""
HOSTILE = ("a.b", "$where", "100%", "%24", "a%2Eb", "é", "0", "a b", "counts", "__proto__")
COUNTED = ("accepted", "delivered", "failed", "bounced", "opened_unique", "opened_machine")
FATES = ("whole", "counted by an older version in part", "expired in part", "told to the day only",
         "told to the hour only", "without tags", "with an hour of the future")  # fmt: skip
"""What becomes of a day, the first one of which there is anything being the oldest."""


class Account:
    """Counters of an account of its own, and the name of it."""

    def __init__(self, database: Database, seed: int) -> None:
        self.name = new_id()
        self.counters = Counters(database.rollups, database.hours)
        self._random = random.Random(seed)
        many = self._random.choice([3, 40, 230])
        self._tags = [*HOSTILE, *(f"t{number}" for number in range(many))][:200]
        self._tags += ["other"] * (many > 200)
        self._hours: dict[RollupKey, Counter[str]] = {}
        self._days: dict[RollupKey, Counter[str]] = {}

    async def fill(self) -> None:
        """Make a day of each fate, and each of its hours of some mail."""
        for number, fate in enumerate(FATES):
            day = DAY + timedelta(days=number)
            hours = sorted(self._random.sample(range(21), 5))
            for hour in hours:
                last = hour == hours[-1]
                self._happen(day, hour, fate if last or fate == "without tags" else "whole")
        await self.counters.hours.add(new_id(), self._hours)
        await self.counters.days.add(new_id(), self._days)

    def _happen(self, day: datetime, hour: int, fate: str) -> None:
        parts = [MailPart(LOGIN, f"login{self._random.randrange(3)}")]
        if fate != "without tags":
            tags = self._random.sample(self._tags, self._random.randint(1, len(self._tags)))
            parts += [MailPart(TAG, tag) for tag in tags]
        whole: Counter[str] = Counter()
        moment = f"{day + timedelta(hours=hour):%Y-%m-%dT%H}"
        if fate == "with an hour of the future":
            moment = f"{day:%Y-%m-%d}T23"  # after the end of every range
        for part in parts:
            numbers = Counter({name: self._random.randrange(9) for name in COUNTED})
            whole.update(numbers)
            self._add(moment, part, numbers, fate)
        self._add(moment, WHOLE, whole, fate)
        self._add(moment, TAGGED, whole, fate)

    def _add(self, hour: str, part: MailPart, numbers: Counter[str], fate: str) -> None:
        if part != TAGGED and fate not in {"expired in part", "told to the day only"}:
            key = RollupKey(self.name, hour, "", part)
            self._hours.setdefault(key, Counter()).update(numbers)
        older = fate == "counted by an older version in part" and part.by in {TAG, TAGGED.by}
        if not older and fate != "told to the hour only":
            key = RollupKey(self.name, hour[:10], "", part)
            self._days.setdefault(key, Counter()).update(numbers)


@asynccontextmanager
async def accounts(uri: str, *seeds: int) -> AsyncIterator[list[Account]]:
    """Yield accounts with counters in the database `uri`."""
    database = Database(uri)
    made = [Account(database, seed) for seed in seeds]
    for account in made:
        await account.fill()
    yield made
    await database.close()


async def by_hours(
    hours: Rollups, account: str, kind: str, first: str, last: str
) -> list[tuple[str, Counts]]:
    parts = await hours.parts(account, first, last, kind)
    return list(sums_of_parts(parts.values()).items())


def span(first: int, last: int) -> tuple[str, str]:
    """Return the names of two hours, so many after the first day began."""
    begin, end = (f"{DAY + timedelta(hours=hours):%Y-%m-%dT%H}" for hours in (first, last))
    return begin, end


RANGES = (
    span(0, 6 * 24 + 21), span(-14, 6 * 24 + 22), span(7, 2 * 24 + 16), span(3 * 24 + 19, 4 * 24),
    span(28, 28), span(-48, -1),
)  # fmt: skip


async def test_sums_of_parts_are_those_of_all_hours_whatever_became_of_the_days(
    own_mongodb: str,
) -> None:
    async with accounts(own_mongodb, 1, 2, 3) as made:
        for account, kind, (first, last) in product(made, (TAG, LOGIN), RANGES):
            parts = await parts_of_hours(account.counters, account.name, kind, first, last)
            expected = await by_hours(account.counters.hours, account.name, kind, first, last)
            assert list(sums_of_parts(parts).items()) == expected, (kind, first, last)
            if last == RANGES[0][1]:
                assert expected


async def test_page_has_the_same_lines_and_chart_as_from_all_hours(own_mongodb: str) -> None:
    zones = [ZoneInfo(name) for name in ("UTC", "Asia/Kolkata", "America/St_Johns")]
    nows = [DAY + timedelta(days=6, hours=13, minutes=30), DAY + timedelta(hours=30)]
    choices = [PeriodChoice("week", "hour"), PeriodChoice("day", "hour")]
    async with accounts(own_mongodb, 4) as (account,):
        counters = account.counters
        for zone, now, choice in product(zones, nows, choices):
            period = choice.period(now.timestamp())
            whole = await read_counts(counters.hours, account.name, period, Subject())
            pages = [
                await break_down(
                    each, account.name, TAG, period, whole, zone=zone, labels=Labels({})
                )
                for each in (counters, Counters(days=counters.hours, hours=counters.hours))
            ]  # fmt: skip
            assert pages[0] == pages[1]
            assert pages[0].rows


async def test_largest_parts_of_each_hour_and_all_others_add_up_to_all(own_mongodb: str) -> None:
    first, last = RANGES[0]
    names = [*HOSTILE[:4], "no such tag"]
    async with accounts(own_mongodb, 5) as (account,):
        hours = account.counters.hours
        found = await hours.largest(account.name, first, last, TAG, what="accepted", names=names)
        parts = await hours.parts(account.name, first, last, TAG)
    for hour, numbers in found.items():
        of_hour = parts.get(hour, {})
        expected = {name: of_hour.get(name, {}).get("accepted", 0) for name in names}
        others = sum(counts["accepted"] for counts in of_hour.values()) - sum(expected.values())
        assert numbers == {**expected, "": others}
    assert parts.keys() <= found.keys()


async def test_hours_of_a_whole_day_are_not_read_for_their_tags(own_mongodb: str) -> None:
    day = span(0, 23)
    async with (
        accounts(own_mongodb, 6) as (account,),
        AsyncMongoClient[dict[str, Any]](own_mongodb) as client,
    ):
        expected = await by_hours(account.counters.hours, account.name, TAG, *day)
        bare = client.get_default_database()["bare_hours"]
        for hour in await account.counters.hours.read(account.name, *day):
            await bare.insert_one(
                {"account": account.name, "tag": "", "day": hour.day, "counts": hour.counts}
            )
        counters = Counters(account.counters.days, Rollups(bare))
        (found,) = await parts_of_hours(counters, account.name, TAG, *day)
    assert list(sums_of_parts([found]).items()) == expected


async def test_sums_of_the_largest_tags_are_whole_where_there_are_very_many_counters(
    own_mongodb: str,
) -> None:
    async with AsyncMongoClient[dict[str, Any]](own_mongodb) as client:
        collection = client.get_default_database()["rollups"]
        days = [f"{DAY - timedelta(days=number):%Y-%m-%d}" for number in range(101)]
        await collection.insert_many(
            {"account": "main", "day": day, "tag": f"t{tag}", "counts": {"accepted": tag}}
            for day in days
            for tag in range(100)
        )
        found = await TagRollups(collection).largest("main", days[-1], days[0], ("accepted",), 2)
        fewer = await TagRollups(collection).largest("main", days[9], days[0], ("accepted",), 1)
    assert found == {"t99": {"accepted": 9999}, "t98": {"accepted": 9898}}
    assert fewer == {"t99": {"accepted": 990}}
