"""Messages that may kill the process that handles them: handled alone, and set aside at last.

The broker brings again what had not ended when a process died, and counts how often. That says
little about one message: all that were in the process were brought again. So one that was brought
for the third time is handled alone, with a mark in the store that is there for as long as that
takes. A mark that is left tells of a process that died meanwhile; a message that has left two is
set aside, and what waits behind it goes on.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Sequence
from typing import Protocol

import structlog

from postroad_common.broker.delivery import Delivery
from postroad_common.broker.handling import Handling
from postroad_common.broker.inbox import Inbox
from postroad_common.errors import Transient
from postroad_common.mail.requeue import RequeueReason

REDELIVERIES = 2
"""After so many, a message is handled alone."""
MARKS_ALLOWED = 2
"""A message that has left so many marks is not handled again."""

_log = structlog.get_logger("consumer")


class MarkStore(Protocol):
    """What is needed of `store.marks`."""

    def begin(self, key: str) -> Awaitable[int]:
        """Leave a mark for `key`; returns how many there are now. Raises StoreAway."""

    def end(self, key: str) -> Awaitable[None]:
        """Take the marks of `key` away. Raises StoreAway."""


class Suspects:
    """One per consumer: at most one suspect is handled at a time."""

    def __init__(self, queue: str, inbox: Inbox, marks: MarkStore) -> None:
        self._queue = queue
        self._inbox = inbox
        self._marks = marks
        self._alone = asyncio.Lock()

    async def run(self, handling: Handling, batch: Sequence[Delivery]) -> None:
        """Handle `batch`, suspects after the others and one by one."""
        others = [one for one in batch if one.redeliveries < REDELIVERIES]
        if others:
            await handling.run(others)
        for delivery in batch:
            if delivery.redeliveries >= REDELIVERIES:
                async with self._alone:
                    await self._run_alone(handling, delivery)

    async def _run_alone(self, handling: Handling, delivery: Delivery) -> None:
        key = hashlib.sha256(self._queue.encode() + b"\0" + delivery.body).hexdigest()
        marks = 0
        with contextlib.suppress(Transient):  # without the store it is handled all the same
            marks = await self._marks.begin(key)
        if marks > MARKS_ALLOWED:
            await self._set_aside(delivery)
        else:
            if marks > 1:
                _log.warning("handled alone", queue=self._queue, marks=marks)
            await handling.run([delivery])
            await self._inbox.settled(delivery)
        with contextlib.suppress(Transient):  # then it is forgotten in time
            await self._marks.end(key)

    async def _set_aside(self, delivery: Delivery) -> None:
        text = f"redelivered {delivery.redeliveries} times without an outcome"
        try:
            await delivery.dead(text)
        except Transient:
            await delivery.retry(RequeueReason.DEPENDENCY_AWAY, text)
