"""Queues, and the dead letters: why they are there, and what becomes of them."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from postroad_common.broker.deadletters import MOST
from postroad_ingress_http.api.queues import dead_only, find_queue, put_back, throw_away
from postroad_ingress_http.dashboard.sessions import Session
from postroad_ingress_http.dashboard.site import Dashboard, see_other
from postroad_ingress_http.fields import Fields

_SHOWN = 50


def routes(dashboard: Dashboard) -> Sequence[BaseRoute]:
    """The pages of this module."""
    parts = dashboard.parts

    async def queues(request: Request, _: Session) -> Response:
        return dashboard.answer(request, "queues.html", rows=await parts.depths.all())

    async def dead(request: Request, _: Session) -> Response:
        name = request.path_params["name"]
        queue = await find_queue(parts, name)
        with dead_only(name):
            letters = await parts.dead_letters.look(name, _SHOWN)
        return dashboard.answer(
            request, "deadletters.html", queue=queue, letters=letters, most=MOST
        )

    async def replay(request: Request, session: Session, _: Fields) -> Response:
        name = request.path_params["name"]
        await put_back(parts, name, MOST, session.email)
        return see_other(f"/dashboard/queues/{name}")

    async def purge(request: Request, session: Session, _: Fields) -> Response:
        name = request.path_params["name"]
        await throw_away(parts, name, session.email)
        return see_other(f"/dashboard/queues/{name}")

    return [
        dashboard.page("/queues", queues),
        dashboard.page("/queues/{name}", dead),
        dashboard.action("/queues/{name}/replay", replay),
        dashboard.action("/queues/{name}/purge", purge),
    ]
