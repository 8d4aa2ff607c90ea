"""Dashboard users: each belongs to one account, and has a role there."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postroad_common.store.access import Collection, Document, guarded, insert_new

KNOWN_ADDRESSES = 20
"""Network addresses of successful log-ins that are remembered for a user, the latest."""


@dataclass(frozen=True, slots=True)
class User:
    """Someone who may log in to the dashboard of `account`.

    `version` changes with the password, which ends the sessions. `operator` users also look after
    the whole installation. `totp` is the sealed secret of their second factor, if they have one,
    `recovery` the hashes of the codes that stand in for it, `known` the addresses they come from.
    """

    email: str
    account: str
    password_hash: str = field(repr=False)
    version: int = 1
    role: str = "owner"
    operator: bool = False
    created: float = 0.0
    last_login: float | None = None
    totp: str | None = field(default=None, repr=False)
    recovery: tuple[str, ...] = field(default=(), repr=False)
    known: tuple[str, ...] = ()


def _read(found: Document) -> User:
    return User(
        email=found["_id"],
        account=found["account"],
        password_hash=found["password_hash"],
        version=found["version"],
        role=found.get("role", "owner"),
        operator=found.get("operator", False),
        created=found.get("created", 0.0),
        last_login=found.get("last_login"),
        totp=found.get("totp"),
        recovery=tuple(found.get("recovery", ())),
        known=tuple(found.get("known", ())),
    )


class Users:
    """The collection `users`, by e-mail address in lower case.

    `quiet` is the same collection for what happens at each log-in and is no change of a user.
    """

    def __init__(self, collection: Collection, quiet: Collection | None = None) -> None:
        self._users = collection
        self._quiet = collection if quiet is None else quiet

    @guarded
    async def create(
        self,
        email: str,
        account: str,
        password_hash: str,
        *,
        role: str = "owner",
        operator: bool = False,
    ) -> bool:
        """Add a user; False when the address is taken."""
        return await insert_new(
            self._users,
            {
                "_id": email.lower(),
                "account": account,
                "password_hash": password_hash,
                "version": 1,
                "role": role,
                "operator": operator,
                "created": time.time(),
            },
        )

    @guarded
    async def set_password(self, email: str, password_hash: str) -> bool:
        """Change the password, which ends the sessions; False when there is no such user."""
        return await self._update(email, {"password_hash": password_hash}, {"version": 1})

    @guarded
    async def set_role(self, account: str, email: str, role: str) -> bool:
        """Change the role; False when the account has no such user."""
        result = await self._users.update_one(
            {"_id": email.lower(), "account": account}, {"$set": {"role": role}}
        )
        return result.matched_count == 1

    @guarded
    async def make_operator(self, email: str) -> bool:
        """Let the user look after the installation; False when there is no such user."""
        return await self._update(email, {"operator": True})

    @guarded
    async def set_totp(self, email: str, secret: str | None, recovery: tuple[str, ...]) -> bool:
        """Set or take away the second factor; it is sealed, the recovery codes are hashes."""
        values = {"totp": secret, "recovery": list(recovery), "totp_step": -1}
        return await self._update(email, values, {"version": 1})

    @guarded
    async def reseal_totp(self, email: str, before: str, after: str) -> None:
        """Put another seal on the same second factor, unless it has been changed meanwhile."""
        await self._quiet.update_one(
            {"_id": email.lower(), "totp": before}, {"$set": {"totp": after}}
        )

    async def _update(
        self, email: str, values: Mapping[str, Any], increments: Mapping[str, int] | None = None
    ) -> bool:
        update: Document = {"$set": dict(values)}
        if increments:
            update["$inc"] = dict(increments)
        result = await self._users.update_one({"_id": email.lower()}, update)
        return result.matched_count == 1

    @guarded
    async def use_totp_step(self, email: str, step: int) -> bool:
        """Use up the code of a time step; False when it, or a later one, was used before."""
        result = await self._quiet.update_one(
            {"_id": email.lower(), "totp_step": {"$lt": step}}, {"$set": {"totp_step": step}}
        )
        return result.modified_count == 1

    @guarded
    async def use_recovery(self, email: str, code_hash: str) -> bool:
        """Use up a recovery code; False when there is none with this hash."""
        result = await self._quiet.update_one(
            {"_id": email.lower(), "recovery": code_hash}, {"$pull": {"recovery": code_hash}}
        )
        return result.modified_count == 1

    @guarded
    async def logged_in(self, email: str, address: str) -> None:
        """Note a log-in with success, and where it came from."""
        name = email.lower()
        await self._quiet.update_one(
            {"_id": name}, {"$set": {"last_login": time.time()}, "$pull": {"known": address}}
        )
        push = {"$each": [address], "$slice": -KNOWN_ADDRESSES}
        await self._quiet.update_one({"_id": name}, {"$push": {"known": push}})

    @guarded
    async def find(self, email: str) -> User | None:
        """Return the user with this address, in any case."""
        found = await self._users.find_one({"_id": email.lower()})
        return None if found is None else _read(found)

    @guarded
    async def list(self, account: str) -> list[User]:
        """Return the users of `account`, in the order of their addresses."""
        cursor = self._users.find({"account": account}).sort("_id", 1).limit(1000)
        return [_read(found) async for found in cursor]

    @guarded
    async def delete(self, account: str, email: str) -> bool:
        """Remove the user; False when the account has none with this address."""
        result = await self._users.delete_one({"_id": email.lower(), "account": account})
        return result.deleted_count == 1
