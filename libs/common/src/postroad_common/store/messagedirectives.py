"""What people direct for single messages that wait: try at once, or cancel.

REST writes them, the sender reads them: it learns of a directive within seconds and looks a message
up here (in its memory) whenever a queue brings it. A directive outlives its message, so that no
copy of a cancelled message is sent.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pymongo.errors import DuplicateKeyError

from postroad_common.store.access import Collection, Document, guarded, to_date

KEPT_AFTER_EXPIRY = 86_400.0
"""Seconds that a directive outlives its message's time: copies may be in queues until then."""
OVERLAP = timedelta(seconds=10)
"""What is read again each time: writes become visible in another order than their times have."""


class Action(StrEnum):
    """What is to become of the message."""

    RETRY = "retry"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class MessageDirective:
    """`given` by a token or a user, when the message had had `attempts`. Times are Unix seconds.

    To try again concerns the next attempt only: the one with the number `attempts`, from 0.
    """

    message: str
    account: str
    action: Action
    by: str
    given: float
    attempts: int
    until: float


class MessageDirectives:
    """The collection `message_directives`, by message id."""

    def __init__(self, collection: Collection) -> None:
        self._directives = collection

    @guarded
    async def give(self, directive: MessageDirective) -> bool:
        """Write `directive` in place of an earlier one; False if the message is cancelled already.

        The time of the change is the database's: the clocks of two machines may differ.
        """
        values = {
            "account": directive.account,
            "action": directive.action.value,
            "by": directive.by,
            "given": directive.given,
            "attempts": directive.attempts,
            "until": directive.until,
            "at": to_date(directive.until),
        }
        try:
            await self._directives.update_one(
                {"_id": directive.message, "action": {"$ne": Action.CANCEL.value}},
                {"$set": values, "$currentDate": {"changed": True}},
                upsert=True,
            )
        except DuplicateKeyError:
            return False
        return True

    @guarded
    async def get(self, message_id: str) -> MessageDirective | None:
        """Return what is directed for one message."""
        found = await self._directives.find_one({"_id": message_id})
        return None if found is None else _read(found)

    @guarded
    async def count(self, account: str, limit: int) -> int:
        """Return how many messages of `account` have one, counted up to `limit`."""
        return await self._directives.count_documents({"account": account}, limit=limit)

    @guarded
    async def changed_since(
        self, moment: datetime | None
    ) -> list[tuple[MessageDirective, datetime]]:
        """Return the directives changed after about `moment`, or all; each with its own moment."""
        query = {} if moment is None else {"changed": {"$gt": moment - OVERLAP}}
        cursor = self._directives.find(query).sort("changed", 1)
        return [(_read(found), found["changed"]) async for found in cursor]


def _read(found: Document) -> MessageDirective:
    return MessageDirective(
        message=found["_id"],
        account=found["account"],
        action=Action(found["action"]),
        by=found["by"],
        given=found["given"],
        attempts=found["attempts"],
        until=found["until"],
    )
