"""What the sender knows of each lane, and what operators have ordered for it.

The sender owns `state` and writes it; the REST API writes `order` and reads both. The shape of the
state is the sender's business: here it is JSON.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne

from postroad_common.store.access import Collection, Document, guarded, to_date


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """A lane by its key, `source|site`."""

    key: str
    state: dict[str, Any]
    order: dict[str, Any]
    updated: float
    ordered: float


def _read(found: Document) -> LaneRecord:
    return LaneRecord(
        key=found["_id"],
        state=found.get("state", {}),
        order=found.get("order", {}),
        updated=found.get("updated", 0.0),
        ordered=found.get("ordered", 0.0),
    )


class Lanes:
    """The collection `lanes`."""

    def __init__(self, collection: Collection) -> None:
        self._lanes = collection

    @guarded
    async def save(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the states of lanes, by key."""
        now = time.time()
        if states:
            await self._lanes.bulk_write(
                [
                    UpdateOne(
                        {"_id": key},
                        {"$set": {"state": dict(state), "updated": now, "at": to_date(now)}},
                        upsert=True,
                    )
                    for key, state in states.items()
                ],
                ordered=False,
            )

    @guarded
    async def order(self, key: str, changes: Mapping[str, Any]) -> LaneRecord:
        """Merge an operator's order into the lane's; a value of None takes it back."""
        now = time.time()
        update: Document = {"$set": {"ordered": now}}
        for name, value in changes.items():
            if value is None:
                update.setdefault("$unset", {})[f"order.{name}"] = ""
            else:
                update["$set"][f"order.{name}"] = value
        found = await self._lanes.find_one_and_update(
            {"_id": key}, update, upsert=True, return_document=True
        )
        assert found is not None  # noqa: S101 - an upsert returns a document
        return _read(found)

    @guarded
    async def ordered_since(self, moment: float) -> list[LaneRecord]:
        """Return the lanes with an order given after `moment` (Unix seconds)."""
        cursor = self._lanes.find({"ordered": {"$gt": moment}})
        return [_read(found) async for found in cursor]

    @guarded
    async def list(
        self, *, after: str = "", limit: int = 1000, site: str = "", phase: str = ""
    ) -> list[LaneRecord]:
        """Lanes in the order of their keys, from behind `after`.

        `site` is a part of the site's name, `phase` that of the state.
        """
        query: Document = {"_id": {"$gt": after}}
        if site:
            pattern = re.compile(rf"\|.*{re.escape(site)}", re.IGNORECASE)
            query = {"$and": [query, {"_id": pattern}]}
        if phase:
            query["state.phase"] = phase
        cursor = self._lanes.find(query).sort("_id", 1).limit(limit)
        return [_read(found) async for found in cursor]

    @guarded
    async def get(self, key: str) -> LaneRecord | None:
        """One lane."""
        found = await self._lanes.find_one({"_id": key})
        return None if found is None else _read(found)
