"""Reads the batches of events from the queue, has them recorded, and ends the deliveries.

A batch holds events of many messages. One that cannot be read or recorded goes to the dead-letter
queue by itself; the others are recorded.
"""

import json
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from pydantic import ValidationError

from postroad_common.broker import Delivery
from postroad_common.errors import Unstorable
from postroad_common.schemas.events import Event, EventBatch, read_event
from postroad_common.schemas.framing import FrameError, decode, encode, read_envelope
from postroad_feedback import metrics
from postroad_feedback.validation import UNSOUND, defect_of

CHUNK = 2000
"""Events in memory at once: a queue that has grown long holds hundreds in each message."""

Record = Callable[[Sequence[Event]], Awaitable[None]]
_log = structlog.get_logger("feedback")


class Handler:
    """One micro-batch at a time; `record` stores the events and raises when it cannot."""

    def __init__(self, record: Record) -> None:
        self._record = record

    async def __call__(self, deliveries: list[Delivery]) -> None:
        """End each delivery: ack when its events are recorded, dead when it holds none.

        Raises:
            StoreAway: the consumer holds the deliveries and calls again.
        """
        events: list[tuple[Event, Delivery]] = []
        readable: list[Delivery] = []
        for delivery in deliveries:
            try:
                found = await _read(delivery)
            except FrameError as error:
                await delivery.dead(f"unreadable: {error}")
                continue
            if found:
                oldest = min(event.time for event in found)
                metrics.AGE.observe(max(0.0, time.time() - oldest))
            events += [(event, delivery) for event in found]
            readable.append(delivery)
            if len(events) >= CHUNK:
                await self._record_and_ack(events, readable)
                events, readable = [], []
        await self._record_and_ack(events, readable)

    async def _record_and_ack(
        self, events: Sequence[tuple[Event, Delivery]], readable: Sequence[Delivery]
    ) -> None:
        if events:
            await self._record_or_part(events)
        for delivery in readable:
            delivery.ack()

    async def _record_or_part(self, events: Sequence[tuple[Event, Delivery]]) -> None:
        """Files all; where one of them is unsound, halves until it stands alone."""
        try:
            await self._record([event for event, _ in events])
        except UNSOUND as error:
            if len(events) > 1:
                middle = len(events) // 2
                await self._record_or_part(events[:middle])
                await self._record_or_part(events[middle:])
                return
            ((event, delivery),) = events
            fault = not isinstance(error, Unstorable)  # then it may be one of ours
            _log.error("event set aside", id=event.id, error=str(error), exc_info=fault)
            await delivery.set_aside(encode(EventBatch(events=(event,))), f"not filed: {error}")


async def _read(delivery: Delivery) -> list[Event]:
    """Return the sound events of a delivery; the others are set aside.

    Raises:
        FrameError: it holds no batch.
        BrokerAway: an unsound event could not be set aside.
    """
    try:
        found: list[Event] = list(decode(EventBatch, delivery.body)[0].events)
    except FrameError:
        found = await _read_singly(delivery)
    sound: list[Event] = []
    for event in found:
        complaint = defect_of(event)
        if complaint:
            await delivery.set_aside(encode(EventBatch(events=(event,))), complaint)
        else:
            sound.append(event)
    return sound


async def _read_singly(delivery: Delivery) -> list[Event]:
    batch = read_envelope(delivery.body)
    entries = batch.get("events")
    if not isinstance(entries, list) or not entries:
        raise FrameError("not an EventBatch: it has no events")
    found, bad = [], []
    for entry in entries:
        text = json.dumps(entry)
        try:
            found.append(read_event(text))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            bad.append((text, f"not an Event: {where}: {first['msg']}"))
    if not found:
        raise FrameError(bad[0][1])
    for text, reason in bad:
        await delivery.set_aside(text.encode(), reason)
    return found
