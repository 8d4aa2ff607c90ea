"""REST tokens, by the hash of their secret."""

import time
from dataclasses import dataclass

from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Collection, Document, guarded


@dataclass(frozen=True, slots=True)
class Token:
    """A token. `scopes` are the words that REST end points ask for; `*` is all of them."""

    id: str
    account: str
    name: str
    scopes: tuple[str, ...]
    created: float


def _read(found: Document) -> Token:
    return Token(
        found["_id"], found["account"], found["name"], tuple(found["scopes"]), found["created"]
    )


class Tokens:
    """The collection `tokens`."""

    def __init__(self, collection: Collection) -> None:
        self._tokens = collection

    @guarded
    async def create(
        self, *, account: str, name: str, scopes: tuple[str, ...], secret_hash: str
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
                    "created": now,
                }
            },
            upsert=True,
            return_document=True,
        )
        assert found is not None  # noqa: S101 - an upsert returns a document
        return _read(found)

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
    async def delete(self, account: str, token_id: str) -> bool:
        """Revoke; False when there is none."""
        result = await self._tokens.delete_one({"_id": token_id, "account": account})
        return result.deleted_count == 1
