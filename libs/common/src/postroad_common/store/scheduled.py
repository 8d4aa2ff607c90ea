"""Mail that waits for its time: whole submissions, in MongoDB until they are handed out.

A submission is `waiting` until one of two takes it: whoever cancels it, or the hand-out, which has
it as `leaving` until it is on the queue. Both are one conditional update, so exactly one wins. What
was left half-way is taken up again after its lease; the second copy carries the same ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postroad_common.store.access import Collection, Document, guarded, insert_new, to_date

KEPT_AFTERWARDS = 7 * 86_400.0  # seconds that it is known what became of it
_WAITING, _LEAVING, _LEFT, _CANCELLED = "waiting", "leaving", "left", "cancelled"


@dataclass(frozen=True, slots=True)
class ScheduledMail:
    """A submission; `frame` is what goes onto the queue. `due` is Unix seconds.

    `messages` and `recipients` belong together; there are no recipients once it is over.
    """

    id: str
    account: str
    due: float
    state: str
    messages: Sequence[str]
    recipients: Sequence[str]
    subject: str
    created: float
    version: int
    frame: bytes = b""

    @property
    def is_waiting(self) -> bool:
        """Whether it can be changed and cancelled."""
        return self.state == _WAITING


def _read(found: Document) -> ScheduledMail:
    return ScheduledMail(
        id=found["_id"],
        account=found["account"],
        due=found["due"],
        state=found["state"],
        messages=tuple(found["messages"]),
        recipients=tuple(found.get("recipients") or ()),
        subject=found.get("subject") or "",
        created=found["created"],
        version=found["version"],
        frame=bytes(found.get("frame") or b""),
    )


def _named(account: str, name: str) -> Document:
    """Return the query for the submission of this id, or with a message of it."""
    return {"account": account, "$or": [{"_id": name}, {"messages": name}]}


class Schedule:
    """The collection `scheduled`."""

    def __init__(self, collection: Collection) -> None:
        self._mails = collection

    @guarded
    async def add(self, mail: ScheduledMail) -> None:
        """Let `mail` wait; once it is there already, nothing changes."""
        document: Document = {
            "_id": mail.id,
            "account": mail.account,
            "due": mail.due,
            "state": _WAITING,
            "messages": list(mail.messages),
            "recipients": list(mail.recipients),
            "subject": mail.subject,
            "created": mail.created,
            "version": 0,
            "lease": 0.0,
            "frame": mail.frame,
        }
        await insert_new(self._mails, document)

    @guarded
    async def find(self, account: str, name: str) -> ScheduledMail | None:
        """Return the submission of this id, or with the message of this id, in any state."""
        found = await self._mails.find_one(_named(account, name))
        return None if found is None else _read(found)

    @guarded
    async def waiting_for(self, account: str, addresses: Sequence[str]) -> Sequence[ScheduledMail]:
        """Return those that wait with one of these recipients."""
        query = {"account": account, "state": _WAITING, "recipients": {"$in": [*addresses]}}
        return [_read(found) async for found in self._mails.find(query).limit(1_000)]

    @guarded
    async def page(
        self, account: str, *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> Sequence[ScheduledMail]:
        """Return those that wait, the next to leave first; without their frames."""
        query: Document = {"account": account, "state": _WAITING}
        if after is not None:
            due, name = after
            query["$or"] = [{"due": {"$gt": due}}, {"due": due, "_id": {"$gt": name}}]
        cursor = self._mails.find(query, {"frame": 0}).sort([("due", 1), ("_id", 1)]).limit(limit)
        return [_read(found) async for found in cursor]

    @guarded
    async def change(self, mail: ScheduledMail, now: float) -> bool:
        """Write `mail` in place of what was read; False if somebody else was quicker."""
        result = await self._mails.update_one(
            {"_id": mail.id, "state": _WAITING, "version": mail.version},
            {
                "$set": {
                    "due": mail.due,
                    "messages": list(mail.messages),
                    "recipients": list(mail.recipients),
                    "frame": mail.frame,
                    "changed": now,
                },
                "$inc": {"version": 1},
            },
        )
        return result.modified_count == 1

    @guarded
    async def cancel(self, mail: ScheduledMail, now: float) -> bool:
        """Cancel it as it was read; False if somebody else was quicker."""
        query = {"_id": mail.id, "state": _WAITING, "version": mail.version}
        result = await self._mails.update_one(query, _ended(_CANCELLED, now))
        return result.modified_count == 1

    @guarded
    async def take_due(self, now: float, lease_seconds: float) -> ScheduledMail | None:
        """Take one whose time has come, or that was taken and did not leave within its lease."""
        found = await self._mails.find_one_and_update(
            {"state": {"$in": [_WAITING, _LEAVING]}, "due": {"$lte": now}, "lease": {"$lte": now}},
            {"$set": {"state": _LEAVING, "lease": now + lease_seconds}},
            sort=[("due", 1)],
            return_document=True,
        )
        return None if found is None else _read(found)

    @guarded
    async def left(self, mail: ScheduledMail, now: float) -> None:
        """Note that it is on the queue."""
        await self._mails.update_one({"_id": mail.id, "state": _LEAVING}, _ended(_LEFT, now))


def _ended(state: str, now: float) -> dict[str, Any]:
    return {
        "$set": {"state": state, "changed": now, "at": to_date(now + KEPT_AFTERWARDS)},
        "$unset": {"frame": "", "recipients": "", "subject": ""},
    }
