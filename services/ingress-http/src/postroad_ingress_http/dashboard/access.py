"""REST tokens."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from postroad_common.secrets import hash_token, new_token
from postroad_ingress_http.api.tokens import check_scopes
from postroad_ingress_http.dashboard.sessions import Session
from postroad_ingress_http.dashboard.site import Dashboard, see_other, text, texts_of
from postroad_ingress_http.errors import not_found
from postroad_ingress_http.fields import Fields
from postroad_ingress_http.scopes import EVERYTHING, NOUNS

_NAME_LENGTH = 100


def routes(dashboard: Dashboard) -> Sequence[BaseRoute]:
    """The pages of this module."""
    parts = dashboard.parts
    tokens = parts.database.tokens

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

    return [
        dashboard.page("/tokens", token_list),
        dashboard.action("/tokens", token_create),
        dashboard.action("/tokens/{id}/delete", token_delete),
    ]
