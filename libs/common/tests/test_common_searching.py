"""Searching many messages: each filter finds exactly its own, and reads little more than that."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName, happened
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.database import Database
from postroad_common.store.indexes import FAULTS
from postroad_common.store.messages import Counted, Criteria, Messages
from postroad_common.store.searching import terms_of, words_of
from postroad_common.store.slices import FIRST_SLICE, LARGEST_SLICE, slices
from postroad_testing.waiting import PATIENCE

NOW = 1_790_000_000.0
COUNT = 1500
LIMIT = 20


def message(number: int, account: str = "main") -> tuple[Submission, Recipient]:
    """Return a message; every thirtieth differs from the others in all that is searched for."""
    now = NOW + number
    rare = number % 30 == 0
    address = "Rare.Reader@rare.example" if rare else f"r{number}@often.example"
    recipient = Recipient(id=new_id(now), address=address)
    submission = Submission(
        id=new_id(now), account=account, credential="rare" if rare else "often", source="smtp",
        received=now, envelope="Rare@a.example" if rare else f"often{number % 2}@a.example",
        recipients=(recipient,), features=Features(),
        tags=("rare",) if rare else ("often", f"half{number % 2}"),
        subject="Your rare order, Übung" if rare else "Your order", expires=now + 1, size=1,
        test=rare,
    )  # fmt: skip
    return submission, recipient


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    await database.prepare()
    told: list[events.Event] = []
    reacted: dict[str, tuple[int, int]] = {}
    for number in range(COUNT):
        for account in ("main", "other") if number % 3 else ("main",):
            submission, recipient = message(number, account)
            told.append(events.accepted(submission, recipient))
            rare = number % 30 == 0
            name = EventName.FAILED if rare else EventName.DELIVERED
            told.append(happened(name, recipient.id, NOW + number, {}, account=account))
            if rare:
                told.append(happened(EventName.COMPLAINED, recipient.id, NOW, {}, account=account))
                reacted[recipient.id] = (1, 1)
    random.Random(1).shuffle(told)
    for start in range(0, len(told), 1000):
        await database.messages.apply(told[start : start + 1000])
    await database.messages.count_reactions(reacted)
    yield database
    await database.close()


async def examined(database: Database, criteria: Criteria, before: str | None = None) -> int:
    """Return how many documents the database looks at for one page."""
    cursor = database.messages._messages.find(criteria.query("main", before))
    told: dict[str, Any] = await cursor.sort("_id", -1).limit(LIMIT).explain()
    return int(told["executionStats"]["totalDocsExamined"])


RARE = (
    Criteria(recipient="rare.reader@RARE.example"),
    Criteria(recipient="@rare.example"),
    Criteria(envelope="rare@A.example"),
    Criteria(login="rare"),
    Criteria(tag="rare"),
    Criteria(state="failed"),
    Criteria(subject="rare"),
    Criteria(subject="RARE übung"),
    Criteria(opened=True),
    Criteria(clicked=True),
    Criteria(complained=True),
    Criteria(test=True),
    Criteria(recipient="@rare.example", state="failed", start=NOW),
)


async def test_every_filter_finds_its_own_and_reads_little_more(database: Database):
    for criteria in RARE:
        found = await database.messages.search("main", criteria, limit=LIMIT)
        assert len(found) == LIMIT, criteria
        assert {record.recipient for record in found} == {"Rare.Reader@rare.example"}, criteria
        assert [record.id for record in found] == sorted(
            (record.id for record in found), reverse=True
        )
        assert await examined(database, criteria) <= 2 * LIMIT + 50, criteria
        rest = await database.messages.search("main", criteria, before=found[-1].id, limit=LIMIT)
        assert len(rest) == min(LIMIT, COUNT // 30 - LIMIT), criteria
        assert await examined(database, criteria, found[-1].id) <= 2 * LIMIT + 50, criteria


async def test_times_are_found_by_the_ids(database: Database):
    criteria = Criteria(start=NOW + 1000, end=NOW + 1010)
    found = await database.messages.search("main", criteria, limit=LIMIT)
    assert [record.created for record in found] == [NOW + n for n in range(1009, 999, -1)]
    assert await examined(database, criteria) <= 2 * len(found) + 50
    assert await database.messages.search("main", Criteria(end=1000.0)) == []
    one = found[0]
    assert [
        record.id
        for record in await database.messages.search("main", Criteria(submission=one.submission))
    ] == [one.id]


async def test_what_nothing_has_is_not_found(database: Database):
    for criteria in (
        Criteria(recipient="nobody@rare.example"),
        Criteria(recipient="@example"),
        Criteria(subject="nothing"),
        Criteria(subject="!"),
        Criteria(tag="rar"),
    ):
        assert await database.messages.search("main", criteria) == []
        assert await examined(database, criteria) <= 50, criteria


NEVER = Criteria(tag="half1", envelope="often0@a.example")
"""Half of the messages have each, and none has both."""
PAIRS = {
    NEVER: 0,
    Criteria(tag="half0", envelope="often0@a.example"): 700,
    Criteria(tag="often", subject="order"): 1450,
    Criteria(subject="order", state="failed"): 50,
    Criteria(subject="your order", opened=True): 50,
    Criteria(tag="half1", complained=True): 0,
    Criteria(state="delivered", tag="half1"): 750,
    Criteria(login="often", recipient="@often.example", start=NOW + 500, end=NOW + 1400): 870,
    Criteria(state="failed"): 50,
    Criteria(login="often"): 1450,
    Criteria(sources=("forward",)): 0,
}
"""And how many messages of an account they find."""


async def test_search_for_frequent_things_that_are_rare_together_goes_on_where_it_stopped(
    database: Database,
):
    hurried = Messages(database.messages._messages, look_seconds=0.0)
    looked = await hurried.look("main", NEVER)
    assert looked.records == []
    assert looked.position is not None
    for criteria, number in PAIRS.items():
        whole = await database.messages.search("main", criteria, limit=COUNT)
        found: list[str] = []
        position: str | None = None
        for _ in range(COUNT):
            one = await hurried.look("main", criteria, before=position, limit=100)
            found += [record.id for record in one.records]
            position = one.position
            if position is None:
                break
        assert position is None
        assert found == [record.id for record in whole], criteria
        assert len(found) == number, criteria


async def test_slice_of_a_search_reads_no_more_messages_than_it_is_for(database: Database):
    for criteria in PAIRS:
        size = FIRST_SLICE
        async for one in slices(
            database.messages._messages, "main", criteria, before=None, seconds=None
        ):
            cursor = database.messages._messages.find(one.query, hint=one.index).sort("_id", -1)
            told = (await cursor.explain())["executionStats"]
            assert told["totalDocsExamined"] <= size, criteria
            size = LARGEST_SLICE


async def test_found_messages_are_counted(database: Database):
    for criteria, number in PAIRS.items():
        counted = await database.messages.count("main", criteria, most=COUNT)
        assert counted == Counted(number, whole=True), criteria
        some = await database.messages.count("main", criteria, most=20)
        assert some == Counted(min(20, number), whole=True), criteria
    assert not (await database.messages.count("main", NEVER, most=10, seconds=0.0)).whole


async def test_own_mail_and_records_without_their_facts_are_not_counted(database: Database):
    forward, recipient = message(30)
    own = forward.model_copy(update={"source": "forward"})
    told = [
        events.accepted(own, recipient),
        happened(EventName.FAILED, recipient.id, NOW, {}, account="main"),
        happened(EventName.FAILED, new_id(NOW), NOW, {}, account="main"),
    ]
    await database.messages.apply(told)
    for criteria in (Criteria(state="failed"), Criteria(login="rare")):
        counted = await database.messages.count("main", criteria, most=COUNT)
        assert counted == Counted(50, whole=True), criteria
        assert len(await database.messages.search("main", criteria, limit=COUNT)) == 50, criteria
    ours = Criteria(sources=("forward",))
    assert [one.id for one in await database.messages.search("main", ours)] == [recipient.id]
    assert await database.messages.count("main", ours, most=COUNT) == Counted(1, whole=True)


async def test_search_does_without_an_index_that_is_not_made_yet(database: Database):
    await database.messages._messages.drop_index("states")
    failed = Criteria(state="failed", subject="order")
    assert len(await database.messages.search("main", failed, limit=COUNT)) == 50
    for criteria in (failed, Criteria(state="failed")):
        counted = await database.messages.count("main", criteria, most=COUNT)
        assert counted == Counted(50, whole=True)


def test_terms_are_bounded_whatever_the_subject():
    assert len(words_of("word " * 1000 + "ä b " * 1000)) == 1
    assert len(words_of(" ".join(f"w{number}" for number in range(1000)))) == 8
    assert all(len(term) <= 26 for term in terms_of({"subject": "x" * 10_000}))
    assert terms_of({}) == []


async def test_what_went_wrong_is_found_without_reading_what_went_well(mongodb_uri: str):
    database = Database(mongodb_uri, patience=PATIENCE)
    await database.prepare()
    told = [
        happened(
            EventName.FAILED if number % 50 == 0 else EventName.DELIVERED,
            new_id(NOW + number), NOW + number, {}, account="main",
        )
        for number in range(2000)
    ]  # fmt: skip
    await database.events.insert(told)
    found = await database.events.search("main", names=FAULTS, limit=LIMIT)
    assert [event.time for event in found] == [NOW + 1950 - 50 * n for n in range(LIMIT)]
    query = {"account": "main", "event": {"$in": list(FAULTS)}, "data.kind": {"$nin": ["dsn"]}}
    cursor = database.events._events.find(query).sort([("time", -1), ("_id", -1)]).limit(LIMIT)
    told_of = await cursor.explain()
    assert told_of["executionStats"]["totalDocsExamined"] <= 2 * LIMIT + 50
    await database.close()
