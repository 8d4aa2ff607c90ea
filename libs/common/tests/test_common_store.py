import asyncio
import itertools
import random
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError, WriteError

from postroad_common import secrets
from postroad_common.errors import StoreAway
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.events import (
    Event,
    EventName,
    accepted,
    attempted,
    happened,
    transformed,
)
from postroad_common.schemas.features import Features
from postroad_common.schemas.lanes import LaneState, StoredDirectives
from postroad_common.schemas.submission import BodyReference
from postroad_common.store import Database
from postroad_common.store.access import guarded
from postroad_common.store.bodies import BodyGone
from postroad_common.store.events import CONVERSATIONS
from postroad_common.store.messages import Criteria
from postroad_common.store.suppressions import Addressed, Suppression, key_of
from postroad_testing import factories
from postroad_testing.waiting import PATIENCE


@pytest.fixture
async def database(mongodb_uri: str) -> AsyncIterator[Database]:
    database = Database(mongodb_uri, patience=PATIENCE)
    await database.prepare()
    yield database
    await database.close()


def life_of_a_message() -> tuple[str, list[Event]]:
    recipient = factories.recipient("bob@b.test", id=new_id(1000.0))
    message = recipient.id
    submission = factories.submission(
        account="main",
        received=1000.0,
        envelope="alice@a.test",
        recipients=(recipient,),
        features=Features(clicktracking=True),
        tags=("news",),
        subject="Hello",
        expires=2000.0,
    )
    outbound = factories.outbound(
        account="main",
        submission=submission.id,
        envelope="alice@a.test",
        recipients=(factories.outbound_recipient("bob@b.test", id=message),),
        received=1000.0,
        expires=2000.0,
    )
    again = outbound.model_copy(update={"attempt": 1})
    return message, [
        accepted(submission, recipient),
        transformed(submission, recipient, 1000.1, {"links": 3}),
        attempted(EventName.DEFERRED, outbound, message, 1000.2, {"reply": "450 busy"}),
        attempted(EventName.DELIVERED, again, message, 1060.0, {"reply": "250 ok"}),
        happened(EventName.CLICKED, message, 1100.0, {"url": "http://a/"}, event_id="click-1"),
    ]


async def test_record_is_the_same_whatever_the_order_and_number_of_events(
    database: Database,
) -> None:
    shuffler = random.Random(7)
    records = []
    for _ in range(6):
        message, events = life_of_a_message()
        told = [*events, *events]
        shuffler.shuffle(told)
        for event in told:
            await database.messages.apply([event])
        record = await database.messages.get("main", message)
        assert record is not None
        records.append(record)
    for record in records:
        assert (record.state, record.attempts, record.recipient) == ("delivered", 2, "bob@b.test")
        assert (record.created, record.updated, record.tags) == (1000.0, 1100.0, ("news",))
        assert record.features == Features(clicktracking=True)


async def test_one_bulk_write_does_the_same_as_many(database: Database) -> None:
    message, events = life_of_a_message()
    await database.messages.apply(events)
    record = (await database.messages.find_many([message, "unknown"]))[message]
    assert (record.state, record.attempts) == ("delivered", 2)


async def test_message_of_another_account_is_not_seen(database: Database) -> None:
    message, events = life_of_a_message()
    await database.messages.apply(events)
    assert await database.messages.get("other", message) is None
    assert await database.messages.search("other") == []


async def test_search_finds_by_every_filter_and_pages_newest_first(database: Database) -> None:
    ids = []
    for _ in range(5):
        message, events = life_of_a_message()
        ids.append(message)
        await database.messages.apply(events)
    ids.sort(reverse=True)
    search = database.messages.search
    first = await search("main", limit=3)
    rest = await search("main", limit=3, before=first[-1].id)
    assert [record.id for record in itertools.chain(first, rest)] == ids
    assert len(await search("main", Criteria("bob@b.test", tag="news", state="delivered"))) == 5
    assert len(await search("main", Criteria("@b.test"))) == 5
    assert await search("main", Criteria(state="failed")) == []
    assert await search("main", Criteria(tag="olds")) == []
    assert await search("main", Criteria(end=1000.0)) == []


