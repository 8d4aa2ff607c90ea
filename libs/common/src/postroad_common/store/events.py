"""The event log: one document per fact, found by message, by account and time."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from postroad_common.schemas.eventdata import AttemptData
from postroad_common.schemas.events import OWN_MAIL, Event, EventName, recall
from postroad_common.store.access import Collection, Document, guarded, insert_unknown, to_date
from postroad_common.store.messages import FACTS

CONVERSATIONS = 10
"""Attempts of a message, the last ones, whose SMTP conversation is kept."""
TIMELINE = 1000
"""Events in the timeline of one message; of more, the newest."""
_LEFT_OUT = frozenset({*FACTS, "received", "message_id_hash"})  # kept in the message record


def _write(event: Event, batch: str, *, waiting: bool) -> Document:
    data = event.facts
    if event.event in {EventName.ACCEPTED, EventName.TRANSFORMED, EventName.SUPPRESSED}:
        data = {key: value for key, value in data.items() if key not in _LEFT_OUT}
    document: Document = {
        "_id": event.id,
        "event": str(event.event),
        "message": event.message,
        "account": event.account,
        "time": event.time,
        "at": to_date(event.time),
        "data": data,
    }
    if waiting:
        document["waiting"] = True
    elif batch:
        document["batch"] = batch
    return document


def read_event(found: Document) -> Event:
    """Return the event that a document of `events` tells of."""
    values = {name: found[name] for name in ("event", "message", "account", "time", "data")}
    return recall({"id": found["_id"], **values})


class Events:
    """The collection `events`."""

    def __init__(self, collection: Collection) -> None:
        self._events = collection

    @guarded
    async def insert(
        self, events: Sequence[Event], *, batch: str = "", waiting: AbstractSet[str] = frozenset()
    ) -> list[Event]:
        """Add `events`; those whose id is known already are left alone.

        `batch` names the ledger entry under which they are counted; those whose ids are in
        `waiting` are set aside until their message is known (both: `ledger`). Returns those that
        were new.
        """
        unique = list({event.id: event for event in events}.values())
        if not unique:
            return []
        known = await insert_unknown(
            self._events, [_write(event, batch, waiting=event.id in waiting) for event in unique]
        )
        if known:
            unique = [event for index, event in enumerate(unique) if index not in known]
        await self._forget_conversations(unique)
        return unique

    async def _forget_conversations(self, events: Iterable[Event]) -> None:
        """Delete those of attempts that are too many before the ones in `events`."""
        names = (EventName.DEFERRED, EventName.FAILED, EventName.DELIVERED)
        ids = [
            f"{event.message}.{EventName.DEFERRED}.{attempt - CONVERSATIONS}"
            for event in events
            if event.event in names
            and isinstance(event.data, AttemptData)
            and (attempt := event.data.attempt or 0) >= CONVERSATIONS
        ]
        if ids:
            await self._events.update_many(
                {"_id": {"$in": ids}}, {"$unset": {"data.conversation": ""}}
            )

    @guarded
    async def timeline(self, message_id: str, limit: int = TIMELINE) -> list[Event]:
        """Return what happened to a message, oldest first; of very much, the newest."""
        cursor = self._events.find({"message": message_id}).sort([("time", -1), ("_id", -1)])
        found = [read_event(document) async for document in cursor.limit(limit)]
        return found[::-1]

    @guarded
    async def timelines(
        self, message_ids: Iterable[str], limit: int = TIMELINE
    ) -> dict[str, list[Event]]:
        """Return the timeline of each of the messages, as `timeline` has it, read together."""
        found: dict[str, list[Event]] = {message_id: [] for message_id in message_ids}
        waiting = list(found)
        while waiting:
            # In the order of their index: no more is read than is returned.
            cursor = self._events.find({"message": {"$in": waiting}})
            cursor.sort([("message", -1), ("time", -1)])
            waiting = []
            async with cursor:
                async for document in cursor:
                    message = document["message"]
                    if len(found[message]) == limit:  # enough of this one
                        waiting = [one for one in found if one < message]
                        break
                    found[message].append(read_event(document))
        for events in found.values():
            events.sort(key=lambda event: (event.time, event.id))
        return found

    @guarded
    async def reactions(self, message_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
        """How often people have opened and clicked each of the messages; machines left out."""
        cursor = await self._events.aggregate(
            [
                {
                    "$match": {
                        "message": {"$in": list(message_ids)},
                        "event": {"$in": [str(EventName.OPENED), str(EventName.CLICKED)]},
                        "data.machine": {"$ne": True},
                    }
                },
                {"$group": {"_id": {"m": "$message", "e": "$event"}, "count": {"$sum": 1}}},
            ]
        )
        counts: dict[str, dict[str, int]] = {}
        async for found in cursor:
            counts.setdefault(found["_id"]["m"], {})[found["_id"]["e"]] = found["count"]
        return {
            message: (by.get(EventName.OPENED, 0), by.get(EventName.CLICKED, 0))
            for message, by in counts.items()
        }

    @guarded
    async def search(
        self,
        account: str,
        *,
        names: Iterable[str] = (),
        message_ids: Iterable[str] | None = None,
        bounce_class: str | None = None,
        hard: bool | None = None,
        start: float | None = None,
        end: float | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Events of `account`, newest first; `before` is (time, id) of the last one of a page.

        `bounce_class` and `hard` are of events that tell of a bounce. Those of mail that Postroad
        wrote itself are found by their message id only.
        """
        query: dict[str, Any] = {"account": account}
        if wanted := list(names):
            query["event"] = {"$in": wanted}
        if message_ids is not None:
            query["message"] = {"$in": list(message_ids)}
        else:
            query["data.kind"] = {"$nin": list(OWN_MAIL)}
        if bounce_class is not None:
            query["data.class"] = bounce_class
        if hard is not None:
            query["data.hard"] = True if hard else {"$ne": True}
        if start is not None or end is not None:
            query["time"] = {
                **({"$gte": start} if start is not None else {}),
                **({"$lt": end} if end is not None else {}),
            }
        if before is not None:
            time, event_id = before
            query["$or"] = [{"time": {"$lt": time}}, {"time": time, "_id": {"$lt": event_id}}]
        cursor = self._events.find(query).sort([("time", -1), ("_id", -1)]).limit(limit)
        return [read_event(found) async for found in cursor]

    @guarded
    async def since(
        self,
        account: str,
        after: tuple[float, str],
        end: float,
        *,
        names: Iterable[str] = (),
        limit: int = 500,
    ) -> list[Event]:
        """Events of `account` behind (time, id) and before `end`, oldest first.

        Those of mail that Postroad wrote itself are left out.
        """
        moment, event_id = after
        query: dict[str, Any] = {
            "account": account,
            "time": {"$gte": moment, "$lt": end},
            "$or": [{"time": {"$gt": moment}}, {"time": moment, "_id": {"$gt": event_id}}],
            "data.kind": {"$nin": list(OWN_MAIL)},
        }
        if wanted := list(names):
            query["event"] = {"$in": wanted}
        cursor = self._events.find(query).sort([("time", 1), ("_id", 1)]).limit(limit)
        return [read_event(found) async for found in cursor]
