"""Accounts: everything else belongs to one, and nobody sees more than one but the operator."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postroad_common.store.access import Collection, Document, guarded, insert_new

FIRST_ACCOUNT = "main"
"""The account that is there from the first start on."""
SYSTEM_ACCOUNT = "system"
"""Whose mail Postroad's notices are, and what it passes on to the operator; it has no users."""
COUNTED = ("users", "logins", "tokens", "domains", "webhooks")
"""What an account may have a bounded number of."""
LIMITS = (*COUNTED, "messages_per_day")


@dataclass(frozen=True, slots=True)
class Account:
    """An account. `limits` bounds numbers out of `LIMITS`; what it does not name is unbounded.

    `verified_senders_only`: mail is taken from domains only that the account has verified.
    """

    id: str
    name: str = ""
    created: float = 0.0
    suspended: bool = False
    verified_senders_only: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    first_steps: bool = True  # its users are shown what is left to do before it sends


CHANGEABLE = frozenset({"name", "suspended", "verified_senders_only", "limits", "first_steps"})


def _read(found: Document) -> Account:
    return Account(
        id=found["_id"],
        name=found["name"],
        created=found["created"],
        suspended=found["suspended"],
        verified_senders_only=found["verified_senders_only"],
        limits=dict(found["limits"]),
        first_steps=found.get("first_steps", True),
    )


class Accounts:
    """The collection `accounts`, and what belongs to an account when it is deleted."""

    def __init__(self, collection: Collection, belongings: Mapping[str, Collection]) -> None:
        """`belongings` are the collections whose documents go with their account."""
        self._accounts = collection
        self._belongings = belongings

    @guarded
    async def create(self, account: Account) -> bool:
        """Add an account; False when its id is taken."""
        return await insert_new(
            self._accounts,
            {
                "_id": account.id,
                "name": account.name,
                "created": account.created or time.time(),
                "suspended": account.suspended,
                "verified_senders_only": account.verified_senders_only,
                "limits": dict(account.limits),
            },
        )

    @guarded
    async def find(self, account_id: str) -> Account | None:
        """Return the account with this id."""
        found = await self._accounts.find_one({"_id": account_id})
        return None if found is None else _read(found)

    @guarded
    async def list(self, after: str = "", limit: int = 100, prefix: str = "") -> list[Account]:
        """Return the accounts after the id `after` whose ids begin so, by id."""
        bounds = {"$gt": after, "$gte": prefix, "$lt": f"{prefix}\U0010ffff"}
        cursor = self._accounts.find({"_id": bounds}).sort("_id", 1).limit(limit)
        return [_read(found) async for found in cursor]

    @guarded
    async def update(self, account_id: str, changes: Mapping[str, Any]) -> Account | None:
        """Change fields out of `CHANGEABLE`; None when there is no such account."""
        unknown = set(changes) - CHANGEABLE
        if unknown:
            raise ValueError(f"not changeable: {sorted(unknown)}")
        found = await self._accounts.find_one_and_update(
            {"_id": account_id}, {"$set": dict(changes)}, return_document=True
        )
        return None if found is None else _read(found)

    @guarded
    async def count(self, account_id: str, kind: str) -> int:
        """Return how many of `kind`, out of `COUNTED`, the account has."""
        collection = self._belongings["credentials" if kind == "logins" else kind]
        return await collection.count_documents({"account": account_id})

    @guarded
    async def delete(self, account_id: str) -> bool:
        """Remove the account and all that gives access to it; its mail expires with time."""
        for collection in self._belongings.values():
            await collection.delete_many({"account": account_id})
        result = await self._accounts.delete_one({"_id": account_id})
        return result.deleted_count == 1