async def test_event_told_twice_is_kept_once_and_the_new_ones_are_returned(
    database: Database,
) -> None:
    message, events = life_of_a_message()
    assert await database.events.insert(events[:3]) == events[:3]
    assert await database.events.insert(events) == events[3:]
    timeline = await database.events.timeline(message)
    assert [event.event for event in timeline] == [event.event for event in events]
    clicks = await database.events.search("", names=["clicked"])
    assert [event.id for event in clicks] == ["click-1"]


async def test_timelines_of_several_messages_are_those_of_each(database: Database) -> None:
    outbound = factories.outbound(account="main")
    sizes = {"a": 1, "b": 5, "c": 3, "d": 4, "e": 0}
    for message, size in sizes.items():
        await database.events.insert(
            [
                attempted(EventName.DEFERRED, outbound.model_copy(update={"attempt": n}), message,
                          1000.0 + n // 2, {"reply": "x"})
                for n in range(size)
            ]
        )  # fmt: skip
    told = await database.events.timelines(sizes, limit=3)
    assert told == {message: await database.events.timeline(message, limit=3) for message in sizes}
    assert [len(events) for events in told.values()] == [1, 3, 3, 3, 0]


async def test_only_the_last_attempts_of_a_message_keep_their_conversation(
    database: Database,
) -> None:
    outbound = factories.outbound(id="m", account="main")
    for attempt in range(CONVERSATIONS + 2):
        message = outbound.model_copy(update={"attempt": attempt})
        name = EventName.DELIVERED if attempt == CONVERSATIONS + 1 else EventName.DEFERRED
        data = {"conversation": f"S: {attempt}", "reply": "x"}
        await database.events.insert([attempted(name, message, "m", 1000.0 + attempt, data)])
    timeline = await database.events.timeline("m")
    kept = [event.facts["attempt"] for event in timeline if "conversation" in event.facts]
    assert kept == list(range(2, CONVERSATIONS + 2))
    assert all(event.facts["reply"] == "x" for event in timeline)


async def test_login_is_made_found_changed_rotated_and_deleted(database: Database) -> None:
    logins = database.credentials
    password = secrets.new_password()
    made = await logins.create(
        account="main",
        username=secrets.new_username(),
        password_hash=secrets.hash_password(password),
        name="newsletter",
        features=Features(inlinecss=True),
    )
    found = await logins.find(made.username)
    assert found == made
    assert secrets.verify_password(made.password_hash, password)
    assert not secrets.verify_password(made.password_hash, password + "x")
    assert password not in repr(found)
    changed = await logins.update("main", made.username, {"disabled": True, "features": Features()})
    assert changed is not None
    assert (changed.disabled, changed.features, changed.version) == (True, Features(), 2)
    rotated = await logins.rotate("main", made.username, "other-hash")
    assert rotated is not None
    assert rotated.password_hash == "other-hash"
    assert await logins.update("other", made.username, {"disabled": False}) is None
    with pytest.raises(ValueError, match="not changeable"):
        await logins.update("main", made.username, {"account": "mine"})
    assert [login.username for login in await logins.list("main")] == [made.username]
    assert await logins.delete("main", made.username)
    assert await logins.find(made.username) is None


async def test_token_is_found_by_its_secret_and_made_only_once(database: Database) -> None:
    hashed = secrets.hash_token(secrets.new_token())
    options = {"account": "main", "name": "first", "scopes": ("*",), "secret_hash": hashed}
    made = await database.tokens.create(**options)  # type: ignore[arg-type]
    assert await database.tokens.create(**options) == made  # type: ignore[arg-type]
    assert await database.tokens.find_by_hash(hashed) == made
    assert await database.tokens.find_by_hash(secrets.hash_token("guess")) is None
    assert await database.tokens.delete("main", made.id)
    assert await database.tokens.list("main") == []


async def test_body_is_kept_until_it_expires(database: Database) -> None:
    data = random.Random(1).randbytes(3_000_000)
    kept = await database.bodies.put(data, expires=2000.0)
    gone = await database.bodies.put(b"small", expires=1000.0)
    assert await database.bodies.get(kept) == data
    assert await database.bodies.purge(1500.0) == 1
    assert await database.bodies.get(kept) == data
    for reference in (gone, BodyReference(file="nonsense", size=1)):
        with pytest.raises(BodyGone):
            await database.bodies.get(reference)


def addressed(address: str, list_name: str = "", account: str = "main") -> Addressed:
    return Addressed(account, address, list_name)


async def test_suppression_holds_in_any_case_until_it_expires(database: Database) -> None:
    await database.suppressions.add(
        [
            Suppression("main", "Bob@B.test", "no such user", "hard", 1.0, None, "m1"),
            Suppression("main", "eve@b.test", "mailbox full", "soft", 1.0, 500.0),
        ],
        now=1.0,
    )
    bob, eve = addressed("bob@b.test"), addressed("eve@b.test")
    asked = [bob, eve, addressed("bob@b.test", account="other")]
    assert set(await database.suppressions.find_many(asked, now=400.0)) == {bob, eve}
    assert set(await database.suppressions.find_many(asked, now=600.0)) == {bob}
    assert await database.suppressions.remove("main", "bob@b.test")
    assert not await database.suppressions.remove("main", "bob@b.test")


async def test_suppression_of_a_list_or_a_domain_holds_for_that_alone(database: Database) -> None:
    await database.suppressions.add(
        [
            Suppression("main", "ann@c.test", "had enough", "unsubscribe", 1.0, None, list="news"),
            Suppression("main", "@d.test", "competitor", "manual", 1.0, None),
            Suppression("main", "bob@d.test", "complained", "complaint", 1.0, None),
        ]
    )
    news, other, domain, bob = asked = (
        addressed("ann@c.test", "news"),
        addressed("ann@c.test", "offers"),
        addressed("any@d.test", "news"),
        addressed("bob@d.test"),
    )
    found = await database.suppressions.find_many([*asked, addressed("ann@c.test")])
    assert set(found) == {news, domain, bob}
    assert found[bob].kind == "complaint"  # the strongest is told
    assert found[domain].reason == "competitor"
    assert other not in found
    assert await database.suppressions.remove("main", "ann@c.test", "offers") is False
    assert await database.suppressions.remove("main", "ann@c.test")  # off all lists
    assert await database.suppressions.get("main", "ann@c.test", "news") is None


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (("complaint", None), ("manual", None), ("complaint", None)),
        (("manual", None), ("complaint", None), ("complaint", None)),
        (("hard", 900.0), ("unsubscribe", None), ("hard", None)),
        (("manual", None), ("hard", 900.0), ("hard", None)),
        (("hard", 900.0), ("hard", 500.0), ("hard", 900.0)),
        (("hard", 500.0), ("hard", 900.0), ("hard", 900.0)),
        (("complaint", 50.0), ("manual", None), ("manual", None)),  # it is over
    ],
)
async def test_stronger_suppression_stays_until_the_later_end(
    database: Database,
    old: tuple[str, float | None],
    new: tuple[str, float | None],
    kept: tuple[str, float | None],
) -> None:
    address = f"{new_id()}@weak.test"
    for kind, expires in (old, new):
        entry = Suppression("main", address, f"as {kind}", kind, 1.0, expires)
        await database.suppressions.add([entry], now=100.0)
    found = await database.suppressions.get("main", address)
    assert found is not None
    assert (found.kind, found.expires) == kept
    assert found.reason == f"as {kept[0]}"


