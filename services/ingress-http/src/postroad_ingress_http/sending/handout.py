"""Hands out mail whose time has come: from the schedule to the queue of the transformer.

Every process does it; the store gives each submission to one of them.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from postroad_common.broker import Publisher
from postroad_common.broker.topology import ACCEPTED
from postroad_common.errors import Transient, Unroutable
from postroad_common.store.scheduled import Schedule

LEASE_SECONDS = 30.0
_AT_ONCE = 20
_IDLE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HandOut:
    """Runs for as long as the service does; `clock` returns Unix seconds."""

    store: Schedule
    publisher: Publisher
    clock: Callable[[], float]

    async def run(self) -> None:
        """Hand out what is due, for ever."""
        while True:
            if not await self._several():
                await asyncio.sleep(_IDLE_SECONDS * random.uniform(0.8, 1.2))

    async def hand_out_one(self) -> bool:
        """Hand out one submission; False if none is due.

        Raises:
            StoreAway, BrokerAway, Unroutable: it is taken up again when its lease is over.
        """
        mail = await self.store.take_due(self.clock(), LEASE_SECONDS)
        if mail is None:
            return False
        await self.publisher.publish("", ACCEPTED.name, mail.frame)
        await self.store.left(mail, self.clock())
        return True

    async def _several(self) -> bool:
        """Hand out a few at the same time; False if nothing more is due, or can be done now.

        The first goes alone, as mostly nothing is due, and one question finds that out.
        """
        if not self.publisher.is_up:
            return False
        for many in (1, _AT_ONCE):
            ends = await asyncio.gather(
                *(self.hand_out_one() for _ in range(many)), return_exceptions=True
            )
            for end in ends:
                if isinstance(end, Transient | Unroutable):
                    _log.warning("scheduled mail waits on", error=str(end))
                    return False
                if isinstance(end, BaseException):
                    raise end
            if not all(ends):
                return False
        return True
