"""SMTP logins: their features, and the hash of their password."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postroad_common.schemas.features import Features
from postroad_common.store.access import Collection, Document, guarded


@dataclass(frozen=True, slots=True)
class Credential:
    """A login. `version` changes with every change, so that caches notice.

    `test`: what it hands in is not sent.
    """

    username: str
    account: str
    name: str
    features: Features
    forward_bounces: bool
    disabled: bool
    created: float
    updated: float
    version: int
    allowed_networks: tuple[str, ...] = ()
    sender_domains: tuple[str, ...] = ()
    keep_content: bool = True
    test: bool = False
    password_hash: str = field(default="", repr=False)


CHANGEABLE = frozenset(
    {
        "name",
        "features",
        "forward_bounces",
        "disabled",
        "allowed_networks",
        "sender_domains",
        "keep_content",
        "test",
    }
)


def _read(found: Document) -> Credential:
    return Credential(
        username=found["_id"],
        account=found["account"],
        name=found["name"],
        features=Features.model_validate(found["features"]),
        forward_bounces=found["forward_bounces"],
        disabled=found["disabled"],
        created=found["created"],
        updated=found["updated"],
        version=found["version"],
        allowed_networks=tuple(found.get("allowed_networks", ())),
        sender_domains=tuple(found.get("sender_domains", ())),
        keep_content=found.get("keep_content", True),
        test=found.get("test", False),
        password_hash=found["password_hash"],
    )


class Credentials:
    """The collection `credentials`, by user name."""

    def __init__(self, collection: Collection) -> None:
        self._credentials = collection

    @guarded
    async def create(
        self,
        *,
        account: str,
        username: str,
        password_hash: str,
        name: str,
        features: Features,
        forward_bounces: bool = True,
        allowed_networks: tuple[str, ...] = (),
        sender_domains: tuple[str, ...] = (),
        keep_content: bool = True,
        test: bool = False,
    ) -> Credential:
        """Add a login; `username` comes from `secrets.new_username`."""
        now = time.time()
        document: Document = {
            "_id": username,
            "account": account,
            "name": name,
            "features": features.model_dump(),
            "forward_bounces": forward_bounces,
            "disabled": False,
            "allowed_networks": list(allowed_networks),
            "sender_domains": list(sender_domains),
            "keep_content": keep_content,
            "test": test,
            "password_hash": password_hash,
            "created": now,
            "updated": now,
            "version": 1,
        }
        await self._credentials.insert_one(document)
        return _read(document)

    @guarded
    async def find(self, username: str) -> Credential | None:
        """Return the login with this exact name, of any account."""
        found = await self._credentials.find_one({"_id": username})
        return None if found is None else _read(found)

    @guarded
    async def list(self, account: str, after: str = "", limit: int = 100) -> list[Credential]:
        """Return the logins of `account` after the name `after`, in the order of their names."""
        cursor = self._credentials.find({"account": account, "_id": {"$gt": after}})
        return [_read(found) async for found in cursor.sort("_id", 1).limit(limit)]

    @guarded
    async def names(self, account: str, limit: int = 1000) -> dict[str, str]:
        """Return what the logins of `account` are called, by their user names."""
        cursor = self._credentials.find({"account": account}, {"name": 1}).limit(limit)
        return {found["_id"]: found["name"] async for found in cursor}

    @guarded
    async def get(self, account: str, username: str) -> Credential | None:
        """Return the login of `account` with this name."""
        found = await self._credentials.find_one({"_id": username, "account": account})
        return None if found is None else _read(found)

    @guarded
    async def update(
        self, account: str, username: str, changes: Mapping[str, Any]
    ) -> Credential | None:
        """Change fields out of `CHANGEABLE`; None when there is no such login."""
        unknown = set(changes) - CHANGEABLE
        if unknown:
            raise ValueError(f"not changeable: {sorted(unknown)}")
        values = dict(changes)
        if isinstance(values.get("features"), Features):
            values["features"] = values["features"].model_dump()
        found = await self._credentials.find_one_and_update(
            {"_id": username, "account": account},
            {"$set": {**values, "updated": time.time()}, "$inc": {"version": 1}},
            return_document=True,
        )
        return None if found is None else _read(found)

    @guarded
    async def rotate(self, account: str, username: str, password_hash: str) -> Credential | None:
        """Give the login another password; the old one stops working."""
        found = await self._credentials.find_one_and_update(
            {"_id": username, "account": account},
            {
                "$set": {"password_hash": password_hash, "updated": time.time()},
                "$inc": {"version": 1},
            },
            return_document=True,
        )
        return None if found is None else _read(found)

    @guarded
    async def delete(self, account: str, username: str) -> bool:
        """Remove the login; False when there is none."""
        result = await self._credentials.delete_one({"_id": username, "account": account})
        return result.deleted_count == 1
