"""What the sender knows of each lane, and what operators have directed for it.

The sender writes `state`; the REST API writes the directives (the document's `order`) and reads
both. Their shapes are in `schemas.lanes`.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne

from postroad_common.schemas.lanes import LaneState, Phase, StoredDirectives, StoredState
from postroad_common.store.access import Collection, Document, guarded, to_date

HELD = tuple(map(str, (Phase.CLOSED, Phase.PAUSED, Phase.DRAINING, Phase.DRAINED)))
"""The phases in which a lane sends nothing though it may have mail."""


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """A lane by its key, `source|site`; when its state was written, and when it was directed."""

    key: str
    state: StoredState
    directives: StoredDirectives
    updated: float
    directed: float


def read_lane(found: Mapping[str, Any]) -> LaneRecord:
    """Return the lane in a document of the collection."""
    return LaneRecord(
        key=found["_id"],
        state=StoredState.read(found.get("state", {})),
        directives=StoredDirectives.read(found.get("order", {})),
        updated=found.get("updated", 0.0),
        directed=found.get("ordered", 0.0),
    )


class Lanes:
    """The collection `lanes`."""

    def __init__(self, collection: Collection) -> None:
        self._lanes = collection

    @guarded
    async def save(self, states: Mapping[str, LaneState]) -> None:
        """Write the states of lanes, by key."""
        now = time.time()
        if states:
            await self._lanes.bulk_write(
                [
                    UpdateOne(
                        {"_id": key},
                        {"$set": {"state": state.document(), "updated": now, "at": to_date(now)}},
                        upsert=True,
                    )
                    for key, state in states.items()
                ],
                ordered=False,
            )

    @guarded
    async def direct(self, key: str, changes: Mapping[str, Any]) -> LaneRecord:
        """Merge an operator's directives into the lane's; a value of None takes one back."""
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
        return read_lane(found)

    @guarded
    async def directed_since(self, moment: float) -> list[LaneRecord]:
        """Return the lanes with a directive given after `moment` (Unix seconds)."""
        cursor = self._lanes.find({"ordered": {"$gt": moment}})
        return [read_lane(found) async for found in cursor]

    @guarded
    async def held(self, limit: int) -> list[LaneRecord]:
        """Return lanes that send nothing now: closed by the receiver, or stopped by an operator."""
        cursor = self._lanes.find({"state.phase": {"$in": list(HELD)}}).limit(limit)
        return [read_lane(found) async for found in cursor]

    @guarded
    async def list(
        self, *, after: str = "", limit: int = 1000, site: str = "", phase: str = ""
    ) -> list[LaneRecord]:
        """Return the lanes after the key `after`, in the order of their keys.

        `site` is a part of the site's name, `phase` that of the state.
        """
        query: Document = {"_id": {"$gt": after}}
        if site:
            pattern = re.compile(rf"\|.*{re.escape(site)}", re.IGNORECASE)
            query = {"$and": [query, {"_id": pattern}]}
        if phase:
            query["state.phase"] = phase
        cursor = self._lanes.find(query).sort("_id", 1).limit(limit)
        return [read_lane(found) async for found in cursor]

    @guarded
    async def get(self, key: str) -> LaneRecord | None:
        """Return one lane, if there is such a lane."""
        found = await self._lanes.find_one({"_id": key})
        return None if found is None else read_lane(found)
