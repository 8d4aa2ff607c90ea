"""The webhooks' outbox: what is to be posted where, and how it went.

A delivery is written once per event and end point. End points are served in turns: a turn is a
lease on one end point, so that replicas share the work, an end point's concurrency limit holds for
all of them together, and a dead end point occupies nobody.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pymongo import UpdateOne

from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Collection, Document, guarded, insert_unknown, to_date
from postroad_common.store.webhooks import Webhook

_KEPT_TRIES = 20
_NEVER = 1e12  # seconds; later than any delivery


class DeliveryState(StrEnum):
    """How far a delivery has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Try:
    """One request: when (Unix seconds), the status or else the error, how long (seconds)."""

    time: float
    status: int | None
    error: str
    seconds: float
    answer: str = ""


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One event for one end point. `body` is the exact JSON that is posted; times in seconds."""

    id: str
    webhook: str
    account: str
    event: str
    message: str
    body: str
    created: float
    due: float
    state: DeliveryState = DeliveryState.PENDING
    since: float = 0.0
    """When it began to be tried: as it was created, or replayed last."""
    tries: int = 0
    log: tuple[Try, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """A lease on an end point. `failures`: tries in a row that failed, since `failing_since`."""

    webhook: str
    owner: str
    failures: int
    failing_since: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a try: the new state and, while pending, when it is due again."""

    delivery: str
    attempt: Try
    state: DeliveryState
    due: float


def _write(delivery: WebhookDelivery) -> Document:
    return {
        "_id": delivery.id,
        "webhook": delivery.webhook,
        "account": delivery.account,
        "event": delivery.event,
        "message": delivery.message,
        "body": delivery.body,
        "created": delivery.created,
        "due": delivery.due,
        "state": str(delivery.state),
        "since": delivery.since or delivery.created,
        "tries": delivery.tries,
        "log": [],
        "at": to_date(delivery.created),
    }


