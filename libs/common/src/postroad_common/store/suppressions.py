"""Addresses that an account does not want (or is not wanted) to write to."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from pymongo import UpdateOne

from postroad_common.store.access import Collection, Document, guarded, to_date


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address on the list; `expires` is None for good. `reason` is for people to read."""

    account: str
    address: str
    reason: str
    kind: str  # hard, soft, complaint, unsubscribe, manual
    created: float
    expires: float | None
    message: str | None = None  # the message id that led to it


def _key(account: str, address: str) -> str:
    return f"{account}/{address.lower()}"


def _read(found: Document) -> Suppression:
    return Suppression(
        account=found["account"],
        address=found["address"],
        reason=found["reason"],
        kind=found["kind"],
        created=found["created"],
        expires=found.get("expires"),
        message=found.get("message"),
    )


class Suppressions:
    """The collection `suppressions`."""

    def __init__(self, collection: Collection) -> None:
        self._suppressions = collection

    @guarded
    async def add(self, suppressions: Iterable[Suppression]) -> None:
        """Add or renew; the last reason counts."""
        operations = []
        for item in suppressions:
            values: Document = {
                "account": item.account,
                "address": item.address.lower(),
                "reason": item.reason,
                "kind": item.kind,
                "created": item.created,
                "expires": item.expires,
                "message": item.message,
            }
            if item.expires is not None:
                values["at"] = to_date(item.expires)
            update: Document = {"$set": values}
            if item.expires is None:
                update["$unset"] = {"at": ""}
            operations.append(
                UpdateOne({"_id": _key(item.account, item.address)}, update, upsert=True)
            )
        if operations:
            await self._suppressions.bulk_write(operations, ordered=True)

    @guarded
    async def find_many(
        self, pairs: Iterable[tuple[str, str]], now: float | None = None
    ) -> dict[tuple[str, str], Suppression]:
        """Those of the (account, address) pairs that are suppressed, by pair in lower case."""
        keys = [_key(account, address) for account, address in pairs]
        if not keys:
            return {}
        moment = time.time() if now is None else now
        cursor = self._suppressions.find({"_id": {"$in": keys}})
        found = [_read(document) async for document in cursor]
        return {
            (item.account, item.address): item
            for item in found
            if item.expires is None or item.expires > moment
        }

    @guarded
    async def list(self, account: str, *, after: str = "", limit: int = 100) -> list[Suppression]:
        """Return the list of `account` after the address `after`, in the order of addresses."""
        cursor = self._suppressions.find({"account": account, "_id": {"$gt": _key(account, after)}})
        return [_read(document) async for document in cursor.sort("_id", 1).limit(limit)]

    @guarded
    async def get(self, account: str, address: str) -> Suppression | None:
        """Return the entry of one address."""
        found = await self._suppressions.find_one({"_id": _key(account, address)})
        return None if found is None else _read(found)

    @guarded
    async def remove(self, account: str, address: str) -> bool:
        """Take the address off the list; False when it was not on it."""
        result = await self._suppressions.delete_one({"_id": _key(account, address)})
        return result.deleted_count == 1