async def test_suppressions_are_found_by_address_domain_kind_and_list(database: Database) -> None:
    await database.suppressions.add(
        Suppression("search", address, "r", kind, 1.0, None, list=list_name)
        for address, kind, list_name in (
            ("ann@a.test", "hard", ""),
            ("ann@a.test", "unsubscribe", "news"),
            ("anna@b.test", "complaint", ""),
            ("bob@a.test", "manual", "offers"),
        )
    )

    async def found(**filters: Any) -> list[tuple[str, str]]:
        entries = await database.suppressions.list("search", **filters)
        return [(entry.address, entry.list) for entry in entries]

    everything = [
        ("ann@a.test", ""),
        ("ann@a.test", "news"),
        ("anna@b.test", ""),
        ("bob@a.test", "offers"),
    ]
    assert await found() == everything
    assert await found(prefix="ANN") == everything[:3]
    assert await found(prefix="ann@") == everything[:2]
    assert await found(domain="A.test") == [everything[0], everything[1], everything[3]]
    assert await found(kind="complaint") == [everything[2]]
    assert await found(list_name="news") == [everything[1]]
    assert await found(list_name="") == [everything[0], everything[2]]
    pages: list[tuple[str, str]] = []
    while page := await found(limit=1, after=key_of(*pages[-1]) if pages else "", prefix="a"):
        pages += page
    assert pages == everything[:3]


