"""`/v1/webhooks`: where events are posted."""

from enum import Enum
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.pages import Page
from postroad_ingress_http.errors import ApiError, not_found
from postroad_ingress_http.hooks import (
    HOOK_EVENTS,
    MAX_HOOKS,
    check_events,
    check_url,
    new_secret,
)
from postroad_ingress_http.parts import Parts

_EVENTS_TEXT = f"Some of {', '.join(HOOK_EVENTS)}; empty: all."


class WebhookFields(BaseModel):
    """A webhook to create."""

    model_config = ConfigDict(extra="forbid")

    url: str
    events: list[str] = Field(default=[], max_length=50, description=_EVENTS_TEXT)


class WebhookChanges(BaseModel):
    """What can be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = None
    events: list[str] | None = Field(None, max_length=50, description=_EVENTS_TEXT)
    disabled: bool | None = None


class WebhookView(BaseModel):
    """A webhook; `reason` says why it was disabled."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    url: str
    events: list[str]
    disabled: bool
    reason: str | None
    created: float


class WebhookWithSecret(WebhookView):
    """A webhook with its signing secret, in this answer only."""

    secret: str


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
        url, events = check_url(fields.url), check_events(fields.events)
        if len(await store.list(token.account)) >= MAX_HOOKS:
            raise ApiError(409, f"There are {MAX_HOOKS} webhooks already.")
        secret = new_secret()
        made = await store.create(account=token.account, url=url, events=events, secret=secret)
        return WebhookWithSecret(**WebhookView.model_validate(made).model_dump(), secret=secret)

    @app.get("/v1/webhooks", tags=tags, summary="List webhooks")
    async def listing(token: Annotated[Token, reading]) -> Page[WebhookView]:
        """Oldest first, without their secrets."""
        found = await store.list(token.account)
        return Page(items=[WebhookView.model_validate(item) for item in found])

    @app.get("/v1/webhooks/{webhook_id}", tags=tags, summary="One webhook")
    async def one(webhook_id: str, token: Annotated[Token, reading]) -> WebhookView:
        """Without its secret."""
        found = await store.get(token.account, webhook_id)
        if found is None:
            raise not_found("webhook")
        return WebhookView.model_validate(found)


def register_changes(app: FastAPI, parts: Parts) -> None:
    """Adds the end points that change a webhook."""
    writing = needs(parts.authenticator, "webhooks")
    store = parts.database.webhooks
    tags: list[str | Enum] = ["webhooks"]

    @app.patch("/v1/webhooks/{webhook_id}", tags=tags, summary="Change a webhook")
    async def change(
        webhook_id: str,
        token: Annotated[Token, writing],
        fields: Annotated[WebhookChanges, body(WebhookChanges)],
    ) -> WebhookView:
        """`disabled: false` starts a webhook again that was disabled."""
        changes: dict[str, Any] = {}
        if fields.url is not None:
            changes["url"] = check_url(fields.url)
        if fields.events is not None:
            changes["events"] = check_events(fields.events)
        if fields.disabled is not None:
            changes["disabled"] = fields.disabled
            changes["reason"] = "by its owner" if fields.disabled else None
        found = (
            await store.update(token.account, webhook_id, changes)
            if changes
            else await store.get(token.account, webhook_id)
        )
        if found is None:
            raise not_found("webhook")
        return WebhookView.model_validate(found)

    @app.post("/v1/webhooks/{webhook_id}/rotate", tags=tags, summary="Make a new secret")
    async def rotate(webhook_id: str, token: Annotated[Token, writing]) -> WebhookWithSecret:
        """Both secrets sign until the next rotation, so that receivers can change over."""
        old = await store.get(token.account, webhook_id)
        if old is None:
            raise not_found("webhook")
        secret = new_secret()
        changes = {"secrets": (secret, *old.secrets[:1])}
        found = await store.update(token.account, webhook_id, changes)
        if found is None:
            raise not_found("webhook")
        return WebhookWithSecret(**WebhookView.model_validate(found).model_dump(), secret=secret)

    @app.delete("/v1/webhooks/{webhook_id}", status_code=204, tags=tags, summary="Delete a webhook")
    async def delete(webhook_id: str, token: Annotated[Token, writing]) -> Response:
        """Nothing is posted there any more."""
        if not await store.delete(token.account, webhook_id):
            raise not_found("webhook")
        return Response(status_code=204)
