"""Carries out orders to post events of the past once more (`store.replays`).

An order is worked on page by page from the event log, and only as long as not too much waits for
its end point already: a replay of a year neither fills the outbox nor delays the news.
"""

import time
from collections.abc import Callable, Sequence

import structlog

from postroad_common.schemas.events import TIMELINE_ONLY, Event, EventName
from postroad_common.store.database import Database
from postroad_common.store.replays import Replay
from postroad_common.store.webhooks import Webhook
from postroad_feedback.message_cache import MessageCache
from postroad_feedback.subscriptions import delivery_of

LEASE_SECONDS = 30.0
MOST_WAITING = 5000
"""Deliveries that wait for an end point, above which its replays pause."""
_PAUSE_SECONDS = 2.0
_PAGE = 500
_ALL = tuple(str(name) for name in EventName if name not in TIMELINE_ONLY)
_log = structlog.get_logger("webhooks")


class Replayer:
    """One per replica; an order is leased, so two do not work on the same."""

    def __init__(
        self,
        database: Database,
        cache: MessageCache,
        notify: Callable[[], None],
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._database = database
        self._cache = cache
        self._notify = notify
        self._most_waiting = most_waiting

    async def run_once(self) -> None:
        """Works until no order can be worked on.

        Raises:
            StoreAway: the rest waits for the next round.
        """
        while order := await self._database.replays.take(time.time(), LEASE_SECONDS):
            await self._work(order)

    async def _work(self, order: Replay) -> None:
        """One page; the other orders are served before the next."""
        webhook = await self._database.webhooks.find(order.webhook)
        if webhook is None or webhook.disabled:
            await self._database.replays.finish(order, time.time())
            return
        now = time.time()
        if order.position[1] == "":
            await self._database.outbox.turns.wake(webhook.id, now)
        waiting = await self._database.outbox.count_waiting(webhook.id, self._most_waiting)
        if waiting >= self._most_waiting:
            await self._database.replays.progress(
                order, order.position, 0, lease=now + _PAUSE_SECONDS
            )
            return
        page = await self._database.events.since(
            order.account, order.position, order.end, names=webhook.events or _ALL, limit=_PAGE
        )
        if not page:
            await self._database.replays.finish(order, now)
            _log.info("replay finished", webhook=webhook.id, events=order.queued)
            return
        queued = await self._queue(webhook, page, now)
        last = (page[-1].time, page[-1].id)
        await self._database.replays.progress(order, last, queued, lease=now)
        self._notify()

    async def _queue(self, webhook: Webhook, page: Sequence[Event], now: float) -> int:
        facts = await self._cache.find(page, settle=True)
        deliveries = [
            delivery_of(webhook, event, facts[event.message], now)
            for event in page
            if event.message in facts
        ]
        await self._database.outbox.add_again(deliveries)
        return len(deliveries)
