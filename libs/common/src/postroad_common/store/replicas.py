"""Which processes of a service are alive: each writes now and then that it is.

All times are the database's own, so the clocks of the machines need not agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from postroad_common.store.access import Collection, guarded

ALIVE_FOR = 5.0
"""Seconds after its last sign of life for which a process counts as alive."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A living process and the names of what it holds, whatever these mean to its service."""

    name: str
    holds: frozenset[str]


class Replicas:
    """The collection `replicas`."""

    def __init__(self, collection: Collection) -> None:
        self._replicas = collection

    @guarded
    async def beat(self, service: str, name: str, holds: Sequence[str] = ()) -> list[Replica]:
        """Say that `name` is alive; returns all that are, in the order of their names."""
        facts = {"service": service, "holds": {"$literal": list(holds)}, "at": "$$NOW"}
        await self._replicas.update_one({"_id": name}, [{"$set": facts}], upsert=True)
        since = {"$subtract": ["$$NOW", int(ALIVE_FOR * 1000)]}
        cursor = self._replicas.find({"service": service, "$expr": {"$gt": ["$at", since]}})
        found = [
            Replica(document["_id"], frozenset(document.get("holds", ())))
            async for document in cursor
        ]
        return sorted(found, key=lambda replica: replica.name)

    @guarded
    async def leave(self, name: str) -> None:
        """Take a replica off the list: it ends, and need not be waited for."""
        await self._replicas.delete_one({"_id": name})
