"""SMTP logins."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from postroad_common.schemas.features import REST_DEFAULTS
from postroad_ingress_http import logins
from postroad_ingress_http.dashboard.sessions import Session
from postroad_ingress_http.dashboard.site import Dashboard, see_other, switches, text
from postroad_ingress_http.errors import not_found
from postroad_ingress_http.fields import Fields

_LIMIT = 1000
_NAME_LENGTH = 100


def routes(dashboard: Dashboard) -> Sequence[BaseRoute]:
    """The pages of this module."""
    store = dashboard.parts.database.credentials

    async def listing(request: Request, session: Session) -> Response:
        found = await store.list(session.account, limit=_LIMIT)
        return dashboard.answer(request, "logins.html", logins=found)

    async def form(request: Request, _: Session) -> Response:
        return dashboard.answer(
            request,
            "login_new.html",
            login=None,
            features=REST_DEFAULTS.model_dump(),
            forward_bounces=True,
        )

    async def create(request: Request, session: Session, fields: Fields) -> Response:
        login, password = await logins.create(
            store,
            session.account,
            text(fields, "name").strip()[:_NAME_LENGTH],
            switches(fields),
            forward_bounces=fields.get("forward_bounces") == "true",
        )
        return secret(request, "Login created", login.username, password)

    def secret(request: Request, heading: str, username: str, password: str) -> Response:
        return dashboard.answer(
            request,
            "secret.html",
            heading=heading,
            secrets=[("Username", username), ("Password", password)],
            back="/dashboard/logins",
        )

    async def one(request: Request, session: Session) -> Response:
        login = await store.get(session.account, request.path_params["username"])
        if login is None:
            raise not_found("login")
        return dashboard.answer(
            request,
            "login_edit.html",
            login=login,
            features=login.features.model_dump(),
            forward_bounces=login.forward_bounces,
        )

    async def change(request: Request, session: Session, fields: Fields) -> Response:
        username = request.path_params["username"]
        await logins.change(
            store,
            session.account,
            username,
            {
                "name": text(fields, "name").strip()[:_NAME_LENGTH],
                "features": switches(fields).model_dump(),
                "forward_bounces": fields.get("forward_bounces") == "true",
            },
        )
        return see_other("/dashboard/logins")

    async def rotate(request: Request, session: Session, _: Fields) -> Response:
        username = request.path_params["username"]
        login, password = await logins.rotate(store, session.account, username)
        return secret(request, "New password", login.username, password)

    async def disable(request: Request, session: Session, _: Fields) -> Response:
        username = request.path_params["username"]
        await logins.change(store, session.account, username, {"disabled": True})
        return see_other(f"/dashboard/logins/{username}")

    async def enable(request: Request, session: Session, _: Fields) -> Response:
        username = request.path_params["username"]
        await logins.change(store, session.account, username, {"disabled": False})
        return see_other(f"/dashboard/logins/{username}")

    async def delete(request: Request, session: Session, _: Fields) -> Response:
        if not await store.delete(session.account, request.path_params["username"]):
            raise not_found("login")
        return see_other("/dashboard/logins")

    return [
        dashboard.page("/logins", listing),
        dashboard.page("/logins/new", form),
        dashboard.page("/logins/{username}", one),
        dashboard.action("/logins", create),
        dashboard.action("/logins/{username}", change),
        dashboard.action("/logins/{username}/rotate", rotate),
        dashboard.action("/logins/{username}/disable", disable),
        dashboard.action("/logins/{username}/enable", enable),
        dashboard.action("/logins/{username}/delete", delete),
    ]