def _read(found: Document) -> WebhookDelivery:
    return WebhookDelivery(
        id=found["_id"],
        webhook=found["webhook"],
        account=found["account"],
        event=found["event"],
        message=found["message"],
        body=found["body"],
        created=found["created"],
        due=found["due"],
        state=DeliveryState(found["state"]),
        since=found["since"],
        tries=found["tries"],
        log=tuple(Try(**entry) for entry in found.get("log", ())),
    )


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in all: deliveries, end points that rest, and for how long one is overdue."""

    waiting: int
    resting: int
    overdue_seconds: float


class Outbox:
    """The collections `webhook_deliveries` and `webhook_turns`."""

    def __init__(self, deliveries: Collection, turns: Collection) -> None:
        self._deliveries = deliveries
        self._turns = turns

    @guarded
    async def add(self, deliveries: Sequence[WebhookDelivery]) -> None:
        """Write new deliveries; those whose id is known already are left alone."""
        if not deliveries:
            return
        await insert_unknown(self._deliveries, [_write(delivery) for delivery in deliveries])
        await self._notify({delivery.webhook: delivery.due for delivery in deliveries})

    async def add_call(self, webhook: Webhook, kind: str, data: Mapping[str, Any]) -> str:
        """Have the end point called with something that is no event; returns the delivery's id.

        `kind` is `test`, or `verification` with a `challenge` that the answer must repeat.
        """
        now = time.time()
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        body = {"type": kind, "timestamp": moment.replace("+00:00", "Z"), "data": dict(data)}
        delivery = WebhookDelivery(
            id=new_id(now),
            webhook=webhook.id,
            account=webhook.account,
            event=kind,
            message="",
            body=json.dumps(body, separators=(",", ":")),
            created=now,
            due=now,
        )
        await self.add([delivery])
        return delivery.id

    async def _notify(self, due: Mapping[str, float]) -> None:
        """There is something for these end points, due at these times."""
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
    async def take_turn(self, owner: str, now: float, lease_seconds: float) -> Turn | None:
        """Lease the end point that has had something due for the longest time."""
        found = await self._turns.find_one_and_update(
            {"next": {"$lte": now}, "hold": {"$lte": now}, "lease": {"$lte": now}},
            {"$set": {"lease": now + lease_seconds, "owner": owner}},
            sort=[("next", 1)],
        )
        if found is None:
            return None
        return Turn(found["_id"], owner, found.get("failures", 0), found.get("failing_since"))

    @guarded
    async def keep_turn(self, turn: Turn, now: float, lease_seconds: float) -> bool:
        """Extend the lease; False when it was lost."""
        result = await self._turns.update_one(
            {"_id": turn.webhook, "owner": turn.owner}, {"$set": {"lease": now + lease_seconds}}
        )
        return result.matched_count == 1

    @guarded
    async def end_turn(
        self, turn: Turn, *, hold: float, failures: int, failing_since: float | None
    ) -> None:
        """Give the lease back; nothing is posted to the end point before `hold`."""
        first = await self._next_due(turn.webhook)
        await self._turns.update_one(
            {"_id": turn.webhook, "owner": turn.owner},
            {
                "$set": {
                    "lease": 0.0,
                    "owner": None,
                    "next": first,
                    "hold": hold,
                    "failures": failures,
                    "failing_since": failing_since,
                }
            },
        )
        # `add` writes the delivery first and notifies second: a notice given in between and
        # overwritten here is found by a second look.
        again = await self._next_due(turn.webhook)
        if again < first:
            await self._notify({turn.webhook: again})

    async def _next_due(self, webhook: str) -> float:
        found = await self._deliveries.find_one(
            {"webhook": webhook, "state": str(DeliveryState.PENDING)},
            {"due": 1},
            sort=[("due", 1)],
        )
        return _NEVER if found is None else float(found["due"])

    @guarded
    async def remove_turn(self, webhook: str) -> None:
        """Fail the pending deliveries of an end point that is gone or takes no part any more."""
        await self._turns.delete_one({"_id": webhook})
        await self._deliveries.update_many(
            {"webhook": webhook, "state": str(DeliveryState.PENDING)},
            {"$set": {"state": str(DeliveryState.FAILED)}},
        )

    @guarded
    async def due(self, webhook: str, now: float, limit: int) -> list[WebhookDelivery]:
        """Pending deliveries to this end point whose time has come, the longest due first."""
        cursor = self._deliveries.find(
            {"webhook": webhook, "state": str(DeliveryState.PENDING), "due": {"$lte": now}}
        )
        return [_read(found) async for found in cursor.sort("due", 1).limit(limit)]

    @guarded
    async def note(self, results: Sequence[Result]) -> None:
        """Write down how tries went."""
        if not results:
            return
        await self._deliveries.bulk_write(
            [
                UpdateOne(
                    {"_id": result.delivery},
                    {
                        "$set": {"state": str(result.state), "due": result.due},
                        "$inc": {"tries": 1},
                        "$push": {"log": {"$each": [_entry(result)], "$slice": -_KEPT_TRIES}},
                    },
                )
                for result in results
            ],
            ordered=False,
        )

    @guarded
    async def log(
        self,
        account: str,
        webhook: str,
        *,
        state: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[WebhookDelivery]:
        """Return the deliveries to an end point of `account`, in falling order of their ids."""
        query: Document = {"account": account, "webhook": webhook}
        if state is not None:
            query["state"] = state
        if before is not None:
            query["_id"] = {"$lt": before}
        cursor = self._deliveries.find(query).sort("_id", -1).limit(limit)
        return [_read(found) async for found in cursor]

    @guarded
    async def get(self, account: str, webhook: str, delivery: str) -> WebhookDelivery | None:
        """One delivery to an end point of `account`."""
        found = await self._deliveries.find_one(
            {"_id": delivery, "account": account, "webhook": webhook}
        )
        return None if found is None else _read(found)

    @guarded
    async def add_again(self, deliveries: Sequence[WebhookDelivery]) -> None:
        """Write deliveries that are to be made whether they were made before or not.

        What was noted of earlier tries stays; three days of trying begin anew.
        """
        if not deliveries:
            return
        operations = []
        for delivery in deliveries:
            values = _write(delivery)
            renewed = {name: values.pop(name) for name in ("body", "due", "state", "since", "at")}
            operations.append(
                UpdateOne(
                    {"_id": values.pop("_id")},
                    {"$set": renewed, "$setOnInsert": values},
                    upsert=True,
                )
            )
        await self._deliveries.bulk_write(operations, ordered=False)
        await self._notify({delivery.webhook: delivery.due for delivery in deliveries})

    @guarded
    async def wake(self, webhook: str, now: float) -> None:
        """Let the end point rest no longer: its owner says that it works."""
        await self._turns.update_one(
            {"_id": webhook}, {"$set": {"hold": now, "failing_since": None, "failures": 0}}
        )

    @guarded
    async def backlog(self, now: float, limit: int) -> Backlog:
        """Return what waits for all end points together, counted up to `limit` of each.

        What waits for an end point that rests is not overdue: nobody may post it.
        """
        waiting = await self._deliveries.count_documents(
            {"webhook": {"$gt": ""}, "state": str(DeliveryState.PENDING)}, limit=limit
        )
        resting = await self._turns.count_documents({"hold": {"$gt": now}}, limit=limit)
        overdue = await self._turns.find_one(
            {"next": {"$lte": now}, "hold": {"$lte": now}}, {"next": 1}, sort=[("next", 1)]
        )
        late = 0.0 if overdue is None else now - float(overdue["next"])
        return Backlog(waiting, resting, late)

    @guarded
    async def count_waiting(self, webhook: str, limit: int) -> int:
        """How many deliveries wait for the end point, counted up to `limit`."""
        return await self._deliveries.count_documents(
            {"webhook": webhook, "state": str(DeliveryState.PENDING)}, limit=limit
        )


def _entry(result: Result) -> dict[str, Any]:
    attempt = result.attempt
    return {
        "time": attempt.time,
        "status": attempt.status,
        "error": attempt.error,
        "seconds": attempt.seconds,
        "answer": attempt.answer,
    }
