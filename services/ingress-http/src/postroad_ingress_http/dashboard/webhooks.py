"""Webhooks: the list, and a page for each with its delivery log and what can be done with it."""

import json

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.store.deliveries import DeliveryState
from postroad_ingress_http.dashboard import times
from postroad_ingress_http.dashboard.forms import number, see_other, text, texts_of
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import CallsOf, ClockOf, HooksOf
from postroad_ingress_http.hooks.checks import (
    HOOK_EVENTS,
    MOST_BATCH_SECONDS,
    MOST_BATCHED,
    private_host,
)
from postroad_ingress_http.http.errors import bad_field

router = APIRouter(prefix="/dashboard/webhooks", include_in_schema=False)
_PAGE = 40
_SHOWN = 100_000  # characters of a body


@router.get("")
async def listing(session: SignedIn, pages: PagesOf, hooks: HooksOf) -> Response:
    """List the webhooks of the account."""
    found = await hooks.all(session.account)
    return pages.answer("webhooks.html", rows=found, event_names=HOOK_EVENTS)


@router.post("")
async def create(session: SignedIn, fields: Form, pages: PagesOf, hooks: HooksOf) -> Response:
    """Create a webhook and show its secret."""
    made = await hooks.create(
        session.account, url=text(fields, "url").strip(), events=texts_of(fields, "events")
    )
    return pages.secret("Webhook created", _page_of(made.id), signing_secret=made.secrets[0])


@router.get("/{webhook_id}")
async def one(  # noqa: PLR0917 - FastAPI passes them by name
    webhook_id: str,
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    hooks: HooksOf,
    calls: CallsOf,
) -> Response:
    """Show a webhook with its delivery log."""
    webhook = await hooks.find(session.account, webhook_id)
    state = request.query_params.get("state", "")
    cursor = request.query_params.get("cursor")
    found, following = await calls.log(
        session.account,
        webhook.id,
        state=state if state in list(DeliveryState) else None,
        cursor=cursor,
        limit=_PAGE,
    )
    failing = (await calls.failing([webhook.id])).get(webhook.id)
    answered = any(entry.status for row in found for entry in row.log)
    return pages.answer(
        "webhook.html",
        webhook=webhook,
        private="" if answered else private_host(webhook.url),
        rows=found,
        event_names=HOOK_EVENTS,
        failing=failing,
        last=await calls.last_try(webhook.id) if failing else None,
        live=not cursor,
        state=state,
        states=[str(value) for value in DeliveryState],
        replays=await calls.replays(session.account, webhook.id, limit=5),
        most_batched=MOST_BATCHED,
        most_seconds=int(MOST_BATCH_SECONDS),
        cursor=following,
    )


@router.post("/{webhook_id}")
async def change(webhook_id: str, session: SignedIn, fields: Form, hooks: HooksOf) -> Response:
    """Set URL and events."""
    old = await hooks.find(session.account, webhook_id)
    wishes = {"url": text(fields, "url").strip(), "events": texts_of(fields, "events")}
    found = await hooks.change(session.account, webhook_id, wishes)
    proof = " Its ownership has to be proved anew." if old.verified and not found.verified else ""
    return see_other(_page_of(webhook_id), f"The webhook is changed.{proof}")


@router.post("/{webhook_id}/switch")
async def switch(webhook_id: str, session: SignedIn, fields: Form, hooks: HooksOf) -> Response:
    """Disable the webhook or start it again, as the button said that was pressed.

    It may have been disabled since the page was made, so what to do is not read from the store.
    """
    wish = text(fields, "wish")
    if wish not in {"start", "disable"}:
        raise bad_field("wish", "This is start or disable.")
    disabled = wish == "disable"
    await hooks.change(session.account, webhook_id, {"disabled": disabled})
    done = "is disabled: nothing is posted to it" if disabled else "is started again"
    return see_other(_page_of(webhook_id), f"The webhook {done}.")


@router.post("/{webhook_id}/batching")
async def batching(webhook_id: str, session: SignedIn, fields: Form, hooks: HooksOf) -> Response:
    """Set how many events travel in one call, and how long one waits for others."""
    wishes = {
        "batch_size": int(number(fields, "size", 1, MOST_BATCHED)),
        "batch_seconds": number(fields, "seconds", 0, MOST_BATCH_SECONDS),
    }
    await hooks.change(session.account, webhook_id, wishes)
    return see_other(_page_of(webhook_id), "Batching is changed.")


