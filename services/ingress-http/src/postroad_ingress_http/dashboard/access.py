"""REST tokens and webhooks."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from postroad_common.secrets import hash_token, new_token
from postroad_ingress_http.api.tokens import check_scopes
from postroad_ingress_http.dashboard.sessions import Session
from postroad_ingress_http.dashboard.site import Dashboard, see_other, text, texts_of
from postroad_ingress_http.errors import ApiError, not_found
from postroad_ingress_http.fields import Fields
from postroad_ingress_http.hooks import (
    HOOK_EVENTS,
    MAX_HOOKS,
    check_events,
    check_url,
    new_secret,
)
from postroad_ingress_http.scopes import EVERYTHING, NOUNS

_NAME_LENGTH = 100


def routes(dashboard: Dashboard) -> Sequence[BaseRoute]:
    """The pages of this module."""
    parts = dashboard.parts
    tokens, webhooks = parts.database.tokens, parts.database.webhooks

    async def token_list(request: Request, session: Session) -> Response:
        found = await tokens.list(session.account)
        return dashboard.answer(request, "tokens.html", rows=found, scopes=[*NOUNS, EVERYTHING])

    async def token_create(request: Request, session: Session, fields: Fields) -> Response:
        secret = new_token()
        await tokens.create(
            account=session.account,
            name=text(fields, "name").strip()[:_NAME_LENGTH],
            scopes=check_scopes(texts_of(fields, "scopes")),
            secret_hash=hash_token(secret),
        )
        return dashboard.answer(
            request,
            "secret.html",
            heading="Token created",
            secrets=[("Token", secret)],
            back="/dashboard/tokens",
        )

    async def token_delete(request: Request, session: Session, _: Fields) -> Response:
        token_id = request.path_params["id"]
        if not await tokens.delete(session.account, token_id):
            raise not_found("token")
        parts.authenticator.forget(token_id)
        return see_other("/dashboard/tokens")

    async def hook_list(request: Request, session: Session) -> Response:
        found = await webhooks.list(session.account)
        return dashboard.answer(request, "webhooks.html", rows=found, event_names=HOOK_EVENTS)

    async def hook_create(request: Request, session: Session, fields: Fields) -> Response:
        url = check_url(text(fields, "url").strip())
        events = check_events(texts_of(fields, "events"))
        if len(await webhooks.list(session.account)) >= MAX_HOOKS:
            raise ApiError(409, f"There are {MAX_HOOKS} webhooks already.")
        secret = new_secret()
        await webhooks.create(account=session.account, url=url, events=events, secret=secret)
        return dashboard.answer(
            request,
            "secret.html",
            heading="Webhook created",
            secrets=[("Signing secret", secret)],
            back="/dashboard/webhooks",
        )

    async def hook_switch(request: Request, session: Session, _: Fields) -> Response:
        found = await webhooks.get(session.account, request.path_params["id"])
        if found is None:
            raise not_found("webhook")
        disabled = not found.disabled
        await webhooks.update(
            session.account,
            found.id,
            {"disabled": disabled, "reason": "by its owner" if disabled else None},
        )
        return see_other("/dashboard/webhooks")

    async def hook_delete(request: Request, session: Session, _: Fields) -> Response:
        if not await webhooks.delete(session.account, request.path_params["id"]):
            raise not_found("webhook")
        return see_other("/dashboard/webhooks")

    return [
        dashboard.page("/tokens", token_list),
        dashboard.action("/tokens", token_create),
        dashboard.action("/tokens/{id}/delete", token_delete),
        dashboard.page("/webhooks", hook_list),
        dashboard.action("/webhooks", hook_create),
        dashboard.action("/webhooks/{id}/switch", hook_switch),
        dashboard.action("/webhooks/{id}/delete", hook_delete),
    ]
