"""Dashboard users. An account is a name that everything else belongs to."""

import time
from dataclasses import dataclass

from postroad_common.store.access import Collection, guarded, insert_new


@dataclass(frozen=True, slots=True)
class User:
    """Someone who may log in to the dashboard of `account`."""

    email: str
    account: str
    password_hash: str
    version: int = 1


class Users:
    """The collection `users`."""

    def __init__(self, collection: Collection) -> None:
        self._users = collection

    @guarded
    async def create(self, email: str, account: str, password_hash: str) -> bool:
        """Add a user; False when the address is taken."""
        return await insert_new(
            self._users,
            {
                "_id": email.lower(),
                "account": account,
                "password_hash": password_hash,
                "version": 1,
                "created": time.time(),
            },
        )

    @guarded
    async def set_password(self, email: str, password_hash: str) -> bool:
        """Change the password, which ends the sessions; False when there is no such user."""
        result = await self._users.update_one(
            {"_id": email.lower()},
            {"$set": {"password_hash": password_hash}, "$inc": {"version": 1}},
        )
        return result.matched_count == 1

    @guarded
    async def find(self, email: str) -> User | None:
        """Return the user with this address, in any case."""
        found = await self._users.find_one({"_id": email.lower()})
        if found is None:
            return None
        return User(found["_id"], found["account"], found["password_hash"], found["version"])
