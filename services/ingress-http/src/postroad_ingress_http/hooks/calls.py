"""The calls of a webhook: those that were made, and those that its owner asks for."""

import secrets
import time
from collections.abc import Iterable
from dataclasses import replace

from postroad_common.store.deliveries import DeliveryState, Try, WebhookDelivery
from postroad_common.store.outbox import Outbox
from postroad_common.store.replays import Replay, Replays
from postroad_common.store.turns import Failing
from postroad_common.store.webhooks import Webhook
from postroad_ingress_http.hooks.checks import check_events
from postroad_ingress_http.hooks.registry import WebhookRegistry
from postroad_ingress_http.hooks.samples import sample
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found
from postroad_ingress_http.http.paging import read_cursor, write_cursor

_MAX_REPLAYS = 10  # unfinished, per webhook


class WebhookCalls:
    """Reads the delivery log; asks feedback, through the store, for calls and replays."""

    def __init__(self, registry: WebhookRegistry, outbox: Outbox, replays: Replays) -> None:
        self._registry = registry
        self._outbox = outbox
        self._replays = replays

    async def log(
        self,
        account: str,
        webhook: str,
        *,
        state: str | None,
        cursor: str | None,
        limit: int,
    ) -> tuple[list[WebhookDelivery], str | None]:
        """Return deliveries, newest or posted again last first, and the cursor of the next page.

        Raises:
            ApiError: 400, the cursor is none; 404.
        """
        position = read_cursor(cursor, float, str)
        await self._registry.find(account, webhook)
        before = (position[0], position[1]) if position else None
        found = await self._outbox.log(
            account, webhook, state=state, before=before, limit=limit + 1
        )
        last = found[limit - 1] if len(found) > limit else None
        return found[:limit], write_cursor(last.since, last.id) if last else None

    async def find(self, account: str, webhook: str, delivery: str) -> WebhookDelivery:
        """Return one delivery.

        Raises:
            ApiError: 404.
        """
        found = await self._outbox.get(account, webhook, delivery)
        if found is None:
            raise not_found("delivery")
        return found

    async def failing(self, webhooks: Iterable[str]) -> dict[str, Failing]:
        """Return those of the webhooks whose last calls have failed, by their ids."""
        return await self._outbox.turns.failing(webhooks)

    async def last_try(self, webhook: str) -> Try | None:
        """Return the last try of what waits for a webhook that fails."""
        return await self._outbox.last_try(webhook)

    async def replays(self, account: str, webhook: str, *, limit: int = 50) -> list[Replay]:
        """Return the latest replays, latest first.

        Raises:
            ApiError: 404.
        """
        await self._registry.find(account, webhook)
        return await self._replays.list(account, webhook, limit=limit)

    async def replay(self, account: str, webhook: str, start: float, end: float) -> Replay:
        """Order the events from `start` until before `end` (Unix seconds) to be posted again.

        Raises:
            ApiError: 400, the range is empty; 404; 409, the webhook is disabled, or has too many.
        """
        found = await self._enabled(account, webhook)
        if end <= start:
            raise bad_field("end", "The range is empty.")
        if await self._replays.count_open(account, webhook) >= _MAX_REPLAYS:
            raise ApiError(409, f"{_MAX_REPLAYS} replays of this webhook are not finished yet.")
        return await self._replays.order(found, start, end)

    async def test(self, account: str, webhook: str, event: str = "test") -> str:
        """Post an event of the type `test`, or a sample of `event`; return the delivery's id.

        Raises:
            ApiError: 400, there is no such event; 404; 409, it is disabled.
        """
        found = await self._enabled(account, webhook)
        if event != "test":
            check_events([event])
        data = {"message": "This is a test."} if event == "test" else sample(event, time.time())
        await self._outbox.turns.wake(found.id, 0.0)
        return await self._outbox.add_call(found, event, data)

    async def again(self, account: str, webhook: str, delivery: str) -> None:
        """Post what a delivery posted once more; what was noted of its tries stays.

        Raises:
            ApiError: 404; 409, it is disabled.
        """
        found = await self._enabled(account, webhook)
        old = await self.find(account, found.id, delivery)
        now = time.time()
        anew = replace(old, state=DeliveryState.PENDING, due=now, since=now)
        await self._outbox.turns.wake(found.id, 0.0)
        await self._outbox.add_again([anew])

    async def wake(self, account: str, webhook: str) -> None:
        """Have what waits for an end point whose calls fail posted at once.

        Raises:
            ApiError: 404; 409, it is disabled.
        """
        found = await self._enabled(account, webhook)
        await self._outbox.post_now(found.id, time.time())

    async def verify(self, account: str, webhook: str) -> str:
        """Ask the end point to prove that it wants the calls; return the delivery's id.

        Raises:
            ApiError: 404; 409, it is disabled.
        """
        found = await self._enabled(account, webhook)
        await self._outbox.turns.wake(found.id, 0.0)
        challenge = secrets.token_urlsafe(24)
        return await self._outbox.add_call(found, "verification", {"challenge": challenge})

    async def _enabled(self, account: str, webhook: str) -> Webhook:
        found = await self._registry.find(account, webhook)
        if found.disabled:
            raise ApiError(409, "The webhook is disabled: start it again first.")
        return found
