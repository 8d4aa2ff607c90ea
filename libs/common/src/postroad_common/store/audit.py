"""The audit log: who changed what, when, from where, before and after.

The changes are noticed where they are made (`audited`), not where they are asked for: no page and
no end point can forget to tell of one.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from postroad_common.store.access import Collection, Document, guarded, to_date


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a user by e-mail address, or a token by its id. `account` is what they act on."""

    kind: Literal["user", "token", "link"]
    id: str
    account: str
    name: str = ""
    address: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change. `action` is `noun.verb`, `target` what was changed; `time` is Unix seconds."""

    id: str
    account: str
    time: float
    actor: Actor
    action: str
    target: str
    before: Mapping[str, Any] | None = field(default=None)
    after: Mapping[str, Any] | None = field(default=None)


_ACTOR: ContextVar[Actor | None] = ContextVar("postroad_actor", default=None)


def current_actor() -> Actor | None:
    """Return who acts in this task, None for the service itself."""
    return _ACTOR.get()


def act_as(actor: Actor | None) -> None:
    """Let what this task does from now on be done by `actor`."""
    _ACTOR.set(actor)


@contextmanager
def nobody_acts() -> Iterator[None]:
    """Begin with nobody acting, and forget afterwards whoever began to act within."""
    token = _ACTOR.set(None)
    try:
        yield
    finally:
        _ACTOR.reset(token)


class AuditLog:
    """The collection `audit`. Entries are written once and never changed."""

    def __init__(self, collection: Collection) -> None:
        self._entries = collection

    @guarded
    async def write(self, entry: AuditEntry) -> None:
        """Add an entry."""
        await self._entries.insert_one(
            {
                "_id": entry.id,
                "account": entry.account,
                "time": entry.time,
                "at": to_date(entry.time),
                "actor": asdict(entry.actor),
                "action": entry.action,
                "target": entry.target,
                "before": entry.before,
                "after": entry.after,
            }
        )

    @guarded
    async def erase(self, account: str, address: str) -> None:
        """Take an address out of the log: that something was changed stays, not what."""
        name = re.escape(address.lower())
        searched = {"$regex": f"^{name}$", "$options": "i"}
        await self._entries.update_many(
            {
                "account": account,
                "$or": [
                    {"target": {"$regex": f"^{name}(?: |$)"}},
                    {"action": "jobs.create", "after.search.recipient": searched},
                ],
            },
            {"$set": {"target": "erased", "before": None, "after": None}},
        )

    @guarded
    async def list(
        self,
        account: str | None,
        *,
        noun: str | None = None,
        target: str | None = None,
        actor: str | None = None,
        start: float | None = None,
        end: float | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Return entries of `account` (None: of all) that fit, the newest first.

        `start` and `end` are Unix seconds; `before` is the id of the last entry of a page.
        """
        query: Document = {}
        if account is not None:
            query["account"] = account
        if noun:
            query["action"] = {"$gte": f"{noun}.", "$lt": f"{noun}/"}
        if target:
            query["target"] = target
        if actor:
            query["actor.id"] = actor
        if start is not None or end is not None:
            bounds = {"$gte": start, "$lt": end}
            query["time"] = {key: value for key, value in bounds.items() if value is not None}
        if before is not None:
            query["_id"] = {"$lt": before}
        cursor = self._entries.find(query).sort("_id", -1).limit(limit)
        return [_read(found) async for found in cursor]


def _read(found: Document) -> AuditEntry:
    return AuditEntry(
        id=found["_id"],
        account=found["account"],
        time=found["time"],
        actor=Actor(**found["actor"]),
        action=found["action"],
        target=found["target"],
        before=found["before"],
        after=found["after"],
    )
