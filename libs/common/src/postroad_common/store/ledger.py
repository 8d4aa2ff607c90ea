"""The ledger: how each event is counted once, whatever dies in between.

Before a batch of events is stored, its name and the ids of its events go into the ledger. New
documents carry the name of the batch that stored them, so it can be told later which of the ids
this batch really added, and the roll-ups refuse a batch they have seen (`rollups`). When all that
follows from the batch is done, its entry is deleted; an entry that stays is taken up by whoever
finds it.

Events whose message is not known yet wait: they are stored, but counted only when they are claimed
by a later batch.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

from pymongo import UpdateOne

from postroad_common.schemas.events import Event
from postroad_common.store.access import Collection, Document, guarded, insert_unknown, to_date
from postroad_common.store.events import read_event


class Ledger:
    """The collections `ledger` and `firsts`, and the bookkeeping fields of `events`."""

    def __init__(self, entries: Collection, events: Collection, firsts: Collection) -> None:
        self._entries = entries
        self._events = events
        self._firsts = firsts

    @guarded
    async def open(self, batch: str, event_ids: Sequence[str]) -> None:
        """Announce a batch. `batch` is a new identifier."""
        await self._entries.insert_one(
            {"_id": batch, "opened": time.time(), "events": list(event_ids)}
        )

    @guarded
    async def close(self, batch: str) -> None:
        """All that follows from the batch is done."""
        await self._entries.delete_one({"_id": batch})

    @guarded
    async def abandoned(self, before: float, limit: int = 20) -> list[tuple[str, list[str]]]:
        """Batches (name, event ids) that were opened before `before` and not closed."""
        cursor = self._entries.find({"opened": {"$lt": before}}).sort("_id", 1).limit(limit)
        return [(found["_id"], found["events"]) async for found in cursor]

    @guarded
    async def added_by(self, batch: str, event_ids: Sequence[str]) -> list[Event]:
        """Those of the events that this batch stored or claimed."""
        cursor = self._events.find({"_id": {"$in": list(event_ids)}, "batch": batch})
        return [read_event(found) async for found in cursor]

    @guarded
    async def waiting(self, after: tuple[float, str], limit: int = 500) -> list[Event]:
        """Events that wait for their message to be known, oldest first, behind (time, id)."""
        moment, event_id = after
        query: Document = {
            "waiting": True,
            "$or": [{"time": {"$gt": moment}}, {"time": moment, "_id": {"$gt": event_id}}],
        }
        cursor = self._events.find(query).sort([("time", 1), ("_id", 1)]).limit(limit)
        return [read_event(found) async for found in cursor]

    @guarded
    async def claim(self, batch: str, accounts: Mapping[str, str]) -> None:
        """Let the batch count waiting events, given by id, and note their accounts."""
        await self._events.bulk_write(
            [
                UpdateOne(
                    {"_id": event_id, "waiting": True},
                    {"$set": {"batch": batch, "account": account}, "$unset": {"waiting": ""}},
                )
                for event_id, account in accounts.items()
            ],
            ordered=False,
        )

    @guarded
    async def give_up(self, event_ids: Sequence[str]) -> None:
        """Let these wait no longer: they stay in the log, uncounted."""
        await self._events.update_many(
            {"_id": {"$in": list(event_ids)}}, {"$unset": {"waiting": ""}}
        )

    @guarded
    async def first_of(self, batch: str, marks: Iterable[str], now: float) -> set[str]:
        """Those of `marks` (any unique strings) that nobody has set before this batch."""
        names = sorted(set(marks))
        if not names:
            return set()
        await insert_unknown(
            self._firsts, [{"_id": name, "batch": batch, "at": to_date(now)} for name in names]
        )
        # Asked back rather than derived: a repetition of this batch must hear the same.
        cursor = self._firsts.find({"_id": {"$in": names}, "batch": batch}, {"_id": 1})
        return {found["_id"] async for found in cursor}
