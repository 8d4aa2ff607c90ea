"""Records batches of events: all that follows from them, once, whatever dies in between.

`record` is the last of the five functions of a mail: accept, transform, place, deliver, record.

The order is what makes it safe. The batch is announced in the ledger; the events are stored, which
tells the new ones from the known; then records, counters and webhooks follow, each of which may be
repeated without harm; then the ledger entry is deleted. A process that dies before the end leaves
the AMQP messages unacknowledged, so the records and webhooks are done again, and the ledger entry,
so the counters are (`recovery`).
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence

from postroad_common.mail.identifiers import id_time, new_id
from postroad_common.schemas.events import Event, EventName
from postroad_common.store.database import Database
from postroad_common.store.suppressions import Suppression
from postroad_feedback import counts, metrics
from postroad_feedback.message_cache import MessageCache, MessageInfo
from postroad_feedback.parts import PartLimit
from postroad_feedback.spans import SpanExporter
from postroad_feedback.subscriptions import Subscriptions

CHUNK = 2000
"""Events recorded at once."""
PROMPT_SECONDS = 30.0
"""A batch closed this soon cannot have been taken for abandoned, so nobody will repeat it."""
_RECORDED = {name: metrics.EVENTS.labels(name.value) for name in EventName}


class Ingest:
    """Writes to `database`; webhook deliveries are made by `subscriptions`, spans by `spans`."""

    def __init__(
        self,
        database: Database,
        cache: MessageCache,
        subscriptions: Subscriptions,
        spans: SpanExporter | None = None,
    ) -> None:
        self._database = database
        self._cache = cache
        self._subscriptions = subscriptions
        self._spans = spans
        self._parts = PartLimit()

    async def record(self, events: Iterable[Event]) -> None:
        """Record events, whatever their order and however often they come.

        What is known of their messages is found; the batch is announced in the ledger; the events
        are stored; then follow counters, message records, suppressions and webhooks (`follow`).

        Raises:
            StoreAway: not everything is done; the same call will do the rest.
        """
        unique = list({event.id: event for event in events}.values())
        for start in range(0, len(unique), CHUNK):
            await self._record(unique[start : start + CHUNK])

    async def _record(self, events: Sequence[Event]) -> None:
        facts = await self._cache.find(events)
        events = [owned(event, facts.get(event.message)) for event in events]
        waiting = {event.id for event in events if event.message not in facts}
        batch = new_id()
        await self._database.ledger.open(batch, [event.id for event in events])
        new = await self._database.events.insert(events, batch=batch, waiting=waiting)
        await self.follow(batch, events, new, facts)
        if self._spans is not None:
            self._spans.add(new, facts)
        now = time.time()
        for event in new:
            _RECORDED[event.event].inc()
            metrics.EVENT_LAG.observe(max(0.0, now - event.time))
        metrics.DUPLICATES.inc(len(events) - len(new))

    async def follow(
        self,
        batch: str,
        events: Sequence[Event],
        new: Sequence[Event],
        facts: Mapping[str, MessageInfo],
    ) -> None:
        """Do all that follows from stored `events`, of which `batch` added `new`; closes it.

        Raises:
            StoreAway: as `record`.
        """
        known = [event for event in events if event.message in facts]
        added, *_ = await asyncio.gather(
            self.roll_up(batch, new, facts),
            self._update_records(events),
            self._suppress(known, facts),
            self._subscriptions.enqueue(known, facts),
        )
        await self._database.ledger.close(batch)
        if time.time() - id_time(batch) < PROMPT_SECONDS:
            self._database.rollups.finished(batch, added.days)
            self._database.hours.finished(batch, added.hours)

    async def roll_up(
        self, batch: str, new: Sequence[Event], facts: Mapping[str, MessageInfo]
    ) -> counts.Additions:
        """Add to the counters of the days and of the hours; return what was added to each."""
        marks = {
            counts.mark_of(event): event.time
            for event in new
            if counts.is_reaction(event) and event.message in facts
        }
        firsts: set[str] = set()
        if marks:
            firsts = await self._database.ledger.first_of(batch, marks, max(marks.values()))
        added = counts.additions(new, facts, firsts, self._parts)
        await asyncio.gather(
            self._database.rollups.add(batch, added.days),
            self._database.hours.add(batch, added.hours),
        )
        return added

    async def _update_records(self, events: Sequence[Event]) -> None:
        """Bring the records of the messages up to date.

        One update per message and batch is most of what an event costs the database; so reactions,
        which change nothing but their numbers, are left to the second call.
        """
        await self._database.messages.apply(
            event for event in events if not counts.is_reaction(event)
        )
        latest: dict[str, float] = {}
        for event in events:
            if counts.is_reaction(event):
                latest[event.message] = max(event.time, latest.get(event.message, 0.0))
        if latest:
            reactions = await self._database.events.reactions(latest)
            await self._database.messages.count_reactions(reactions, latest)

    async def _suppress(self, events: Sequence[Event], facts: Mapping[str, MessageInfo]) -> None:
        """Suppress those who unsubscribed for the list that they unsubscribed from."""
        await self._database.suppressions.add(
            Suppression(
                account=facts[event.message].account,
                address=facts[event.message].recipient,
                reason="unsubscribed with one click",
                kind="unsubscribe",
                created=event.time,
                expires=None,
                message=event.message,
                list=facts[event.message].list,
            )
            for event in events
            if event.event is EventName.UNSUBSCRIBED
            and facts[event.message].recipient
            and not facts[event.message].test
        )


def owned(event: Event, facts: MessageInfo | None) -> Event:
    """Return the event with its account, where that is known and was not told."""
    if facts is None or event.account:
        return event
    return event.model_copy(update={"account": facts.account})
