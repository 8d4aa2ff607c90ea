"""REST tokens, by the hash of their secret."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Collection, Document, guarded


@dataclass(frozen=True, slots=True)
class Token:
    """A token. `scopes` are the words that REST end points ask for; `*` is all of an account.

    `sender_domains` and `networks` are where it may send from and be used from; empty: anywhere.
    `test`: what it hands in is not sent. Times are Unix seconds; `last_used` is exact to a minute.
    """

    id: str
    account: str
    name: str
    scopes: tuple[str, ...]
    created: float
    sender_domains: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    expires: float | None = None
    last_used: float | None = None
    test: bool = False


def _read(found: Document) -> Token:
    return Token(
        id=found["_id"],
        account=found["account"],
        name=found["name"],
        scopes=tuple(found["scopes"]),
        created=found["created"],
        sender_domains=tuple(found.get("sender_domains", ())),
        networks=tuple(found.get("networks", ())),
        expires=found.get("expires"),
        last_used=found.get("last_used"),
        test=found.get("test", False),
    )


class Tokens:
    """The collection `tokens`; `quiet` is the same for the note that one was used."""

    def __init__(self, collection: Collection, quiet: Collection | None = None) -> None:
        self._tokens = collection
        self._quiet = collection if quiet is None else quiet

    @guarded
    async def create(
        self,
        *,
        account: str,
        name: str,
        scopes: tuple[str, ...],
        secret_hash: str,
        sender_domains: tuple[str, ...] = (),
        networks: tuple[str, ...] = (),
        expires: float | None = None,
        test: bool = False,
    ) -> Token:
        """Add a token whose secret has this hash; one that exists already is returned as it is."""
        now = time.time()
        found = await self._tokens.find_one_and_update(
            {"secret_hash": secret_hash},
            {
                "$setOnInsert": {
                    "_id": new_id(now),
                    "account": account,
                    "name": name,
                    "scopes": list(scopes),
                    "sender_domains": list(sender_domains),
                    "networks": list(networks),
                    "expires": expires,
                    "test": test,
                    "created": now,
                }
            },
            upsert=True,
            return_document=True,
        )
        assert found is not None  # noqa: S101 - an upsert returns a document
        return _read(found)

    @guarded
    async def grant(self, token_id: str, scopes: Iterable[str]) -> Token | None:
        """Give the token these scopes beside those that it has; None when there is none."""
        found = await self._tokens.find_one_and_update(
            {"_id": token_id},
            {"$addToSet": {"scopes": {"$each": list(scopes)}}},
            return_document=True,
        )
        return None if found is None else _read(found)

    @guarded
    async def used(self, token_id: str, now: float) -> None:
        """Note that the token was used at `now`."""
        await self._quiet.update_one({"_id": token_id}, {"$max": {"last_used": now}})

    @guarded
    async def find(self, token_id: str) -> Token | None:
        """Return the token with this id, of any account."""
        found = await self._tokens.find_one({"_id": token_id})
        return None if found is None else _read(found)

    @guarded
    async def find_by_hash(self, secret_hash: str) -> Token | None:
        """Return the token whose secret has this hash."""
        found = await self._tokens.find_one({"secret_hash": secret_hash})
        return None if found is None else _read(found)

    @guarded
    async def list(self, account: str) -> list[Token]:
        """Return the tokens of `account`, oldest first."""
        cursor = self._tokens.find({"account": account}).sort("_id", 1).limit(1000)
        return [_read(found) async for found in cursor]

    @guarded
    async def names(self, account: str, limit: int = 1000) -> dict[str, str]:
        """Return what the tokens of `account` are called, by their ids."""
        cursor = self._tokens.find({"account": account}, {"name": 1}).limit(limit)
        return {found["_id"]: found.get("name", "") async for found in cursor}

    @guarded
    async def delete(self, account: str, token_id: str) -> bool:
        """Revoke; False when there is none."""
        result = await self._tokens.delete_one({"_id": token_id, "account": account})
        return result.deleted_count == 1
