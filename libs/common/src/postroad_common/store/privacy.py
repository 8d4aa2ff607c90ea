"""What is stored about one address, to be shown to it or erased (GDPR articles 15 and 17).

Both go message by message in pages, so one call does a bounded amount of work whatever there is.
Erasing leaves what the account is owed: that a message was sent, when, and what became of it; the
address, the person's network addresses and programs, the subject and the content go.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne

from postroad_common.schemas.submission import BodyReference
from postroad_common.store.access import Collection, Document, guarded
from postroad_common.store.archive import Archive
from postroad_common.store.bodies import Bodies
from postroad_common.store.messages import RANKS

ERASED = "erased"
_PERSONAL = frozenset({"ip", "user_agent", "agent", "referer", "headers"})
_TEXTS = frozenset({"conversation"})  # name people in ways that no pattern finds: deleted whole
_READERS = frozenset({"opened", "clicked", "unsubscribed"})
_FINAL = sorted({rank for rank in RANKS.values() if rank >= RANKS["suppressed"]})


@dataclass(frozen=True, slots=True)
class Erased:
    """How much one call has erased; `more` tells that another call is needed."""

    messages: int
    events: int
    more: bool


class Privacy:
    """Works on the collections that name recipients, and on the stored bodies."""

    def __init__(
        self,
        *,
        messages: Collection,
        events: Collection,
        deliveries: Collection,
        reports: Collection,
        searches: Sequence[Collection],
        bodies: Bodies,
        archive: Archive,
    ) -> None:
        self._messages = messages
        self._events = events
        self._deliveries = deliveries
        self._reports = reports
        self._searches = searches
        self._bodies = bodies
        self._archive = archive

    @guarded
    async def message_ids(
        self, account: str, address: str, *, before: str | None = None, limit: int = 100
    ) -> list[str]:
        """Ids of messages of `account` to `address`, the newest first, behind `before`."""
        query: Document = {"account": account, "recipient": {"$in": _spellings(address)}}
        if before is not None:
            query["_id"] = {"$lt": before}
        cursor = self._messages.find(query, {"_id": 1}).sort("_id", -1).limit(limit)
        return [found["_id"] async for found in cursor]

    @guarded
    async def erase(self, account: str, address: str, *, limit: int = 100) -> Erased:
        """Erase the address from up to `limit` messages and all that is known of them.

        The message records come last: an interrupted call is done again from the start.
        """
        query = {"account": account, "recipient": {"$in": _spellings(address)}}
        await self._reports.delete_many(query)
        asked = {
            "account": account,
            "search.recipient": re.compile(f"^{re.escape(address)}$", re.IGNORECASE),
        }
        for searches in self._searches:
            await searches.update_many(asked, {"$set": {"search.recipient": ERASED}})
        records = [found async for found in self._messages.find(query).limit(limit)]
        ids = [found["_id"] for found in records]
        if not ids:
            return Erased(0, 0, more=False)
        events = await self._redact_events(ids, address)
        await self._deliveries.delete_many({"message": {"$in": ids}})
        await self._archive.erase(account, [record.get("submission", "") for record in records])
        for record in records:
            await self._delete_content(record, ids)
        await self._messages.update_many(
            {"_id": {"$in": ids}},
            {
                "$set": {
                    "recipient": ERASED,
                    "subject": "",
                    "orcpt": None,
                    "erased": True,
                    "terms": [],
                },
                "$unset": {"body": ""},
            },
        )
        return Erased(len(ids), events, more=len(ids) == limit)

    async def _redact_events(self, ids: Sequence[str], address: str) -> int:
        pattern = re.compile(re.escape(address), re.IGNORECASE)
        changed = 0
        operations: list[UpdateOne] = []
        # Own mail about these messages (a forward, a notification) names the address as well.
        about = {"$or": [{"message": {"$in": list(ids)}}, {"data.about": {"$in": list(ids)}}]}
        own: set[str] = set()
        async for found in self._events.find(about):
            if found["data"].get("about"):
                own.add(found["message"])
            data = _redacted(found["data"], pattern, readers=found["event"] in _READERS)
            if data != found["data"]:
                operations.append(UpdateOne({"_id": found["_id"]}, {"$set": {"data": data}}))
            if len(operations) >= 500:
                changed += await self._write(operations)
                operations = []
        if own:
            await self._messages.update_many({"_id": {"$in": list(own)}}, {"$set": {"subject": ""}})
        return changed + await self._write(operations)

    async def _write(self, operations: Sequence[UpdateOne]) -> int:
        if not operations:
            return 0
        result = await self._events.bulk_write(list(operations), ordered=False)
        return int(result.modified_count)

    async def _delete_content(self, record: Document, ids: Iterable[str]) -> None:
        """Delete the stored content, unless it is still to be sent, to this address or another."""
        reference = record.get("body")
        if not reference:
            return
        others: dict[str, Any] = {
            "submission": record["submission"],
            "body.file": reference["file"],
            "$or": [{"_id": {"$nin": list(ids)}}, {"rank": {"$nin": _FINAL}}],
        }
        if await self._messages.find_one(others, {"_id": 1}) is None:
            await self._bodies.delete(BodyReference.model_validate(reference))


def _spellings(address: str) -> list[str]:
    """Return the address as given, and in lower case: how it was written when the mail was sent."""
    local, at, domain = address.rpartition("@")
    return list(dict.fromkeys((address, f"{local}{at}{domain.lower()}", address.lower())))


def _redacted(value: Any, pattern: re.Pattern[str], *, readers: bool) -> Any:
    if isinstance(value, str):
        return pattern.sub(ERASED, value)
    if isinstance(value, list):
        return [_redacted(item, pattern, readers=readers) for item in value]
    if isinstance(value, dict):
        return {
            key: ERASED
            if readers and key in _PERSONAL and item
            else _redacted(item, pattern, readers=readers)
            for key, item in value.items()
            if key not in _TEXTS
        }
    return value
