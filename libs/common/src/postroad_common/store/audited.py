"""A collection that writes an entry into the audit log for each change that somebody makes to it.

Somebody is whoever `audit.act_as` named in this task; what a service does by itself is not told.
The state before and after is read around the change, without what is secret.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from pymongo.results import DeleteResult, InsertOneResult, UpdateResult

from postroad_common.errors import StoreAway
from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Document
from postroad_common.store.audit import Actor, AuditEntry, AuditLog, current_actor

SECRET = frozenset(
    {"password_hash", "secret_hash", "secret", "secrets", "private", "totp", "recovery", "hash"}
)
"""Fields that are told as changed, never as what they are."""
HIDDEN = "(secret)"
_NOT_TOLD = frozenset(
    {"_id", "at", "changed", "known", "totp_step", "last_login", "last_used", "due"}
)
_TOLD_ONE_BY_ONE = 20  # documents of one bulk change
_log = structlog.get_logger(__name__)


class AuditedCollection(AsyncCollection[Document]):
    """See the module. `noun` is the first half of its actions, as in `credentials.update`."""

    def __init__(
        self, database: AsyncDatabase[Document], name: str, log: AuditLog, noun: str | None = None
    ) -> None:
        super().__init__(database, name)
        self._log = log
        self._noun = noun or name

    async def insert_one(self, document: Any, *args: Any, **kwargs: Any) -> InsertOneResult:
        """Insert, and tell of it."""
        result = await super().insert_one(document, *args, **kwargs)
        if actor := current_actor():
            await self._tell(actor, "create", document["_id"], None, document)
        return result

    async def find_one_and_update(
        self,
        filter: Mapping[str, Any],  # noqa: A002 - the driver's name
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Update, and tell of it."""
        actor = current_actor()
        before = await self.find_one(filter) if actor else None
        result = await super().find_one_and_update(filter, *args, **kwargs)
        if actor and result is not None:
            await self._tell_update(actor, before, result["_id"])
        return result

    async def find_one_and_delete(
        self,
        filter: Mapping[str, Any],  # noqa: A002 - the driver's name
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Delete, and tell of it."""
        found = await super().find_one_and_delete(filter, *args, **kwargs)
        if (actor := current_actor()) and found is not None:
            await self._tell(actor, "delete", found["_id"], found, None)
        return found

    async def update_one(
        self,
        filter: Mapping[str, Any],  # noqa: A002 - the driver's name
        *args: Any,
        **kwargs: Any,
    ) -> UpdateResult:
        """Update, and tell of it."""
        actor = current_actor()
        before = await self.find_one(filter) if actor else None
        result = await super().update_one(filter, *args, **kwargs)
        changed = before["_id"] if before else result.upserted_id
        if actor and changed is not None:
            await self._tell_update(actor, before, changed)
        return result

    async def delete_one(
        self,
        filter: Mapping[str, Any],  # noqa: A002 - the driver's name
        *args: Any,
        **kwargs: Any,
    ) -> DeleteResult:
        """Delete, and tell of it."""
        actor = current_actor()
        before = await self.find_one(filter) if actor else None
        result = await super().delete_one(filter, *args, **kwargs)
        if actor and before is not None and result.deleted_count:
            await self._tell(actor, "delete", before["_id"], before, None)
        return result

    async def delete_many(
        self,
        filter: Mapping[str, Any],  # noqa: A002 - the driver's name
        *args: Any,
        **kwargs: Any,
    ) -> DeleteResult:
        """Delete, and tell how many."""
        result = await super().delete_many(filter, *args, **kwargs)
        if (actor := current_actor()) and result.deleted_count:
            gone = {"number": result.deleted_count, **_plain(filter)}
            await self._tell(actor, "delete", f"{result.deleted_count} at once", gone, None)
        return result

    async def bulk_write(self, requests: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        """Write, and tell of each change, or of their number when there are many."""
        actor = current_actor()
        if not actor:
            return await super().bulk_write(requests, *args, **kwargs)
        filters = [request._filter for request in requests]  # noqa: SLF001 - the driver has no other
        if len(filters) > _TOLD_ONE_BY_ONE:
            result = await super().bulk_write(requests, *args, **kwargs)
            written = {"number": len(filters)}
            await self._tell(actor, "import", f"{len(filters)} at once", None, written)
            return result
        before = [await self.find_one(chosen) for chosen in filters]
        result = await super().bulk_write(requests, *args, **kwargs)
        for old, chosen in zip(before, filters, strict=True):
            await self._tell_update(actor, old, chosen["_id"])
        return result

    async def _tell_update(self, actor: Actor, before: Document | None, key: Any) -> None:
        after = await self.find_one({"_id": key})
        verb = "create" if before is None else "update" if after is not None else "delete"
        await self._tell(actor, verb, key, before, after)

    async def _tell(
        self, actor: Actor, verb: str, key: Any, before: Document | None, after: Document | None
    ) -> None:
        old, new = difference(before, after)
        if old == new:
            return
        told = after or before or {}
        account = str(key) if self._noun == "accounts" else told.get("account") or actor.account
        now = time.time()
        entry = AuditEntry(
            id=new_id(now),
            account=account,
            time=now,
            actor=actor,
            action=f"{self._noun}.{verb}",
            target=str(key).removeprefix(f"{account}/"),
            before=old,
            after=new,
        )
        try:
            await self._log.write(entry)
        except (StoreAway, PyMongoError) as error:  # the change is made; it is told here instead
            _log.exception("audit entry not written", entry=str(entry), error=str(error))


def _plain(query: Mapping[str, Any]) -> Document:
    return {key: value for key, value in query.items() if isinstance(value, str)}


def difference(
    before: Document | None, after: Document | None
) -> tuple[Document | None, Document | None]:
    """Return what differs, of both; all of one where the other is None. Secrets are hidden."""
    if before is None or after is None:
        return _shown(before, "old"), _shown(after, "new")
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    old = {key: before.get(key) for key in keys}
    new = {key: after.get(key) for key in keys}
    return _shown(old, "old"), _shown(new, "new")


def _shown(document: Document | None, age: str) -> Document | None:
    if document is None:
        return None
    return {
        key: _hidden(key, value, age) for key, value in document.items() if key not in _NOT_TOLD
    }


def _hidden(key: str, value: Any, age: str) -> Any:
    if key in SECRET and value:
        return f"{HIDDEN} {age}"
    if isinstance(value, Mapping):
        return {str(name): _hidden(str(name), item, age) for name, item in value.items()}
    if isinstance(value, list):
        return [_hidden(key, item, age) for item in value]
    return value
