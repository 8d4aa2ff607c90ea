"""The webhooks' outbox: what is to be posted where, and how it went.

A delivery is written once per event and end point (`deliveries`). End points are served in turns
(`turns`).
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import UpdateOne

from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Collection, Document, guarded, insert_unknown
from postroad_common.store.deliveries import (
    DeliveryState,
    Result,
    Try,
    WebhookDelivery,
    read,
    write,
    write_try,
)
from postroad_common.store.turns import EndPointTurns
from postroad_common.store.webhooks import Webhook

_KEPT_TRIES = 20
_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """What waits in all: deliveries, end points that rest, and for how long one is overdue."""

    waiting: int
    resting: int
    overdue_seconds: float


class Outbox:
    """The collection `webhook_deliveries`, and the `turns` in which they are made."""

    def __init__(self, deliveries: Collection, turns: EndPointTurns) -> None:
        self._deliveries = deliveries
        self.turns = turns

    @guarded
    async def add(self, deliveries: Sequence[WebhookDelivery]) -> None:
        """Write new deliveries; those whose id is known already are left alone."""
        if not deliveries:
            return
        await insert_unknown(self._deliveries, [write(delivery) for delivery in deliveries])
        await self.turns.notify(_first_due(deliveries))

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

    @guarded
    async def give_up(self, webhook: str) -> None:
        """Fail the pending deliveries of an end point that is gone or takes no part any more."""
        await self.turns.remove(webhook)
        await self._deliveries.update_many(
            {"webhook": webhook, "state": str(DeliveryState.PENDING)},
            {"$set": {"state": str(DeliveryState.FAILED)}},
        )

    @guarded
    async def post_now(self, webhook: str, now: float) -> None:
        """Have what waits for an end point posted at `now`, whether it rests or not.

        Its failures are not forgotten: one call shows whether it is back.
        """
        await self._deliveries.update_many(
            {"webhook": webhook, "state": str(DeliveryState.PENDING), "due": {"$gt": now}},
            {"$set": {"due": now}},
        )
        await self.turns.end_rest(webhook, now)

    @guarded
    async def due(self, webhook: str, now: float, limit: int) -> list[WebhookDelivery]:
        """Pending deliveries to this end point whose time has come, the longest due first."""
        cursor = self._deliveries.find(
            {"webhook": webhook, "state": str(DeliveryState.PENDING), "due": {"$lte": now}}
        )
        return [read(found) async for found in cursor.sort("due", 1).limit(limit)]

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
                        "$inc": {"tries": int(result.counts)},
                        "$push": {
                            "log": {"$each": [write_try(result.attempt)], "$slice": -_KEPT_TRIES}
                        },
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
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[WebhookDelivery]:
        """Return the deliveries to an end point of `account`, newest first.

        What is posted again counts from then; `before`: `since` and id of the last one known.
        """
        query: Document = {"account": account, "webhook": webhook}
        if state is not None:
            query["state"] = state
        if before is not None:
            since, last = before
            query["$or"] = [{"since": {"$lt": since}}, {"since": since, "_id": {"$lt": last}}]
            query["since"] = {"$lte": since}
        cursor = self._deliveries.find(query).sort([("since", -1), ("_id", -1)]).limit(limit)
        return [read(found) async for found in cursor]

    @guarded
    async def get(self, account: str, webhook: str, delivery: str) -> WebhookDelivery | None:
        """One delivery to an end point of `account`."""
        found = await self._deliveries.find_one(
            {"_id": delivery, "account": account, "webhook": webhook}
        )
        return None if found is None else read(found)

    @guarded
    async def last_try(self, webhook: str) -> Try | None:
        """Return the last try of what still waits for an end point that fails.

        What was tried last is due last, or nearly so: a few of the last ones are looked at.
        """
        cursor = self._deliveries.find(
            {"webhook": webhook, "state": str(DeliveryState.PENDING)}, {"log": {"$slice": -1}}
        )
        tries = [
            Try(**entry)
            async for found in cursor.sort("due", -1).limit(_LOOKED_AT)
            for entry in found.get("log", ())
        ]
        return max(tries, key=lambda one: one.time, default=None)

    @guarded
    async def add_again(self, deliveries: Sequence[WebhookDelivery]) -> None:
        """Write deliveries that are to be made whether they were made before or not.

        What was noted of earlier tries stays; three days of trying begin anew.
        """
        if not deliveries:
            return
        operations = []
        for delivery in deliveries:
            values = write(delivery)
            renewed = {name: values.pop(name) for name in ("body", "due", "state", "since", "at")}
            operations.append(
                UpdateOne(
                    {"_id": values.pop("_id")},
                    {"$set": renewed, "$setOnInsert": values},
                    upsert=True,
                )
            )
        await self._deliveries.bulk_write(operations, ordered=False)
        await self.turns.notify(_first_due(deliveries))

    @guarded
    async def backlog(self, now: float, limit: int) -> OutboxBacklog:
        """Return what waits for all end points together, counted up to `limit` of each.

        What waits for an end point that rests is not overdue: nobody may post it.
        """
        waiting = await self._deliveries.count_documents(
            {"webhook": {"$gt": ""}, "state": str(DeliveryState.PENDING)}, limit=limit
        )
        resting = await self.turns.count_resting(now, limit)
        late = await self.turns.overdue_seconds(now)
        return OutboxBacklog(waiting, resting, late)

    @guarded
    async def count_waiting(self, webhook: str, limit: int) -> int:
        """How many deliveries wait for the end point, counted up to `limit`."""
        return await self._deliveries.count_documents(
            {"webhook": webhook, "state": str(DeliveryState.PENDING)}, limit=limit
        )


def _first_due(deliveries: Sequence[WebhookDelivery]) -> dict[str, float]:
    """Return when the first delivery to each end point is due."""
    first: dict[str, float] = {}
    for delivery in deliveries:
        known = first.get(delivery.webhook, delivery.due)
        first[delivery.webhook] = min(known, delivery.due)
    return first
