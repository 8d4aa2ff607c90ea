"""What people have directed for single messages: try now, cancel; known here before an attempt.

All directives are in memory, so that a message costs one look-up, and none while there are no
directives. They are learnt from the store within seconds. While that is away, nobody can direct
anything, so mail goes on; but a process that began without it does not know what was directed
before, and holds mail that is older than itself.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import structlog

from postroad_common.errors import StoreAway
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.store.messagedirectives import Action, MessageDirective, MessageDirectives
from postroad_sender.timings import Timings

_log = structlog.get_logger("directives")


class DirectedMessages:
    """One per process. `wall` gives Unix seconds."""

    def __init__(
        self,
        store: MessageDirectives,
        wall: Callable[[], float] = time.time,
        *,
        timings: Timings | None = None,
    ) -> None:
        self._store = store
        self._wall = wall
        self._timings = timings or Timings()
        self._known: dict[str, MessageDirective] = {}
        self._changed: datetime | None = None
        self._began = wall()
        self._is_read = False

    def __bool__(self) -> bool:
        """Whether anything is directed."""
        return bool(self._known)

    def cancels(self, message: OutboundMessage) -> dict[str, MessageDirective]:
        """Return the directives that cancel recipients of `message`, by their ids."""
        return {
            recipient.id: found
            for recipient in message.recipients
            if (found := self._known.get(recipient.id)) and found.action is Action.CANCEL
        }

    @property
    def unknown_seconds(self) -> float:
        """For how long to hold a message that `may_be_cancelled`."""
        return self._timings.directives_unknown

    def may_be_cancelled(self, message: OutboundMessage) -> bool:
        """Whether `message` may have a directive that is not known here yet."""
        return not self._is_read and message.received < self._began

    def is_to_be_tried(self, message: OutboundMessage) -> bool:
        """Whether the attempt that `message` waits for is to be made at once."""
        return any(
            (found := self._known.get(recipient.id)) is not None
            and found.action is Action.RETRY
            and message.attempt <= found.attempts
            for recipient in message.recipients
        )

    async def read(self) -> int:
        """Learn what was written since the last call; returns how many directives are new.

        Raises:
            StoreAway: `run` will try again.
        """
        found = await self._store.changed_since(self._changed)
        self._is_read = True
        new = {one.message: one for one, _ in found if self._known.get(one.message) != one}
        self._known |= new
        if found:
            self._changed = found[-1][1]
        now = self._wall()
        for message in [one.message for one in self._known.values() if one.until <= now]:
            del self._known[message]
        return len(new)

    async def run(self, learnt: Callable[[], None]) -> None:
        """Read, for ever. `learnt` is called after something new."""
        while True:
            try:
                new = await self.read()
            except StoreAway as error:
                _log.info("directives for messages are out of reach", error=str(error))
            else:
                if new:
                    _log.info("directives for messages", messages=new)
                    learnt()
            await asyncio.sleep(self._timings.directives_every)
