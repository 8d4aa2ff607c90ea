"""Which end points want which events; puts deliveries into the outbox for them.

The list of end points is read again when it is older than a quarter of a second, so a new end
point is served almost at once and a batch of events costs at most one small query.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from postroad_common.mail.identifiers import derived_id
from postroad_common.schemas.events import TIMELINE_ONLY, Event, is_own_mail
from postroad_common.store.deliveries import WebhookDelivery
from postroad_common.store.outbox import Outbox
from postroad_common.store.webhooks import Webhook, Webhooks
from postroad_feedback.message_cache import MessageInfo
from postroad_feedback.payload import body_of

_FRESH_SECONDS = 0.25


class Subscriptions:
    """The end points of all accounts. `notify` is called when the outbox got something.

    With `verified_only` an end point gets events when it has proved that it wants them.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        outbox: Outbox,
        notify: Callable[[], None],
        *,
        verified_only: bool = False,
        full: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """`full` gives the end points for which nothing more may be written (`overflow`)."""
        self._full = full
        self._verified_only = verified_only
        self._webhooks = webhooks
        self._outbox = outbox
        self._notify = notify
        self._stale_at = 0.0
        self._by_account: Mapping[str, Sequence[Webhook]] = {}

    async def enqueue(self, events: Sequence[Event], facts: Mapping[str, MessageInfo]) -> None:
        """Write a delivery for each event and each end point that wants it; repeatable.

        Raises:
            StoreAway: not all are written.
        """
        await self._refresh()
        if not self._by_account:
            return
        now = time.time()
        full = self._full()
        deliveries = [
            delivery_of(webhook, event, facts[event.message], now)
            for event in events
            if event.event not in TIMELINE_ONLY and not is_own_mail(event)
            for webhook in self._by_account.get(facts[event.message].account, ())
            if webhook.id not in full
            and (not webhook.events or event.event.value in webhook.events)
        ]
        if deliveries:
            await self._outbox.add(deliveries)
            self._notify()

    async def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._stale_at:
            return
        by_account: defaultdict[str, list[Webhook]] = defaultdict(list)
        for webhook in await self._webhooks.list():
            if not webhook.disabled and (webhook.verified or not self._verified_only):
                by_account[webhook.account].append(webhook)
        self._by_account = by_account
        took = time.monotonic() - now
        # A list so long that reading it takes time is read less often.
        self._stale_at = now + max(_FRESH_SECONDS, 20 * took)


def delivery_of(webhook: Webhook, event: Event, facts: MessageInfo, now: float) -> WebhookDelivery:
    """Return the delivery of `event` to `webhook`, due when the end point's batching allows."""
    return WebhookDelivery(
        # Derived, so that an event filed twice is delivered once; no full stop in it, because the
        # signature joins its parts with one.
        id=derived_id(event.time, webhook.id, event.id),
        webhook=webhook.id,
        account=webhook.account,
        event=event.event.value,
        message=event.message,
        body=body_of(event, facts),
        created=now,
        due=now + (webhook.batch_seconds if webhook.batch_size > 1 else 0.0),
    )
