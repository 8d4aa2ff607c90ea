"""Turns of webhooks' end points: who posts to which now, and which come next.

A turn is a lease on one end point, so that replicas share the work, an end point's concurrency
limit holds for all of them together, and a dead end point occupies nobody.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pymongo import UpdateOne

from postroad_common.store.access import Collection, Document, guarded
from postroad_common.store.deliveries import DeliveryState

_NEVER = 1e12  # seconds; later than any delivery


@dataclass(frozen=True, slots=True)
class Turn:
    """A lease on an end point. `failures`: tries in a row that failed, since `failing_since`.

    `batch` is how many events it has shown to take in one call, if less than its owner wishes.
    """

    webhook: str
    owner: str
    failures: int
    failing_since: float | None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Failing:
    """An end point whose calls fail: how many in a row, since when, and when the next one is due.

    Times are Unix seconds.
    """

    failures: int
    since: float
    next_call: float


@dataclass(frozen=True, slots=True)
class Gap:
    """From when on, and until when if it has ended, no events were written for an end point."""

    start: float
    end: float | None


class EndPointTurns:
    """The collection `webhook_turns`; when something is due stands in `deliveries`."""

    def __init__(self, turns: Collection, deliveries: Collection) -> None:
        self._turns = turns
        self._deliveries = deliveries

    async def notify(self, due: Mapping[str, float]) -> None:
        """Note that there is something for these end points, due at these times."""
        await self._turns.bulk_write(
            [
                UpdateOne(
                    {"_id": webhook},
                    {"$min": {"next": moment}, "$setOnInsert": {"hold": 0.0, "lease": 0.0}},
                    upsert=True,
                )
                for webhook, moment in due.items()
            ],
            ordered=False,
        )

    @guarded
    async def take(self, owner: str, now: float, lease_seconds: float) -> Turn | None:
        """Lease the end point that has had something due for the longest time."""
        found = await self._turns.find_one_and_update(
            {"next": {"$lte": now}, "hold": {"$lte": now}, "lease": {"$lte": now}},
            {"$set": {"lease": now + lease_seconds, "owner": owner}, "$unset": {"woken": ""}},
            sort=[("next", 1)],
        )
        if found is None:
            return None
        return Turn(
            found["_id"],
            owner,
            found.get("failures", 0),
            found.get("failing_since"),
            found.get("batch"),
        )

    @guarded
    async def keep(self, turn: Turn, now: float, lease_seconds: float) -> bool:
        """Extend the lease; False when it was lost."""
        result = await self._turns.update_one(
            {"_id": turn.webhook, "owner": turn.owner}, {"$set": {"lease": now + lease_seconds}}
        )
        return result.matched_count == 1

    @guarded
    async def end(
        self,
        turn: Turn,
        *,
        hold: float,
        failures: int,
        failing_since: float | None,
        batch: int | None = None,
    ) -> None:
        """Give the lease back; nothing is posted to the end point before `hold`.

        Unless it was woken meanwhile: what its owner says counts, not what was tried before.
        """
        first = await self._next_due(turn.webhook)
        mine: Document = {"_id": turn.webhook, "owner": turn.owner}
        over: Document = {"lease": 0.0, "owner": None, "next": first, "batch": batch}
        told: Document = {"hold": hold, "failures": failures, "failing_since": failing_since}
        ended = await self._turns.update_one(
            {**mine, "woken": {"$ne": True}}, {"$set": {**over, **told}}
        )
        if not ended.matched_count:
            await self._turns.update_one(mine, {"$set": over})
        # `add` writes the delivery first and notifies second: a notice given in between and
        # overwritten here is found by a second look.
        again = await self._next_due(turn.webhook)
        if again < first:
            await self.notify({turn.webhook: again})

    async def _next_due(self, webhook: str) -> float:
        found = await self._deliveries.find_one(
            {"webhook": webhook, "state": str(DeliveryState.PENDING)},
            {"due": 1},
            sort=[("due", 1)],
        )
        return _NEVER if found is None else float(found["due"])

    @guarded
    async def wake(self, webhook: str, now: float) -> None:
        """Let the end point rest no longer: its owner says that it works."""
        await self._turns.update_one(
            {"_id": webhook},
            {"$set": {"hold": now, "failing_since": None, "failures": 0, "woken": True}},
        )

    @guarded
    async def end_rest(self, webhook: str, now: float) -> None:
        """Let the end point be called at `now`, with what is known of its failures."""
        await self._turns.update_one({"_id": webhook}, {"$set": {"hold": now}})
        await self.notify({webhook: now})

    @guarded
    async def failing(self, webhooks: Iterable[str]) -> dict[str, Failing]:
        """Return those of the end points whose last calls have failed."""
        cursor = self._turns.find(
            {"_id": {"$in": list(webhooks)}, "failing_since": {"$ne": None}, "failures": {"$gt": 0}}
        )
        return {
            found["_id"]: Failing(
                found["failures"], found["failing_since"], max(found["hold"], found["next"])
            )
            async for found in cursor
            if found["next"] < _NEVER
        }

    @guarded
    async def remove(self, webhook: str) -> None:
        """Forget the end point."""
        await self._turns.delete_one({"_id": webhook})

    @guarded
    async def overdue(self, now: float, limit: int = 1000) -> list[str]:
        """Return the end points that something is due for, those that rest included."""
        cursor = self._turns.find({"next": {"$lte": now}}, {"_id": 1}).limit(limit)
        return [found["_id"] async for found in cursor]

    @guarded
    async def gaps(self) -> dict[str, Gap]:
        """Return the end points for which events were left out and not yet replayed."""
        cursor = self._turns.find({"gap": {"$exists": True}}, {"gap": 1, "gap_end": 1})
        return {found["_id"]: Gap(found["gap"], found.get("gap_end")) async for found in cursor}

    @guarded
    async def open_gap(self, webhook: str, now: float) -> None:
        """Note that nothing is written for the end point from `now` on."""
        await self._turns.update_one({"_id": webhook}, {"$min": {"gap": now}})

    @guarded
    async def end_gap(self, webhook: str, now: float) -> None:
        """Note that events are written for it again."""
        await self._turns.update_one(
            {"_id": webhook, "gap_end": {"$exists": False}}, {"$set": {"gap_end": now}}
        )

    @guarded
    async def forget_gap(self, webhook: str) -> None:
        """Forget what was left out: it is replayed."""
        await self._turns.update_one({"_id": webhook}, {"$unset": {"gap": "", "gap_end": ""}})

    @guarded
    async def count_resting(self, now: float, limit: int) -> int:
        """How many end points rest, counted up to `limit`."""
        return await self._turns.count_documents({"hold": {"$gt": now}}, limit=limit)

    @guarded
    async def overdue_seconds(self, now: float) -> float:
        """Return for how long the end point has waited that has waited longest.

        One that rests does not wait: nobody may post to it.
        """
        found = await self._turns.find_one(
            {"next": {"$lte": now}, "hold": {"$lte": now}}, {"next": 1}, sort=[("next", 1)]
        )
        return 0.0 if found is None else now - float(found["next"])
