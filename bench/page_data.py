"""Millions of messages for the bench of pages, written as they are stored, without the road there.

The first message goes through the code that feedback uses, so that the shape of its documents is
what that code writes; the others are copies with names, times and subjects of their own. Indexes
are dropped first and built at the end, which takes a fifth of the time.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from pymongo import MongoClient, WriteConcern
from pymongo.database import Database as Collections

from bench.page_counters import ACCOUNT, DAYS, fill_counters
from bench.report import say
from postroad_common.mail.identifiers import new_id
from postroad_common.schemas import events
from postroad_common.schemas.events import EventName
from postroad_common.schemas.features import Features
from postroad_common.schemas.lanes import LaneState, Phase
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.access import to_date
from postroad_common.store.database import Database
from postroad_common.store.searching import RANKS, terms_of
from postroad_common.store.suppressions import Suppression

_DAY = 86_400
_BATCH = 5000
_LANES = 5000
_SUPPRESSIONS = 20_000
_BIG = ("messages", "events", "webhook_deliveries")
Story = dict[str, dict[str, Any]]


async def fill(uri: str, count: int) -> dict[str, str]:
    """Write `count` messages of the last 30 days; return names of some of what there is."""
    started = time.time()
    database = Database(uri, patience=3600.0)
    await database.prepare()
    hook = await database.webhooks.create(
        account=ACCOUNT,
        url="http://127.0.0.1:9/hook",
        events=(),
        secret="whsec_AAAA",  # noqa: S106 - nobody listens
    )
    model = await _model(database, started)
    client: MongoClient[dict[str, Any]] = MongoClient(uri, w=1, appname="postroad bench")
    collections = client.get_default_database("postroad")
    deliveries = await _first_delivery(database, hook.id, collections)
    for name in _BIG:
        collections[name].drop_indexes()
    newest = _write(collections, model, deliveries, count, started)
    client.close()
    say(f"{count} messages written in {time.time() - started:.0f} s; building indexes")
    await database.prepare()
    await _others(database, count, started)
    await database.close()
    say(f"filled in {time.time() - started:.0f} s")
    return {"id": newest, "hook": hook.id}


async def _model(database: Database, now: float) -> Story:
    """Return the documents of one message as the services write them, by collection."""
    recipient = Recipient(id=new_id(now - DAYS * _DAY), address="r0@d0.example")
    moment = now - DAYS * _DAY
    submission = Submission(
        id=new_id(moment), account=ACCOUNT, credential="login0", source="smtp",
        received=moment, envelope="shop@shop.example", recipients=(recipient,),
        features=Features(), tags=("t0",), subject="Your order 0", sender="shop@shop.example",
        expires=moment + _DAY, size=10_000,
    )  # fmt: skip
    facts = {"attempt": 0, "reply": "250 2.0.0 Ok", "host": "mx.d0.example", "address": "192.0.2.1"}
    last = events.happened(EventName.DELIVERED, recipient.id, moment + 1, facts, account=ACCOUNT)
    told = [events.accepted(submission, recipient), last]
    await database.events.insert(told)
    await database.messages.apply(told)
    raw = database.messages._messages  # noqa: SLF001 - the document as it is
    stored = database.events._events  # noqa: SLF001 - the same
    found = [document async for document in stored.find({"message": recipient.id}).sort("time", 1)]
    record = await raw.find_one({"_id": recipient.id})
    assert record is not None  # noqa: S101 - it was written above
    return {"record": record, "accepted": found[0], "last": found[1]}


async def _first_delivery(
    database: Database, webhook: str, collections: Collections[dict[str, Any]]
) -> dict[str, Any]:
    """Return the document of a delivery to the webhook."""
    hook = await database.webhooks.find(webhook)
    assert hook is not None  # noqa: S101 - it was made above
    await database.outbox.add_call(hook, "test", {"message": "x" * 300})
    found = collections["webhook_deliveries"].find_one({"webhook": webhook})
    assert found is not None  # noqa: S101 - it was written above
    return found


def _write(
    collections: Collections[dict[str, Any]],
    model: Story,
    delivery: dict[str, Any],
    count: int,
    now: float,
) -> str:
    """Write the messages, two events of each, and a delivery of every tenth; return the newest."""
    unsafe = WriteConcern(w=1, j=False)
    target = {name: collections.get_collection(name, write_concern=unsafe) for name in _BIG}
    newest = ""
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        stories = [
            _story(model, number, now - DAYS * _DAY * (1 - number / count)) for number in numbers
        ]
        newest = stories[-1]["record"]["_id"]
        target["messages"].insert_many([story["record"] for story in stories], ordered=False)
        told = [story[name] for story in stories for name in ("accepted", "last")]
        target["events"].insert_many(told, ordered=False)
        calls = list(_deliveries(delivery, stories))
        target["webhook_deliveries"].insert_many(calls, ordered=False)
        if first % (20 * _BATCH) == 0:
            say(f"{first} of {count}")
    return newest


def _story(model: Story, number: int, moment: float) -> Story:
    """Return the documents of message `number`."""
    name = new_id(moment)
    state = "failed" if number % 50 == 0 else "deferred" if number % 997 == 0 else "delivered"
    record = model["record"] | {
        "_id": name,
        "submission": new_id(moment),
        "credential": f"login{number % 20}",
        "recipient": f"r{number % 50_000}@d{number % 2000}.example",
        "tags": [f"t{number % 10}"],
        "subject": f"Your order {number % 90_000}",
        "expires": moment + _DAY,
        "created": moment,
        "updated": moment + 1,
        "at": to_date(moment),
        "rank": RANKS[state],
    }
    record["terms"] = terms_of(record)
    if number % 7 == 0:
        record |= {"opens": 1, "clicks": number % 2}
    happened = {"message": name}
    kind = EventName(state)
    accepted = (
        model["accepted"]
        | happened
        | {"_id": f"{name}.accepted", "time": moment, "at": to_date(moment)}
    )
    last = (
        model["last"]
        | happened
        | {
            "_id": f"{name}.{kind}.0",
            "event": str(kind),
            "time": moment + 1,
            "at": to_date(moment + 1),
        }
    )
    return {"record": record, "accepted": accepted, "last": last}


def _deliveries(model: dict[str, Any], stories: Sequence[Story]) -> Iterator[dict[str, Any]]:
    for story in stories[::10]:
        moment = story["record"]["created"]
        yield model | {
            "_id": new_id(moment),
            "event": story["last"]["event"],
            "message": story["record"]["_id"],
            "created": moment,
            "due": moment,
            "since": moment,
            "state": "delivered",
            "tries": 1,
            "log": [{"time": moment, "status": 204, "error": "", "seconds": 0.1, "answer": ""}],
            "at": to_date(time.time()),  # the bench looks at it, whatever its age
        }


async def _others(database: Database, count: int, now: float) -> None:
    """Write what is beside the messages: counters, lanes, suppressions, domains."""
    await fill_counters(database, count, now)
    phases = [*[Phase.IDLE] * 7, Phase.OPEN, Phase.LIMITED, Phase.CLOSED]
    for first in range(0, _LANES, 1000):
        await database.lanes.save(
            {
                f"192.0.2.1|mx.d{number}.example": LaneState(
                    phase=phases[number % 10], waiting=number % 3, window=4, reason="421 4.7.0 wait"
                )
                for number in range(first, first + 1000)
            }
        )
    for first in range(0, _SUPPRESSIONS, 1000):
        await database.suppressions.add(
            Suppression(
                account=ACCOUNT, address=f"s{number}@d{number % 500}.example", reason="hard bounce",
                kind="bounce", created=now - number, expires=None, message="", list="",
            )
            for number in range(first, first + 1000)
        )  # fmt: skip
