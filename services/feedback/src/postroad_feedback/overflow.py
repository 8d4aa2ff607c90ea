"""End points for which too much waits: what happens meanwhile is left out, and replayed later.

A dead end point would fill the outbox for three days before it is disabled. So from `MOST_WAITING`
on nothing more is written for it; when it has worked off half of that, a replay (`replaying`) posts
what was left out, from the event log. All replicas see what one has found within a look or two: a
replay begins and ends so much earlier and later, and may post some events a second time.
"""

import time
from collections.abc import Callable

import structlog

from postroad_common.store.database import Database
from postroad_common.store.turns import Gap

MOST_WAITING = 20_000
LOOK_SECONDS = 5.0
SETTLED_SECONDS = 4 * LOOK_SECONDS
"""After which every replica knows that an end point gets its events again."""
_log = structlog.get_logger("webhooks")


class Overflow:
    """One per replica. `full` are the end points that nothing is written for now."""

    def __init__(
        self,
        database: Database,
        *,
        most_waiting: int = MOST_WAITING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.full: frozenset[str] = frozenset()
        self._database = database
        self._most_waiting = most_waiting
        self._clock = clock

    async def run_once(self) -> None:
        """Find which end points are full, and have those caught up that are not any more.

        Raises:
            StoreAway: the rest waits for the next look.
        """
        outbox, now = self._database.outbox, self._clock()
        gaps = await outbox.turns.gaps()
        for webhook in await outbox.turns.overdue(now):
            if webhook in gaps:
                continue
            if await outbox.count_waiting(webhook, self._most_waiting) >= self._most_waiting:
                _log.warning("webhook left out: too much waits", webhook=webhook)
                await outbox.turns.open_gap(webhook, now)
        for webhook, gap in gaps.items():
            await self._close(webhook, gap, now)
        self.full = frozenset(
            webhook for webhook, gap in (await outbox.turns.gaps()).items() if gap.end is None
        )

    async def _close(self, webhook: str, gap: Gap, now: float) -> None:
        turns = self._database.outbox.turns
        if gap.end is None:
            half = self._most_waiting // 2
            if await self._database.outbox.count_waiting(webhook, half) < half:
                await turns.end_gap(webhook, now)
        elif now - gap.end >= SETTLED_SECONDS:
            found = await self._database.webhooks.find(webhook)
            if found is not None and not found.disabled:
                start, end = gap.start - SETTLED_SECONDS, gap.end + SETTLED_SECONDS
                await self._database.replays.order(found, start, end)
                _log.info("webhook caught up by a replay", webhook=webhook, since=gap.start)
            await turns.forget_gap(webhook)
