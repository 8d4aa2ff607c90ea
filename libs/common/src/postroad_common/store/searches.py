"""Searches for messages that somebody gave a name, each user their own."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Collection, guarded

MOST = 50
"""Searches of one user in one account."""


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """A search by its name: what is asked for, by the names of the fields."""

    id: str
    name: str
    search: Mapping[str, str]


class SavedSearches:
    """The collection `saved_searches`."""

    def __init__(self, collection: Collection) -> None:
        self._searches = collection

    @guarded
    async def list(self, account: str, email: str) -> list[SavedSearch]:
        """Return what a user has saved, by name."""
        cursor = self._searches.find({"account": account, "email": email})
        return [
            SavedSearch(found["_id"], found["name"], dict(found["search"]))
            async for found in cursor.sort("name", 1).limit(MOST)
        ]

    @guarded
    async def save(self, account: str, email: str, name: str, search: Mapping[str, str]) -> bool:
        """Save a search, in place of another of this name; False when there are `MOST` already."""
        owner = {"account": account, "email": email}
        named = {**owner, "name": name}
        if (
            await self._searches.find_one(named) is None
            and await self._searches.count_documents(owner) >= MOST
        ):
            return False
        await self._searches.update_one(
            named,
            {
                "$set": {"search": dict(search)},
                "$setOnInsert": {"_id": new_id(), "created": time.time()},
            },
            upsert=True,
        )
        return True

    @guarded
    async def delete(self, account: str, email: str, search_id: str) -> bool:
        """Forget a search; False when the user has none of this id."""
        result = await self._searches.delete_one(
            {"_id": search_id, "account": account, "email": email}
        )
        return result.deleted_count == 1
