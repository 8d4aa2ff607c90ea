"""Orders to post events of the past once more: written by the ingress, carried out by feedback.

An order names a range of time, as long as the event log reaches back. It is carried out in pages
from the log; where it has come to is written down after each, so whoever takes it up next goes on
there.
"""

import time
from dataclasses import dataclass

from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Collection, Document, guarded, to_date
from postroad_common.store.webhooks import Webhook


@dataclass(frozen=True, slots=True)
class Replay:
    """An order. Times are Unix seconds; `position` is (time, id) of the last event done."""

    id: str
    webhook: str
    account: str
    start: float
    end: float
    created: float
    position: tuple[float, str]
    queued: int
    finished: float | None


def _read(found: Document) -> Replay:
    moment, event_id = found["position"]
    return Replay(
        id=found["_id"],
        webhook=found["webhook"],
        account=found["account"],
        start=found["start"],
        end=found["end"],
        created=found["created"],
        position=(float(moment), str(event_id)),
        queued=found["queued"],
        finished=found["finished"],
    )


class Replays:
    """The collection `webhook_replays`."""

    def __init__(self, collection: Collection) -> None:
        self._replays = collection

    @guarded
    async def order(self, webhook: Webhook, start: float, end: float) -> Replay:
        """Have the events from `start` until before `end` posted once more."""
        now = time.time()
        document: Document = {
            "_id": new_id(now),
            "webhook": webhook.id,
            "account": webhook.account,
            "start": start,
            "end": min(end, now),
            "created": now,
            "position": [start, ""],
            "queued": 0,
            "finished": None,
            "lease": 0.0,
            "at": to_date(now),
        }
        await self._replays.insert_one(document)
        return _read(document)

    @guarded
    async def list(self, account: str, webhook: str, limit: int = 50) -> list[Replay]:
        """Return the orders for an end point, the latest first."""
        cursor = self._replays.find({"account": account, "webhook": webhook})
        return [_read(found) async for found in cursor.sort("_id", -1).limit(limit)]

    @guarded
    async def count_open(self, account: str, webhook: str) -> int:
        """How many orders for the end point are not finished."""
        return await self._replays.count_documents(
            {"account": account, "webhook": webhook, "finished": None}
        )

    @guarded
    async def take(self, now: float, lease_seconds: float) -> Replay | None:
        """Lease the order that has waited longest of those nobody works on."""
        found = await self._replays.find_one_and_update(
            {"finished": None, "lease": {"$lte": now}},
            {"$set": {"lease": now + lease_seconds}},
            sort=[("lease", 1)],
        )
        return None if found is None else _read(found)

    @guarded
    async def progress(
        self, replay: Replay, position: tuple[float, str], queued: int, *, lease: float
    ) -> None:
        """Events up to `position` are done, `queued` of them now; nobody goes on before `lease`."""
        await self._replays.update_one(
            {"_id": replay.id},
            {"$set": {"position": list(position), "lease": lease}, "$inc": {"queued": queued}},
        )

    @guarded
    async def finish(self, replay: Replay, now: float) -> None:
        """There is nothing more to do."""
        await self._replays.update_one({"_id": replay.id}, {"$set": {"finished": now}})
