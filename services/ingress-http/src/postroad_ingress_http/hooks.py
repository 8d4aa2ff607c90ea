"""Webhooks as the API and the dashboard handle them: checked, created, changed, called."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.schemas.events import TIMELINE_ONLY, EventName
from postroad_common.store.database import Database
from postroad_common.store.replays import Replay
from postroad_common.store.webhooks import Webhook
from postroad_ingress_http.errors import ApiError, bad_field, not_found

HOOK_EVENTS = tuple(str(name) for name in EventName if name not in TIMELINE_ONLY)
MAX_HOOKS = 50  # per account
MOST_BATCHED = 1000
MOST_BATCH_SECONDS = 300.0
_MAX_URL = 2000
_MAX_REPLAYS = 10  # unfinished, per webhook


def check_url(url: str) -> str:
    """`url` itself, if it is one that events may be posted to.

    Whether its host is a private address is decided when it is called, by what its name resolves
    to then.

    Raises:
        ApiError: 400.
    """
    printable = url.isascii() and url.isprintable() and not set(url) & set(' <>"\\')
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise bad_field("url", "This is not a URL.") from None
    if not printable or len(url) > _MAX_URL or parts.scheme not in {"http", "https"} or not host:
        raise bad_field("url", "Give an http or https URL.")
    if parts.username is not None or parts.password is not None:
        raise bad_field("url", "A URL with a password in it is not taken; check the signature.")
    if parts.fragment or port == 0:
        raise bad_field("url", "This URL cannot be called.")
    if ":" not in host and not host.replace(".", "").isdigit():
        try:
            normalise_domain(host)
        except AddressError as error:
            raise bad_field("url", f"Its host is not valid: {error}.") from None
    return url


def check_events(names: Sequence[str]) -> tuple[str, ...]:
    """The event names without repetitions; none means all.

    Raises:
        ApiError: 400.
    """
    for name in names:
        if name not in HOOK_EVENTS:
            raise bad_field("events", f"There is no event {name[:50]!r}.")
    return tuple(dict.fromkeys(names))


def new_secret() -> str:
    """A signing secret in the form of Standard Webhooks: `whsec_` and 32 octets in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


async def find(database: Database, account: str, webhook: str) -> Webhook:
    """The webhook of the account.

    Raises:
        ApiError: 404.
    """
    found = await database.webhooks.get(account, webhook)
    if found is None:
        raise not_found("webhook")
    return found


async def create(
    database: Database,
    account: str,
    *,
    url: str,
    events: Sequence[str],
    batch_size: int = 1,
    batch_seconds: float = 0.0,
) -> Webhook:
    """A new webhook with a new secret.

    Raises:
        ApiError: 400, the URL or an event cannot be; 409, there are too many.
    """
    checked_url, checked_events = check_url(url), check_events(events)
    if len(await database.webhooks.list(account)) >= MAX_HOOKS:
        raise ApiError(409, f"There are {MAX_HOOKS} webhooks already.")
    return await database.webhooks.create(
        account=account,
        url=checked_url,
        events=checked_events,
        secret=new_secret(),
        batch_size=batch_size,
        batch_seconds=batch_seconds,
    )


async def change(
    database: Database, account: str, webhook: str, wishes: Mapping[str, Any]
) -> Webhook:
    """The webhook with `wishes` (url, events, disabled, batch_size, batch_seconds) fulfilled.

    Another URL has to be verified anew. One that is started again rests no longer.

    Raises:
        ApiError: 400, as for `create`; 404.
    """
    old = await find(database, account, webhook)
    changes = dict(wishes)
    if "url" in changes:
        check_url(changes["url"])
        if changes["url"] != old.url:
            changes["verified"] = None
    if "events" in changes:
        changes["events"] = check_events(changes["events"])
    if "disabled" in changes:
        changes["reason"] = "by its owner" if changes["disabled"] else None
    if not changes:
        return old
    found = await database.webhooks.update(account, webhook, changes)
    if found is None:
        raise not_found("webhook")
    if old.disabled and not found.disabled:
        await database.outbox.wake(webhook, 0.0)
    return found


async def rotate(database: Database, account: str, webhook: str) -> Webhook:
    """The webhook with a new secret in front of the one that it had.

    Raises:
        ApiError: 404.
    """
    old = await find(database, account, webhook)
    return await _update_secrets(database, old, (new_secret(), *old.secrets[:1]))


async def end_rotation(database: Database, account: str, webhook: str) -> Webhook:
    """The webhook with its newest secret alone.

    Raises:
        ApiError: 404.
    """
    old = await find(database, account, webhook)
    return await _update_secrets(database, old, old.secrets[:1])


async def _update_secrets(database: Database, webhook: Webhook, values: tuple[str, ...]) -> Webhook:
    found = await database.webhooks.update(webhook.account, webhook.id, {"secrets": values})
    if found is None:
        raise not_found("webhook")
    return found


async def replay(
    database: Database, account: str, webhook: str, start: float, end: float
) -> Replay:
    """An order to post the events from `start` until before `end` (Unix seconds) once more.

    Raises:
        ApiError: 400, the range is empty; 404; 409, the webhook is disabled, or has too many.
    """
    found = await _callable(database, account, webhook)
    if end <= start:
        raise bad_field("end", "The range is empty.")
    if await database.replays.count_open(account, webhook) >= _MAX_REPLAYS:
        raise ApiError(409, f"{_MAX_REPLAYS} replays of this webhook are not finished yet.")
    return await database.replays.order(found, start, end)


async def test(database: Database, account: str, webhook: str) -> str:
    """Has the webhook called with an event of the type `test`; returns the delivery's id.

    Raises:
        ApiError: 404; 409, it is disabled.
    """
    found = await _callable(database, account, webhook)
    await database.outbox.wake(found.id, 0.0)
    return await database.outbox.add_call(found, "test", {"message": "This is a test."})


async def verify(database: Database, account: str, webhook: str) -> str:
    """Has the webhook asked to prove that it wants the calls; returns the delivery's id.

    Raises:
        ApiError: 404; 409, it is disabled.
    """
    found = await _callable(database, account, webhook)
    await database.outbox.wake(found.id, 0.0)
    challenge = secrets.token_urlsafe(24)
    return await database.outbox.add_call(found, "verification", {"challenge": challenge})


async def _callable(database: Database, account: str, webhook: str) -> Webhook:
    found = await find(database, account, webhook)
    if found.disabled:
        raise ApiError(409, "The webhook is disabled: start it again first.")
    return found
