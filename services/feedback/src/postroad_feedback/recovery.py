"""Finishes what was left: events that wait for their message, batches that nobody closed.

A click can overtake the news that its message was accepted, when several replicas share the work;
it waits in the log until the message is known. A batch whose process died is followed to its end
by whoever finds it in the ledger.
"""

import time
from collections.abc import Mapping, Sequence

import structlog

from postroad_common.mail.identifiers import id_time, new_id
from postroad_common.schemas.events import Event
from postroad_common.store.database import Database
from postroad_feedback import metrics
from postroad_feedback.ingest import Ingest, owned
from postroad_feedback.message_cache import MessageCache, MessageInfo
from postroad_feedback.validation import UNSOUND

ABANDONED_SECONDS = 60.0
"""After this long an open batch is taken for abandoned: no call to the database takes longer."""
SETTLE_SECONDS = 120.0
"""After this long nobody is going to tell more of a message than its account."""
GIVE_UP_SECONDS = 3 * 86_400.0
REDELIVERY_SECONDS = 3600.0
"""For this long an abandoned batch waits for its AMQP messages to come again."""
_PAGE = 500
_BATCHES = 500


class Recovery:
    """Runs beside the consumer, in every replica: what two do at once is done once."""

    def __init__(self, database: Database, cache: MessageCache, ingest: Ingest) -> None:
        self._database = database
        self._cache = cache
        self._ingest = ingest
        self._log = structlog.get_logger("feedback")

    async def run_once(self, now: float | None = None) -> int:
        """One round; returns how many events were completed.

        Raises:
            StoreAway: the rest waits for the next round.
        """
        moment = time.time() if now is None else now
        left = await self._database.ledger.abandoned(moment - ABANDONED_SECONDS, _BATCHES)
        for batch, event_ids in left:
            await self._recover(batch, event_ids, moment)
        return await self._complete_waiting(moment)

    async def _recover(self, batch: str, event_ids: Sequence[str], now: float) -> None:
        events = await self._database.ledger.added_by(batch, event_ids)
        try:
            facts = await self._cache.find(events)
            if any(event.message not in facts for event in events):
                if now - id_time(batch) < REDELIVERY_SECONDS:
                    # The log does not keep the facts: they come again with the AMQP message, which
                    # was not acknowledged, and counting before that would leave these out. (That
                    # of a delivery may have been before, which tells the account and no tags.)
                    return
                facts = await self._cache.find(events, settle=True)
            await self._ingest.follow(batch, events, events, facts)
        except UNSOUND:
            # What cannot be done once cannot be done again: it must not stop what is behind it.
            self._log.exception("abandoned batch dropped", batch=batch, events=len(events))
            await self._database.ledger.close(batch)
            metrics.DROPPED.inc()
            return
        metrics.RECOVERED.inc()
        self._log.warning("abandoned batch finished", batch=batch, events=len(events))

    async def _complete_waiting(self, now: float) -> int:
        completed = 0
        position = (0.0, "")
        while page := await self._database.ledger.waiting(position, _PAGE):
            position = (page[-1].time, page[-1].id)
            completed += await self._complete(page, now)
        return completed

    async def _complete(self, page: Sequence[Event], now: float) -> int:
        facts = dict(await self._cache.find(page))
        settled = [
            event
            for event in page
            if event.message not in facts and event.time < now - SETTLE_SECONDS
        ]
        if settled:
            facts |= await self._cache.find(settled, settle=True)
        hopeless = [
            event.id
            for event in page
            if event.message not in facts and event.time < now - GIVE_UP_SECONDS
        ]
        if hopeless:
            await self._database.ledger.give_up(hopeless)
            metrics.GIVEN_UP.inc(len(hopeless))
        return await self._claim([event for event in page if event.message in facts], facts)

    async def _claim(self, events: Sequence[Event], facts: Mapping[str, MessageInfo]) -> int:
        if not events:
            return 0
        batch = new_id()
        ids = [event.id for event in events]
        await self._database.ledger.open(batch, ids)
        await self._database.ledger.claim(
            batch, {event.id: facts[event.message].account for event in events}
        )
        mine = await self._database.ledger.added_by(batch, ids)
        mine = [owned(event, facts[event.message]) for event in mine]
        await self._ingest.follow(batch, mine, mine, facts)
        return len(mine)
