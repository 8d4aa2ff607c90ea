"""Sender domains."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from postroad_ingress_http import senderdomains
from postroad_ingress_http.api import domains as shapes
from postroad_ingress_http.dashboard.sessions import Session
from postroad_ingress_http.dashboard.site import Dashboard, see_other, text
from postroad_ingress_http.errors import not_found
from postroad_ingress_http.fields import Fields


def routes(dashboard: Dashboard) -> Sequence[BaseRoute]:
    """The pages of this module."""
    parts = dashboard.parts

    async def listing(request: Request, session: Session) -> Response:
        found = await parts.database.domains.list(session.account)
        return dashboard.answer(request, "domains.html", rows=found)

    async def add(_: Request, session: Session, fields: Fields) -> Response:
        made = await senderdomains.add(parts, session.account, text(fields, "name"))
        return see_other(f"/dashboard/domains/{made.domain}")

    async def one(request: Request, session: Session) -> Response:
        found = await senderdomains.find(parts, session.account, request.path_params["name"])
        return show(request, shapes.view(parts, found))

    def show(request: Request, view: shapes.DomainView) -> Response:
        return dashboard.answer(request, "domain.html", domain=view)

    async def verify(request: Request, session: Session, _: Fields) -> Response:
        name = request.path_params["name"]
        changed, checked = await senderdomains.verify(parts, session.account, name)
        view = shapes.view(parts, changed)
        for record, result in zip(view.records, checked, strict=True):
            record.status = result.status
            record.found = list(result.found)
        return show(request, view)

    async def keys(request: Request, session: Session, _: Fields) -> Response:
        name = request.path_params["name"]
        changed = await senderdomains.replace_keys(parts, session.account, name)
        return see_other(f"/dashboard/domains/{changed.domain}")

    async def delete(request: Request, session: Session, _: Fields) -> Response:
        name = request.path_params["name"].lower()
        if not await parts.database.domains.delete(session.account, name):
            raise not_found("domain")
        return see_other("/dashboard/domains")

    return [
        dashboard.page("/domains", listing),
        dashboard.action("/domains", add),
        dashboard.page("/domains/{name}", one),
        dashboard.action("/domains/{name}/verify", verify),
        dashboard.action("/domains/{name}/keys", keys),
        dashboard.action("/domains/{name}/delete", delete),
    ]
