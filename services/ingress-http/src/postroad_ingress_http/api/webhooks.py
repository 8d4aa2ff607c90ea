"""`/v1/webhooks`: where events are posted. Their deliveries and replays are in `hookcalls`."""

from enum import Enum
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from postroad_common.store.tokens import Token
from postroad_common.store.webhooks import Webhook
from postroad_ingress_http import hooks
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.pages import Page
from postroad_ingress_http.errors import not_found
from postroad_ingress_http.hooks import HOOK_EVENTS, MOST_BATCH_SECONDS, MOST_BATCHED
from postroad_ingress_http.parts import Parts

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
    """The webhook without its secrets."""
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


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "webhooks:read")
    writing = needs(parts.authenticator, "webhooks")
    store = parts.database.webhooks
    tags: list[str | Enum] = ["webhooks"]

    @app.post("/v1/webhooks", status_code=201, tags=tags, summary="Create a webhook")
    async def create(
        token: Annotated[Token, writing], fields: Annotated[WebhookFields, body(WebhookFields)]
    ) -> WebhookWithSecret:
        """Events are signed as Standard Webhooks describes; the secret is in this answer only."""
        made = await hooks.create(
            parts.database,
            token.account,
            url=fields.url,
            events=fields.events,
            batch_size=fields.batch.size if fields.batch else 1,
            batch_seconds=fields.batch.seconds if fields.batch else 0.0,
        )
        return WebhookWithSecret(**view(made).model_dump(), secret=made.secrets[0])

    @app.get("/v1/webhooks", tags=tags, summary="List webhooks")
    async def listing(token: Annotated[Token, reading]) -> Page[WebhookView]:
        """Oldest first, without their secrets."""
        found = await store.list(token.account)
        return Page(items=[view(item) for item in found])

    @app.get("/v1/webhooks/{webhook_id}", tags=tags, summary="One webhook")
    async def one(webhook_id: str, token: Annotated[Token, reading]) -> WebhookView:
        """Without its secret."""
        return view(await hooks.find(parts.database, token.account, webhook_id))


def register_changes(app: FastAPI, parts: Parts) -> None:
    """Adds the end points that change a webhook."""
    writing = needs(parts.authenticator, "webhooks")
    database = parts.database
    tags: list[str | Enum] = ["webhooks"]

    @app.patch("/v1/webhooks/{webhook_id}", tags=tags, summary="Change a webhook")
    async def change(
        webhook_id: str,
        token: Annotated[Token, writing],
        fields: Annotated[WebhookChanges, body(WebhookChanges)],
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
        return view(await hooks.change(database, token.account, webhook_id, changes))

    @app.post("/v1/webhooks/{webhook_id}/rotate", tags=tags, summary="Make a new secret")
    async def rotate(webhook_id: str, token: Annotated[Token, writing]) -> WebhookWithSecret:
        """Both secrets sign until the rotation is ended, so that receivers can change over."""
        found = await hooks.rotate(database, token.account, webhook_id)
        return WebhookWithSecret(**view(found).model_dump(), secret=found.secrets[0])

    @app.delete(
        "/v1/webhooks/{webhook_id}/rotation", tags=tags, summary="End the rotation of the secret"
    )
    async def end_rotation(webhook_id: str, token: Annotated[Token, writing]) -> WebhookView:
        """From now on only the newest secret signs."""
        return view(await hooks.end_rotation(database, token.account, webhook_id))

    @app.delete("/v1/webhooks/{webhook_id}", status_code=204, tags=tags, summary="Delete a webhook")
    async def delete(webhook_id: str, token: Annotated[Token, writing]) -> Response:
        """Nothing is posted there any more."""
        if not await database.webhooks.delete(token.account, webhook_id):
            raise not_found("webhook")
        return Response(status_code=204)