@router.post("/{webhook_id}/rotate")
async def rotate(
    webhook_id: str, session: SignedIn, _: Form, pages: PagesOf, hooks: HooksOf
) -> Response:
    """Make a new secret and show it."""
    found = await hooks.rotate(session.account, webhook_id)
    return pages.secret("New secret", _page_of(webhook_id), signing_secret=found.secrets[0])


@router.post("/{webhook_id}/end-rotation")
async def end_rotation(webhook_id: str, session: SignedIn, _: Form, hooks: HooksOf) -> Response:
    """Leave the webhook its newest secret alone."""
    await hooks.end_rotation(session.account, webhook_id)
    return see_other(_page_of(webhook_id), "The older secret signs no more.")


@router.post("/{webhook_id}/call")
async def call(webhook_id: str, session: SignedIn, fields: Form, calls: CallsOf) -> Response:
    """Post a test event, or ask for the proof of ownership."""
    kind = text(fields, "kind") or "test"
    if kind == "verification":
        made = await calls.verify(session.account, webhook_id)
    else:
        made = await calls.test(session.account, webhook_id, kind)
    return see_other(_delivery(webhook_id, made), f"A call with “{kind}” is on its way.")


@router.get("/{webhook_id}/deliveries/{delivery_id}")
async def delivery(  # noqa: PLR0917 - FastAPI passes them by name
    webhook_id: str,
    delivery_id: str,
    session: SignedIn,
    pages: PagesOf,
    hooks: HooksOf,
    calls: CallsOf,
) -> Response:
    """Show a delivery: what is posted, each try, and what was answered."""
    webhook = await hooks.find(session.account, webhook_id)
    found = await calls.find(session.account, webhook.id, delivery_id)
    return pages.answer(
        "delivery.html",
        webhook=webhook,
        delivery=found,
        body=json.dumps(json.loads(found.body), indent=2, ensure_ascii=False)[:_SHOWN],
        pending=found.state is DeliveryState.PENDING and not webhook.disabled,
    )


@router.post("/{webhook_id}/deliveries/{delivery_id}/again")
async def again(
    webhook_id: str, delivery_id: str, session: SignedIn, _: Form, calls: CallsOf
) -> Response:
    """Post a delivery once more."""
    await calls.again(session.account, webhook_id, delivery_id)
    return see_other(_delivery(webhook_id, delivery_id), "It is posted again.")


@router.post("/{webhook_id}/replay")
async def replay(  # noqa: PLR0917 - FastAPI passes them by name
    webhook_id: str,
    request: Request,
    session: SignedIn,
    fields: Form,
    calls: CallsOf,
    clock: ClockOf,
) -> Response:
    """Order the events of a range of time to be posted again."""
    zone = times.zone_of(request.cookies)
    start = times.read_local("start", text(fields, "start"), zone)
    if start is None:
        raise bad_field("start", "This field is required.", code="missing")
    end = times.read_local("end", text(fields, "end"), zone) or clock()
    await calls.replay(session.account, webhook_id, start, end)
    return see_other(_page_of(webhook_id), "The events of that time are posted again.")


@router.post("/{webhook_id}/wake")
async def wake(webhook_id: str, session: SignedIn, _: Form, calls: CallsOf) -> Response:
    """Call an end point that fails without waiting for the time of the next call."""
    await calls.wake(session.account, webhook_id)
    return see_other(_page_of(webhook_id), "It is called within seconds, with what waits for it.")


@router.post("/{webhook_id}/delete")
async def delete(webhook_id: str, session: SignedIn, _: Form, hooks: HooksOf) -> Response:
    """Delete a webhook."""
    await hooks.delete(session.account, webhook_id)
    return see_other("/dashboard/webhooks", "The webhook is deleted.")


def _page_of(webhook_id: str) -> str:
    return f"/dashboard/webhooks/{webhook_id}"


def _delivery(webhook_id: str, delivery_id: str) -> str:
    return f"{_page_of(webhook_id)}/deliveries/{delivery_id}"
