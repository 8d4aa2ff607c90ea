"""What senders may use of a limit that all of them share: allowances of a day, and shares.

An allowance is a number for a day, leased in parts. What a process has leased and not used when it
dies is lost: fewer are used than allowed, never more. A share is the part of a number that one
holder has; the parts of all together never exceed the number.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.errors import DuplicateKeyError

from postroad_common.store.access import Collection, Document, guarded, to_date

DAY = 86_400
KEPT = 3 * DAY
"""Seconds after its day for which an allowance is kept."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`granted` of what was asked for; `leased` is what all together have of the day by now."""

    granted: int
    leased: int


@dataclass(frozen=True, slots=True)
class Division:
    """Who holds how much of a number, and who wants how much (with the time of the wish)."""

    revision: int = 0
    held: Mapping[str, int] = field(default_factory=dict)
    wanted: Mapping[str, tuple[int, float]] = field(default_factory=dict)


class Leases:
    """The collection `leases`."""

    def __init__(self, collection: Collection) -> None:
        self._leases = collection

    @guarded
    async def lease(self, name: str, day: int, many: int, most: int) -> Grant:
        """Lease up to `many` of the `most` that there are on `day` (days since 1970).

        Where the answer is lost, so is what was granted.
        """
        leased: Document = {"$ifNull": ["$leased", 0]}
        more = {"$max": [leased, {"$min": [most, {"$add": [leased, many]}]}]}
        update = [{"$set": {"leased": more, "at": to_date((day + 1) * DAY + KEPT)}}]
        try:
            before = await self._change(name, day, update)
        except DuplicateKeyError:  # somebody else has just made it
            before = await self._change(name, day, update)
        after = max(before, min(most, before + many))
        return Grant(after - before, after)

    async def _change(self, name: str, day: int, update: list[Document]) -> int:
        key = {"_id": f"{day}/{name}"}
        found = await self._leases.find_one_and_update(key, update, upsert=True)
        return 0 if found is None else int(found.get("leased", 0))

    @guarded
    async def give_back(self, name: str, day: int, many: int) -> None:
        """`many` of what was leased were not used, and will not be."""
        key = {"_id": f"{day}/{name}", "leased": {"$gte": many}}
        await self._leases.update_one(key, {"$inc": {"leased": -many}})

    @guarded
    async def divisions(self, names: Iterable[str]) -> dict[str, Division]:
        """How the numbers of these names are divided; nothing is said of those never divided."""
        cursor = self._leases.find({"_id": {"$in": [f"share/{name}" for name in names]}})
        return {found["_id"].removeprefix("share/"): _read(found) async for found in cursor}

    @guarded
    async def divide(self, name: str, division: Division) -> bool:
        """Replace the division with that revision. Whether nobody else has done so meanwhile."""
        document: Document = {
            "revision": division.revision + 1,
            "held": dict(division.held),
            "wanted": {holder: list(wish) for holder, wish in division.wanted.items()},
        }
        key: dict[str, Any] = {"_id": f"share/{name}", "revision": division.revision}
        try:
            done = await self._leases.update_one(
                key, {"$set": document}, upsert=division.revision == 0
            )
        except DuplicateKeyError:
            return False
        return bool(done.matched_count or done.upserted_id is not None)


def _read(found: Document) -> Division:
    return Division(
        revision=int(found["revision"]),
        held={holder: int(many) for holder, many in found.get("held", {}).items()},
        wanted={
            holder: (int(many), float(at)) for holder, (many, at) in found.get("wanted", {}).items()
        },
    )
