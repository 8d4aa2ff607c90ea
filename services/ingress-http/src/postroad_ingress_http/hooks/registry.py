"""The webhooks of an account: created, changed, their secrets rotated."""

from collections.abc import Mapping, Sequence
from typing import Any

from postroad_common.store.outbox import Outbox
from postroad_common.store.webhooks import Webhook, Webhooks
from postroad_ingress_http.hooks.checks import check_events, check_url, new_secret
from postroad_ingress_http.http.errors import ApiError, not_found

MAX_HOOKS = 50  # per account
BY_OWNER = "by its owner"


class WebhookRegistry:
    """Reads and changes webhooks; the account is always checked."""

    def __init__(self, store: Webhooks, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def all(self, account: str) -> list[Webhook]:
        """Return all webhooks of the account, oldest first."""
        return await self._store.list(account)

    async def given_up(self, account: str) -> list[Webhook]:
        """Return the webhooks that Postroad has disabled: their owner should know."""
        found = await self._store.list(account)
        return [hook for hook in found if hook.disabled and hook.reason != BY_OWNER]

    async def find(self, account: str, webhook: str) -> Webhook:
        """Return the webhook of the account.

        Raises:
            ApiError: 404.
        """
        return _there(await self._store.get(account, webhook))

    async def create(
        self,
        account: str,
        *,
        url: str,
        events: Sequence[str],
        batch_size: int = 1,
        batch_seconds: float = 0.0,
    ) -> Webhook:
        """Create a webhook with a new secret.

        Raises:
            ApiError: 400, the URL or an event cannot be; 409, there are too many.
        """
        checked_url, checked_events = check_url(url), check_events(events)
        if len(await self._store.list(account)) >= MAX_HOOKS:
            raise ApiError(409, f"There are {MAX_HOOKS} webhooks already.")
        return await self._store.create(
            account=account,
            url=checked_url,
            events=checked_events,
            secret=new_secret(),
            batch_size=batch_size,
            batch_seconds=batch_seconds,
        )

    async def change(self, account: str, webhook: str, wishes: Mapping[str, Any]) -> Webhook:
        """Set the fields in `wishes`: url, events, disabled, batch_size, batch_seconds.

        Another URL has to be verified anew. The calls of one that is enabled again are due at once.

        Raises:
            ApiError: 400, as for `create`; 404.
        """
        old = await self.find(account, webhook)
        changes = dict(wishes)
        if "url" in changes:
            check_url(changes["url"])
            if changes["url"] != old.url:
                changes["verified"] = None
        if "events" in changes:
            changes["events"] = check_events(changes["events"])
        if "disabled" in changes:
            changes["reason"] = BY_OWNER if changes["disabled"] else None
        if not changes:
            return old
        found = _there(await self._store.update(account, webhook, changes))
        if old.disabled and not found.disabled:
            await self._outbox.turns.wake(webhook, 0.0)
        return found

    async def rotate(self, account: str, webhook: str) -> Webhook:
        """Put a new secret in front of the one that the webhook had; both sign.

        Raises:
            ApiError: 404.
        """
        old = await self.find(account, webhook)
        return await self._set_secrets(old, (new_secret(), *old.secrets[:1]))

    async def end_rotation(self, account: str, webhook: str) -> Webhook:
        """Leave the webhook its newest secret alone.

        Raises:
            ApiError: 404.
        """
        old = await self.find(account, webhook)
        return await self._set_secrets(old, old.secrets[:1])

    async def delete(self, account: str, webhook: str) -> None:
        """Delete the webhook; nothing is posted there any more.

        Raises:
            ApiError: 404.
        """
        if not await self._store.delete(account, webhook):
            raise not_found("webhook")

    async def _set_secrets(self, webhook: Webhook, values: tuple[str, ...]) -> Webhook:
        changes = {"secrets": values}
        return _there(await self._store.update(webhook.account, webhook.id, changes))


def _there(found: Webhook | None) -> Webhook:
    if found is None:
        raise not_found("webhook")
    return found
