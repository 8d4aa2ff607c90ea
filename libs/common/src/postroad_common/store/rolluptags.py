"""The counters of the tags of a day, several at once: which tags there are, and their sums.

A tag has a document of its own for each day on which there was any of it; those of one tag are
read by `rollups` as those of all mail are.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from postroad_common.store.access import Collection, Document, guarded

_MOST_READ = 10_000
"""Counters of tags that are looked through for the names of the newest or the largest."""
_MOST_RANKED = 4_000
"""Counters, the newest, that tell which tags are the largest where there are more than that."""


class TagTotals(NamedTuple):
    """The sums of some numbers of a tag, and the first and last day on which there was any."""

    first: str
    last: str
    counts: Mapping[str, int]


class TagRollups:
    """Those documents of the collection `rollups` that have a tag."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @guarded
    async def names(self, account: str, start: str, limit: int = 100) -> list[str]:
        """Tags with anything to tell since the date `start`, the most recent first."""
        cursor = await self._collection.aggregate(
            [
                {"$match": {"account": account, "tag": {"$ne": ""}, "day": {"$gte": start}}},
                {"$sort": {"day": -1}},
                {"$limit": _MOST_READ},
                {"$group": {"_id": "$tag", "last": {"$max": "$day"}}},
                {"$sort": {"last": -1, "_id": 1}},
                {"$limit": limit},
            ]
        )
        return [found["_id"] async for found in cursor]

    @guarded
    async def totals(
        self, account: str, start: str, end: str, tags: Sequence[str], names: Sequence[str]
    ) -> dict[str, TagTotals]:
        """Return the sums of some numbers of each of the tags that there is something of."""
        query = {"account": account, "tag": {"$in": tags}, "day": {"$gte": start, "$lte": end}}
        sums = {name: {"$sum": f"$counts.{name}"} for name in names}
        span = {"first": {"$min": "$day"}, "last": {"$max": "$day"}}
        cursor = await self._collection.aggregate(
            [{"$match": query}, {"$group": {"_id": "$tag", **sums, **span}}]
        )
        return {
            found.pop("_id"): TagTotals(found.pop("first"), found.pop("last"), found)
            async for found in cursor
        }

    @guarded
    async def largest(
        self, account: str, start: str, end: str, names: Sequence[str], limit: int
    ) -> dict[str, Mapping[str, int]]:
        """Return the sums of some numbers of the tags with most mail, from `start` to `end`.

        Where there are too many counters to add them all up, it is those with most mail lately, and
        fewer the longer the time is.
        """
        query: Document = {
            "account": account,
            "tag": {"$ne": ""},
            "day": {"$gte": start, "$lte": end},
        }
        if await self._collection.count_documents(query, limit=_MOST_READ + 1) > _MOST_READ:
            lately: list[Document] = [
                {"$match": query},
                {"$sort": {"day": -1}},
                {"$limit": _MOST_RANKED},
            ]
            days = (date.fromisoformat(end) - date.fromisoformat(start)).days + 1
            ranked = await self._sums(lately, (), min(limit, _MOST_READ // days))
            query["tag"] = {"$in": list(ranked)}
        return await self._sums([{"$match": query}], names, limit)

    @guarded
    async def days(
        self, account: str, start: str, end: str, tags: Sequence[str], what: str
    ) -> dict[str, dict[str, int]]:
        """Return one number of some tags by day and by tag, where there is any of it."""
        query = {"account": account, "tag": {"$in": tags}, "day": {"$gte": start, "$lte": end}}
        fields = {"_id": 0, "tag": 1, "day": 1, f"counts.{what}": 1}
        days: dict[str, dict[str, int]] = {}
        async for found in self._collection.find(query, fields):
            number = found.get("counts", {}).get(what, 0)
            days.setdefault(found["day"], {})[found["tag"]] = number
        return days

    async def _sums(
        self, stages: Sequence[Document], names: Sequence[str], limit: int
    ) -> dict[str, Mapping[str, int]]:
        sums = {name: {"$sum": f"$counts.{name}"} for name in ("accepted", *names)}
        cursor = await self._collection.aggregate(
            [
                *stages,
                {"$group": {"_id": "$tag", **sums}},
                {"$sort": {"accepted": -1, "_id": 1}},
                {"$limit": limit},
            ]
        )
        return {found.pop("_id"): found async for found in cursor}
