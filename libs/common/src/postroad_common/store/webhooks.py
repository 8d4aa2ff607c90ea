"""Webhooks: where an account wants its events to be posted."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Collection, Document, guarded


@dataclass(frozen=True, slots=True)
class Webhook:
    """An end point; an empty `events` means all.

    Every one of `secrets` (`whsec_…`, Standard Webhooks) signs, so that keys can be rotated.
    """

    id: str
    account: str
    url: str
    events: tuple[str, ...]
    disabled: bool
    reason: str | None  # why it was disabled
    created: float
    secrets: tuple[str, ...] = field(default=(), repr=False)
    verified: float | None = None  # when the end point proved that it wants these calls
    batch_size: int = 1  # events in one call at most; 1: each has a call of its own
    batch_seconds: float = 0.0  # how long an event may wait for others


def _read(found: Document) -> Webhook:
    return Webhook(
        id=found["_id"],
        account=found["account"],
        url=found["url"],
        events=tuple(found["events"]),
        disabled=found["disabled"],
        reason=found.get("reason"),
        created=found["created"],
        secrets=tuple(found["secrets"]),
        verified=found.get("verified"),
        batch_size=found.get("batch_size", 1),
        batch_seconds=found.get("batch_seconds", 0.0),
    )


_CHANGEABLE = frozenset(
    {
        "url",
        "events",
        "disabled",
        "reason",
        "secrets",
        "verified",
        "batch_size",
        "batch_seconds",
    }
)


class Webhooks:
    """The collection `webhooks`."""

    def __init__(self, collection: Collection) -> None:
        self._webhooks = collection

    @guarded
    async def create(
        self,
        *,
        account: str,
        url: str,
        events: tuple[str, ...],
        secret: str,
        batch_size: int = 1,
        batch_seconds: float = 0.0,
    ) -> Webhook:
        """Add an end point."""
        now = time.time()
        document: Document = {
            "_id": new_id(now),
            "account": account,
            "url": url,
            "events": list(events),
            "disabled": False,
            "reason": None,
            "created": now,
            "secrets": [secret],
            "batch_size": batch_size,
            "batch_seconds": batch_seconds,
        }
        await self._webhooks.insert_one(document)
        return _read(document)

    @guarded
    async def list(self, account: str | None = None) -> list[Webhook]:
        """Return the end points of `account`, or of all accounts."""
        query = {} if account is None else {"account": account}
        cursor = self._webhooks.find(query).sort("_id", 1).limit(10_000)
        return [_read(found) async for found in cursor]

    @guarded
    async def get(self, account: str, webhook_id: str) -> Webhook | None:
        """One end point of `account`."""
        found = await self._webhooks.find_one({"_id": webhook_id, "account": account})
        return None if found is None else _read(found)

    @guarded
    async def find(self, webhook_id: str) -> Webhook | None:
        """Return the end point with this id, of any account."""
        found = await self._webhooks.find_one({"_id": webhook_id})
        return None if found is None else _read(found)

    @guarded
    async def update(
        self, account: str, webhook_id: str, changes: Mapping[str, Any]
    ) -> Webhook | None:
        """Change what its owner may change, and whether it is disabled or verified."""
        unknown = set(changes) - _CHANGEABLE
        if unknown:
            raise ValueError(f"not changeable: {sorted(unknown)}")
        values = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in changes.items()
        }
        found = await self._webhooks.find_one_and_update(
            {"_id": webhook_id, "account": account}, {"$set": values}, return_document=True
        )
        return None if found is None else _read(found)

    @guarded
    async def delete(self, account: str, webhook_id: str) -> bool:
        """Remove the end point; False when there is none."""
        result = await self._webhooks.delete_one({"_id": webhook_id, "account": account})
        return result.deleted_count == 1