async def test_directives_merge_and_are_taken_back(database: Database) -> None:
    await database.lanes.save({"lane": LaneState(window=3)})
    await database.lanes.direct("lane", {"paused": True, "connections": 5})
    record = await database.lanes.direct("lane", {"paused": None})
    assert record.directives == StoredDirectives(connections=5)
    assert record.state.document() == {"window": 3}
    found = await database.lanes.directed_since(record.directed - 1)
    assert [lane.key for lane in found] == ["lane"]


async def test_idempotency_key_is_claimed_once_and_remembers_the_answer(
    database: Database,
) -> None:
    keys = database.idempotency
    first = await keys.begin("main", "k", "print", stale_seconds=60)
    assert first.ours
    other = await keys.begin("main", "k", "other", stale_seconds=60)
    assert (other.ours, other.fingerprint, other.status) == (False, "print", None)
    await keys.finish("main", "k", 200, "{}")
    later = await keys.begin("main", "k", "print", stale_seconds=0)
    assert (later.ours, later.status, later.answer) == (False, 200, "{}")


async def test_idempotency_key_of_a_request_that_died_goes_to_one_other_try(
    database: Database,
) -> None:
    keys = database.idempotency
    first = await keys.begin("main", "k", "print", stale_seconds=60)
    assert not (await keys.begin("main", "k", "print", stale_seconds=60)).ours
    await keys.release("main", "k")
    assert not (await keys.begin("main", "k", "other", stale_seconds=60)).ours
    second = await keys.begin("main", "k", "print", stale_seconds=60)
    assert second.ours
    assert second.created == first.created
    assert not (await keys.begin("main", "k", "print", stale_seconds=60)).ours


async def test_database_that_is_away_is_told_within_five_seconds() -> None:
    database = Database("mongodb://127.0.0.1:1/nowhere")
    with pytest.raises(StoreAway):
        await database.credentials.find("anyone")
    await database.close()


@pytest.mark.parametrize(
    "error",
    [
        OperationFailure("28: No space left on device", 8),
        WriteError("out of space", 14031),
        BulkWriteError({"writeErrors": [{"index": 0, "code": 14031, "errmsg": "out of space"}]}),
    ],
    ids=["of an index", "of one", "of several"],
)
async def test_database_without_room_is_away(error: PyMongoError):
    async def write() -> None:
        raise error

    with pytest.raises(StoreAway, match="MongoDB cannot write"):
        await guarded(write)()


async def test_driver_that_has_lost_its_lock_ends_the_process():
    @guarded
    async def fail() -> None:
        raise RuntimeError("Lock is not acquired")

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    try:
        with pytest.raises(StoreAway):
            await fail()
        async with asyncio.timeout(90):
            await ended.wait()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_driver_that_does_not_close_is_left(
    mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postroad_common.store.database.CLOSE_SECONDS", 0.1)
    database = Database(mongodb_uri)
    await database.check()
    lock = database._client._topology._lock
    async with lock, asyncio.timeout(90):
        await database.close()
    await database.close()
