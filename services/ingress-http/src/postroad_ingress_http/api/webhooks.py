"""`/v1/webhooks`: where events are posted. Their deliveries and replays are in `hookcalls`."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.store.tokens import Token
from postroad_common.store.webhooks import Webhook
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import HooksOf
from postroad_ingress_http.hooks.checks import HOOK_EVENTS, MOST_BATCH_SECONDS, MOST_BATCHED
from postroad_ingress_http.http.paging import Page

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses=REFUSALS)
Reader = Annotated[Token, needs("webhooks:read")]
Writer = Annotated[Token, needs("webhooks")]
_EVENTS_TEXT = f"Some of {', '.join(HOOK_EVENTS)}; empty: all."


class Batching(BaseModel):
    """How many events travel in one call at most, and how long one may wait for others."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(ge=1, le=MOST_BATCHED, description="1: each event has a call of its own.")
    seconds: float = Field(5.0, ge=0, le=MOST_BATCH_SECONDS)


class WebhookFields(BaseModel):
    """A webhook to create."""

    model_config = ConfigDict(extra="forbid")

    url: str
    events: list[str] = Field(default=[], max_length=50, description=_EVENTS_TEXT)
    batch: Batching | None = Field(None, description="Left out: each event has its own call.")


class WebhookChanges(BaseModel):
    """What can be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = None
    events: list[str] | None = Field(None, max_length=50, description=_EVENTS_TEXT)
    batch: Batching | None = None
    disabled: bool | None = None


class WebhookView(BaseModel):
    """A webhook.

    `reason` says why it was disabled, `verified` when it proved (Unix seconds) that it wants the
    calls, `rotating` whether two secrets sign.
    """

    model_config = ConfigDict(from_attributes=True)

    id: str
    url: str
    events: list[str]
    batch: Batching
    disabled: bool
    reason: str | None
    verified: float | None
    rotating: bool
    created: float


class WebhookWithSecret(WebhookView):
    """A webhook with its signing secret, in this answer only."""

    secret: str


def view(webhook: Webhook) -> WebhookView:
    """Return the webhook without its secrets."""
    return WebhookView(
        id=webhook.id,
        url=webhook.url,
        events=list(webhook.events),
        batch=Batching(size=webhook.batch_size, seconds=webhook.batch_seconds),
        disabled=webhook.disabled,
        reason=webhook.reason,
        verified=webhook.verified,
        rotating=len(webhook.secrets) > 1,
        created=webhook.created,
    )


@router.post("", status_code=201, summary="Create a webhook")
async def create(
    token: Writer, fields: Annotated[WebhookFields, body(WebhookFields)], hooks: HooksOf
) -> WebhookWithSecret:
    """Events are signed as Standard Webhooks describes; the secret is in this answer only."""
    made = await hooks.create(
        token.account,
        url=fields.url,
        events=fields.events,
        batch_size=fields.batch.size if fields.batch else 1,
        batch_seconds=fields.batch.seconds if fields.batch else 0.0,
    )
    return WebhookWithSecret(**view(made).model_dump(), secret=made.secrets[0])


@router.get("", summary="List webhooks")
async def listing(token: Reader, hooks: HooksOf) -> Page[WebhookView]:
    """Oldest first, without their secrets."""
    return Page(items=[view(item) for item in await hooks.all(token.account)])


@router.get("/{webhook_id}", summary="One webhook")
async def one(webhook_id: str, token: Reader, hooks: HooksOf) -> WebhookView:
    """Without its secret."""
    return view(await hooks.find(token.account, webhook_id))


@router.patch("/{webhook_id}", summary="Change a webhook")
async def change(
    webhook_id: str,
    token: Writer,
    fields: Annotated[WebhookChanges, body(WebhookChanges)],
    hooks: HooksOf,
) -> WebhookView:
    """`disabled: false` starts a webhook again that was disabled; see also `replay`."""
    changes: dict[str, Any] = {}
    if fields.url is not None:
        changes["url"] = fields.url
    if fields.events is not None:
        changes["events"] = fields.events
    if fields.batch is not None:
        changes |= {"batch_size": fields.batch.size, "batch_seconds": fields.batch.seconds}
    if fields.disabled is not None:
        changes["disabled"] = fields.disabled
    return view(await hooks.change(token.account, webhook_id, changes))


@router.post("/{webhook_id}/rotate", summary="Make a new secret")
async def rotate(webhook_id: str, token: Writer, hooks: HooksOf) -> WebhookWithSecret:
    """Both secrets sign until the rotation is ended, so that receivers can change over."""
    found = await hooks.rotate(token.account, webhook_id)
    return WebhookWithSecret(**view(found).model_dump(), secret=found.secrets[0])


@router.delete("/{webhook_id}/rotation", summary="End the rotation of the secret")
async def end_rotation(webhook_id: str, token: Writer, hooks: HooksOf) -> WebhookView:
    """From now on only the newest secret signs."""
    return view(await hooks.end_rotation(token.account, webhook_id))


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook")
async def delete(webhook_id: str, token: Writer, hooks: HooksOf) -> None:
    """Nothing is posted there any more."""
    await hooks.delete(token.account, webhook_id)
