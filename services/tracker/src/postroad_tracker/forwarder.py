"""Takes hits from the spool to the broker as events, and deletes them when they are safe.

A segment with clicks rests for a moment, because a machine is often recognised by its second
request (`burst_detector`). Then its events are published. While the broker is away they stay on
disk.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from postroad_common.errors import BrokerAway, Unroutable
from postroad_common.schemas.events import Event, EventName, happened
from postroad_common.tokens import LinkKind
from postroad_tracker import metrics
from postroad_tracker.hits import Amendment, Hit
from postroad_tracker.spool import Segment, Spool

LINGER_SECONDS = 0.1
_BATCH = 200  # bounds the time for which building one batch keeps readers waiting
_FIRST_PAUSE = 0.25
_MAX_PAUSE = 5.0
_NAMES = {
    LinkKind.CLICK: EventName.CLICKED,
    LinkKind.OPEN: EventName.OPENED,
    LinkKind.IMAGE: EventName.OPENED,
    LinkKind.HOSTED: EventName.OPENED,
    LinkKind.UNSUBSCRIBE: EventName.UNSUBSCRIBED,
}
_NUMBERED = frozenset({LinkKind.CLICK, LinkKind.IMAGE, LinkKind.HOSTED})

Publish = Callable[[Sequence[Event]], Awaitable[None]]


def events_of(lines: Sequence[bytes]) -> list[Event]:
    """Return the events of a segment's lines; count the lines that cannot be read."""
    hits: dict[str, Hit] = {}
    reasons: dict[str, str] = {}
    for line in lines:
        try:
            record = Hit.from_line(line)
        except ValueError:
            metrics.TORN.inc()
            continue
        if isinstance(record, Amendment):
            reasons[record.hit] = record.machine
        else:
            hits[record.id] = record
    return [_event(hit, reasons.get(hit.id, hit.machine)) for hit in hits.values()]


def _event(hit: Hit, machine: str) -> Event:
    data: dict[str, Any] = {"ip": hit.ip, "machine": bool(machine)}
    if machine:
        data["reason"] = machine
    if hit.url:
        data["url"] = hit.url
    if hit.kind in _NUMBERED:
        data["link"] = hit.number
    if hit.user_agent:
        data["user_agent"] = hit.user_agent
    if hit.referer:
        data["referer"] = hit.referer
    return happened(_NAMES[hit.kind], hit.message, hit.time, data, event_id=hit.id)


class SpoolForwarder:
    """Empties `spool` with `publish`, which returns when the broker has confirmed the events."""

    def __init__(self, spool: Spool, publish: Publish) -> None:
        self._spool = spool
        self._publish = publish
        self._log = structlog.get_logger(service="tracker")
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()

    def wake(self) -> None:
        """Tell that the spool holds something."""
        self._wake.set()

    async def run(self) -> None:
        """Forward until cancelled."""
        while True:
            if self._spool.empty:
                self._wake.clear()
                await self._wake.wait()
            await self._rest(LINGER_SECONDS)
            self._spool.seal()
            await self._forward_all()

    async def drain(self, seconds: float) -> bool:
        """Forward all that waits, at most for `seconds`; call after `run` was cancelled.

        Returns whether nothing is left. What is left stays on disk for the next start.
        """
        self._hurry.set()
        self._spool.seal()
        try:
            await asyncio.wait_for(self._forward_all(), seconds)
        except TimeoutError:
            self._log.warning("hits stay in the spool", bytes=self._spool.bytes)
        return self._spool.empty

    async def _rest(self, seconds: float) -> None:
        if seconds > 0 and not self._hurry.is_set():
            try:
                await asyncio.wait_for(self._hurry.wait(), seconds)
            except TimeoutError:
                return

    async def _forward_all(self) -> None:
        pause = _FIRST_PAUSE
        while (segment := self._spool.oldest()) is not None:
            await self._rest(segment.rest_until - time.monotonic())
            try:
                await self._forward(segment)
            except (BrokerAway, Unroutable) as error:
                if pause == _FIRST_PAUSE:
                    self._log.warning("broker away, hits stay in the spool", reason=str(error))
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, _MAX_PAUSE)
            else:
                pause = _FIRST_PAUSE

    async def _forward(self, segment: Segment) -> None:
        try:
            events = events_of(segment.read())
        except OSError as error:
            # A file that cannot be read would block all behind it; it is named and passed over.
            self._log.error("segment unreadable", file=str(segment.path), reason=str(error))
            events = []
        for start in range(0, len(events), _BATCH):
            batch = events[start : start + _BATCH]
            await self._publish(batch)
            metrics.FORWARDED.inc(len(batch))
        self._spool.remove(segment)
