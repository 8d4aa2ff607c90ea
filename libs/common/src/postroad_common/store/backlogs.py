"""Which lanes have a queue of their own for their backlog, so that every owner finds it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postroad_common.store.access import Collection, guarded


@dataclass(frozen=True, slots=True)
class BacklogRecord:
    """`queue` holds mail of `lane`; `domain` is one that leads there; `home` its shard.

    `oldest` is about from when its oldest mail could be delivered (Unix seconds).
    """

    queue: str
    lane: str
    domain: str
    home: str
    oldest: float | None = None


class BacklogRecords:
    """The collection `backlogs`. A record is written before its queue is, and deleted after it."""

    def __init__(self, collection: Collection) -> None:
        self._backlogs = collection

    @guarded
    async def put(self, record: BacklogRecord) -> None:
        """Note that the queue is about to exist."""
        document = {"lane": record.lane, "domain": record.domain, "home": record.home}
        await self._backlogs.update_one({"_id": record.queue}, {"$set": document}, upsert=True)

    @guarded
    async def of_shards(self, homes: Iterable[str]) -> list[BacklogRecord]:
        """Those whose home is one of the shards `homes`."""
        cursor = self._backlogs.find({"home": {"$in": sorted(homes)}})
        return [
            BacklogRecord(
                found["_id"], found["lane"], found["domain"], found["home"], found.get("oldest")
            )
            async for found in cursor
        ]

    @guarded
    async def note_oldest(self, queue: str, oldest: float) -> None:
        """Note how old the mail of a queue is, unless the queue is over."""
        await self._backlogs.update_one({"_id": queue}, {"$set": {"oldest": oldest}})

    @guarded
    async def lanes_among(self, queues: Mapping[str, str]) -> list[str]:
        """Return the lanes among `queues` (lane by name of its queue) that have a backlog."""
        cursor = self._backlogs.find({"_id": {"$in": list(queues)}}, {"_id": 1})
        return [queues[found["_id"]] async for found in cursor]

    @guarded
    async def remove(self, queue: str) -> None:
        """Forget a queue that is gone."""
        await self._backlogs.delete_one({"_id": queue})
