"""Webhooks in the database, deliveries to them, and what became of these."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from postroad_common.mail.identifiers import new_id
from postroad_common.store import Database
from postroad_common.store.deliveries import DeliveryState, WebhookDelivery
from postroad_common.store.webhooks import Webhook
from postroad_testing.endpoint import EndPoint

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of webhooks in tests only
"""Signs the calls of webhooks that are made here."""


async def subscribe(
    database: Database, end_point: EndPoint, path: str = "/hook", **options: Any
) -> Webhook:
    """Return a new webhook for all events that is called at `path` of an end point."""
    url = f"http://127.0.0.1:{end_point.port}{path}"
    values = {"account": "acme", "url": url, **options}
    return await database.webhooks.create(events=(), secret=SECRET, **values)


def delivery(webhook: Webhook, created: float | None = None) -> WebhookDelivery:
    """Return a delivery of an event to `webhook`, due at once."""
    now = time.time() if created is None else created
    return WebhookDelivery(
        id=new_id(now),
        webhook=webhook.id,
        account=webhook.account,
        event="delivered",
        message=new_id(now),
        body=json.dumps({"type": "delivered", "data": {"recipient": "j\u00f6@example.com"}}),
        created=now,
        due=now,
    )


async def log_of(database: Database, webhook: Webhook) -> list[WebhookDelivery]:
    """Return the deliveries to `webhook`, in all states."""
    return await database.outbox.log(webhook.account, webhook.id, limit=500)


async def states(database: Database, webhook: Webhook) -> list[str]:
    """Return the states of the deliveries to `webhook`."""
    return [item.state.value for item in await log_of(database, webhook)]


def all_are(
    database: Database, webhook: Webhook, state: DeliveryState
) -> Callable[[], Awaitable[bool]]:
    """Return the condition, for `until`, that there are deliveries and all are in `state`."""

    async def check() -> bool:
        found = await states(database, webhook)
        return bool(found) and set(found) == {state.value}

    return check
