"""Addresses, and whole domains, that an account does not want (or is not wanted) to write to.

An entry holds for all mail of the account, or for one list: that is what somebody unsubscribes
from, and other mail goes on. Nothing weakens an entry but its removal: of two for the same address
and list the stronger kind stays, until the later of their ends.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pymongo import UpdateOne

from postroad_common.store.access import Collection, Document, guarded

_AT_ONCE = 1000  # entries in one write
KINDS = ("soft", "manual", "unsubscribe", "hard", "complaint")
"""From the weakest to the strongest."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address on the list, or with `@example.com` a domain. `reason` is for people to read.

    `expires` is None for good. `list` is empty where the entry holds for all mail of the account.
    """

    account: str
    address: str
    reason: str
    kind: str  # one of KINDS
    created: float
    expires: float | None
    message: str | None = None  # the message id that led to it
    list: str = ""


class Addressed(NamedTuple):
    """Mail of an account to an address (in lower case); `list` is its list, if it has one."""

    account: str
    address: str
    list: str = ""


def key_of(address: str, list_name: str = "") -> str:
    """Return the name of an entry within its account; its place in the order of the list."""
    # An address has no space after its @, so that no two entries have the same name.
    return f"{address.lower()} {list_name}" if list_name else address.lower()


def _id(account: str, address: str, list_name: str = "") -> str:
    return f"{account}/{key_of(address, list_name)}"


def _read(found: Document) -> Suppression:
    return Suppression(
        account=found["account"],
        address=found["address"],
        reason=found["reason"],
        kind=found["kind"],
        created=found["created"],
        expires=found.get("expires"),
        message=found.get("message"),
        list=found.get("list", ""),
    )


class Suppressions:
    """The collection `suppressions`."""

    def __init__(self, collection: Collection) -> None:
        self._suppressions = collection

    @guarded
    async def add(self, suppressions: Iterable[Suppression], now: float | None = None) -> None:
        """Add or renew; what is there already is never weakened. `now` is Unix seconds.

        Many are written in parts, as each write has little time; all can be repeated.
        """
        moment = time.time() if now is None else now
        operations = [_operation(item, moment) for item in suppressions]
        for start in range(0, len(operations), _AT_ONCE):
            await self._suppressions.bulk_write(operations[start : start + _AT_ONCE], ordered=True)

    @guarded
    async def find_many(
        self, wanted: Iterable[Addressed], now: float | None = None
    ) -> dict[Addressed, Suppression]:
        """Return for each of `wanted` that is suppressed the strongest entry."""
        keys = {mail: names_of(mail) for mail in wanted}
        if not keys:
            return {}
        moment = time.time() if now is None else now
        asked = {key for several in keys.values() for key in several}
        cursor = self._suppressions.find({"_id": {"$in": list(asked)}})
        found = {document["_id"]: _read(document) async for document in cursor}
        strongest: dict[Addressed, Suppression] = {}
        for mail, several in keys.items():
            entries = [found[key] for key in several if key in found]
            held = [item for item in entries if item.expires is None or item.expires > moment]
            if held:
                strongest[mail] = max(held, key=lambda item: _rank(item.kind))
        return strongest

    @guarded
    async def list(
        self,
        account: str,
        *,
        after: str = "",
        limit: int = 100,
        prefix: str = "",
        domain: str | None = None,
        kind: str | None = None,
        list_name: str | None = None,
    ) -> list[Suppression]:
        """Return entries of `account` after the name `after` (`key_of`), in their order.

        `prefix` is how the address begins, `domain` its domain; `list_name` is empty for entries
        that hold for all mail.
        """
        start = f"{account}/{prefix.lower()}"
        bounds: Document = {"$gte": start, "$lt": f"{start}\U0010ffff"}
        if after:
            bounds["$gt"] = f"{account}/{after}"
        query: Document = {"account": account, "_id": bounds}
        if domain is not None:
            query["domain"] = domain.lower()
        if kind is not None:
            query["kind"] = kind
        if list_name is not None:
            query["list"] = list_name or {"$in": ["", None]}
        cursor = self._suppressions.find(query)
        return [_read(document) async for document in cursor.sort("_id", 1).limit(limit)]

    @guarded
    async def names(self, *, after: str = "", limit: int) -> Sequence[str]:
        """Return names (`names_of`) of entries of all accounts after `after`, in their order."""
        cursor = self._suppressions.find({"_id": {"$gt": after}}, {"_id": 1})
        return [document["_id"] async for document in cursor.sort("_id", 1).limit(limit)]

    @guarded
    async def names_since(self, created: float) -> Sequence[str]:
        """Return the names of the entries made since `created` (Unix seconds)."""
        cursor = self._suppressions.find({"created": {"$gte": created}}, {"_id": 1})
        return [document["_id"] async for document in cursor]

    @guarded
    async def get(self, account: str, address: str, list_name: str = "") -> Suppression | None:
        """Return the entry of one address, for all mail or for one list."""
        found = await self._suppressions.find_one({"_id": _id(account, address, list_name)})
        return None if found is None else _read(found)

    @guarded
    async def remove(self, account: str, address: str, list_name: str | None = None) -> bool:
        """Take the address off the list, None: off all lists; False when it was on none."""
        key = _id(account, address)
        chosen: Any = _id(account, address, list_name or "")
        if list_name is None:
            chosen = {"$gte": key, "$lt": f"{key}!"}
        result = await self._suppressions.delete_many({"account": account, "_id": chosen})
        return result.deleted_count > 0


def names_of(mail: Addressed) -> tuple[str, ...]:
    """Return the names of the entries that hold for the mail, with its account."""
    domain = f"@{mail.address.rpartition('@')[2]}"
    wide = (_id(mail.account, mail.address), _id(mail.account, domain))
    if not mail.list:
        return wide
    return (*wide, _id(mail.account, mail.address, mail.list), _id(mail.account, domain, mail.list))


def _rank(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else -1


def _operation(item: Suppression, now: float) -> UpdateOne:
    """Return the write of one entry: what is stored decides in the database what remains."""
    key = _id(item.account, item.address, item.list)
    new: Document = {
        "_id": key,
        "account": item.account,
        "address": item.address.lower(),
        "domain": item.address.rpartition("@")[2].lower(),
        "list": item.list,
        "reason": item.reason,
        "kind": item.kind,
        "created": item.created,
        "expires": item.expires,
        "message": item.message,
    }
    old = {"$ifNull": ["$expires", None]}
    is_held = {
        "$and": [
            {"$ne": [{"$type": "$kind"}, "missing"]},
            {"$or": [{"$eq": [old, None]}, {"$gt": [old, now]}]},
        ]
    }
    is_stronger = {"$gt": [{"$indexOfArray": [list(KINDS), "$kind"]}, _rank(item.kind)]}
    later: Any = None
    if item.expires is not None:
        later = {"$cond": [{"$eq": [old, None]}, None, {"$max": [old, item.expires]}]}
    merged = {
        "$mergeObjects": [
            {"$cond": [is_stronger, "$$ROOT", {"$literal": new}]},
            {"expires": later},
        ]
    }
    end = {"$toDate": {"$toLong": {"$multiply": ["$expires", 1000]}}}
    return UpdateOne(
        {"_id": key},
        [
            {"$replaceWith": {"$cond": [is_held, merged, {"$literal": new}]}},
            {"$set": {"at": {"$cond": [{"$eq": ["$expires", None]}, "$$REMOVE", end]}}},
        ],
        upsert=True,
    )
