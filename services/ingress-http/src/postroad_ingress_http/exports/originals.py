"""Events as the original service told them: its names, its columns, its times.

All events of a search come, whatever their number: message by message, the newest message first,
read in pages, so that memory stays bounded.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from postroad_common.schemas.events import Event, EventName
from postroad_common.store.events import Events
from postroad_common.store.messages import Criteria, MessageRecord, Messages
from postroad_ingress_http.exports.columns import KINDS, as_mapping

MONTH = 31 * 86_400.0
"""Seconds. A search that does not say when reaches back so far."""
_NAMES: Mapping[EventName, tuple[str, str]] = {
    EventName.ACCEPTED: ("attempt", "attempts"),
    EventName.DELIVERED: ("delivery", "deliveries"),
    EventName.FAILED: ("failure", "failures"),
    EventName.BOUNCED: ("bounce", "bounces"),
    EventName.RESPONSE: ("response", "responses"),
    EventName.CLICKED: ("click", "clicks"),
    EventName.OPENED: ("open", "opens"),
    EventName.COMPLAINED: ("abuse", "abuses"),
}
_MESSAGES = 50  # read at once
_EVENTS = 500  # read at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: of messages to `recipient`, with all `tags`, from `template`; Unix seconds."""

    start: float
    end: float
    recipient: str | None = None
    tags: tuple[str, ...] = ()
    template: str | None = None


def told(event: Event, message: MessageRecord) -> dict[str, Any] | None:
    """Return the event as the original told it; None for one it had not.

    Its columns stand in `data` and beside it: there are clients that read them there.
    """
    if event.event not in _NAMES:
        return None
    name, prefix = _NAMES[event.event]
    kind = KINDS[prefix]
    data = as_mapping(kind, kind.record(event, message))
    return {
        **data,
        "event": name,
        "data": data,
        "message": event.message,
        "unixtime": event.time,
    }


class OriginalEvents:
    """Reads events for the original's end points."""

    def __init__(self, messages: Messages, events: Events) -> None:
        self._messages = messages
        self._events = events

    async def of_message(self, record: MessageRecord, wanted: Wanted) -> list[dict[str, Any]]:
        """Return the events of one message that are wanted, oldest first."""
        if not set(wanted.tags) <= set(record.tags):
            return []
        return [
            one
            for event in await self._events.timeline(record.id)
            if wanted.start <= event.time < wanted.end and (one := told(event, record)) is not None
        ]

    async def search(self, account: str, wanted: Wanted) -> AsyncIterator[dict[str, Any]]:
        """Yield the events that are wanted."""
        criteria = Criteria(
            recipient=wanted.recipient,
            tag=wanted.tags[0] if wanted.tags else None,
            template=wanted.template,
            # What happens to a message may happen long after it was made.
            start=wanted.start - MONTH,
            end=wanted.end,
        )
        before = None
        while True:
            records = await self._messages.search(account, criteria, before=before, limit=_MESSAGES)
            fitting = {
                record.id: record for record in records if set(wanted.tags) <= set(record.tags)
            }
            async for event in self._of_messages(account, fitting, wanted):
                if (one := told(event, fitting[event.message])) is not None:
                    yield one
            if len(records) < _MESSAGES:
                return
            before = records[-1].id

    async def _of_messages(
        self, account: str, ids: Iterable[str], wanted: Wanted
    ) -> AsyncIterator[Event]:
        before = None
        while ids:
            found = await self._events.search(
                account,
                names=[str(name) for name in _NAMES],
                message_ids=ids,
                start=wanted.start,
                end=wanted.end,
                before=before,
                limit=_EVENTS,
            )
            for event in found:
                yield event
            if len(found) < _EVENTS:
                return
            before = found[-1].time, found[-1].id
