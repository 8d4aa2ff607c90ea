"""Directives for single messages that wait: try now, cancel; and what has become of them.

They are written for the sender, which obeys before the message's next attempt, wherever it waits.
"""

from collections.abc import Awaitable, Callable
from typing import Literal

from pydantic import BaseModel, Field

from postroad_common.store.messagedirectives import (
    KEPT_AFTER_EXPIRY,
    Action,
    MessageDirective,
    MessageDirectives,
)
from postroad_common.store.messages import RANKS, MessageRecord
from postroad_ingress_http.history.messages import MessageHistory
from postroad_ingress_http.http.errors import ApiError

MOST_DIRECTIVES = 10_000
"""For one account at the same time: every sender has them all in memory."""
_FINAL = RANKS["suppressed"]
Result = Literal["pending", "done", "too_late"]


class MessageDirectiveView(BaseModel):
    """What was directed for a message, by a token or a user, and when (Unix seconds).

    `result`: `done` once the message is cancelled or was tried; `too_late` if it ended in another
    way first.
    """

    action: Action
    by: str
    given: float
    result: Result = Field(description="`pending` until the sender has acted.")


def view_directive(directive: MessageDirective, record: MessageRecord) -> MessageDirectiveView:
    """Return the directive with what the state of its message says about it."""
    return MessageDirectiveView(
        action=directive.action,
        by=directive.by,
        given=directive.given,
        result=_result(directive, record),
    )


def _result(directive: MessageDirective, record: MessageRecord) -> Result:
    if directive.action is Action.RETRY and record.attempts > directive.attempts:
        return "done"
    if directive.action is Action.CANCEL and record.state == "cancelled":
        return "done"
    return "too_late" if is_final(record) else "pending"


def is_final(record: MessageRecord) -> bool:
    """Whether nothing is left to be tried or cancelled."""
    return RANKS[record.state] >= _FINAL


Directed = Callable[[str, str, Action, str], Awaitable[None]]
"""Does what is directed (account, message, action, by whom) with mail that waits for its time."""


class MessageDirection:
    """Gives directives for the messages of one account at a time; `clock` gives Unix seconds."""

    def __init__(
        self,
        history: MessageHistory,
        directives: MessageDirectives,
        clock: Callable[[], float],
        *,
        scheduled: Directed,
        most: int = MOST_DIRECTIVES,
    ) -> None:
        self._history = history
        self._directives = directives
        self._clock = clock
        self._scheduled = scheduled
        self._most = most

    async def find(self, record: MessageRecord) -> MessageDirectiveView | None:
        """Return what is directed for a message, if anything is."""
        directive = await self._directives.get(record.id)
        return None if directive is None else view_directive(directive, record)

    async def direct(
        self, account: str, message_id: str, action: Action, by: str
    ) -> MessageDirectiveView:
        """Direct that the message is tried now, or cancelled; `by` is a token's id or a user.

        Raises:
            ApiError: 404; 409, it does not wait any more, or is cancelled already; 429, too many.
        """
        record = await self._history.find(account, message_id)
        if is_final(record):
            raise ApiError(
                409,
                f"The message does not wait any more: it is {record.state}.",
                code="not_waiting",
            )
        if await self._directives.count(account, self._most) >= self._most:
            raise ApiError(
                429,
                f"The account has {self._most:,} directives for messages; "
                "they end with the time of their messages.",
                code="too_many_directives",
            )
        now = self._clock()
        directive = MessageDirective(
            message=record.id,
            account=account,
            action=action,
            by=by,
            given=now,
            attempts=record.attempts,
            until=max(now, record.expires) + KEPT_AFTER_EXPIRY,
        )
        if not await self._directives.give(directive):
            given = await self._directives.get(record.id)
            if action is Action.RETRY or given is None:
                raise ApiError(409, "The message is being cancelled.", code="cancelled")
            directive = given
        await self._scheduled(account, record.id, action, by)
        return view_directive(directive, record)
