"""The ASGI application: the API, the dashboard, and the pages beside them, in one guard."""

import ipaddress
from collections.abc import Sequence
from functools import cache

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from postroad_common.health import Health
from postroad_common.publicaddress import IPNetwork
from postroad_ingress_http import api, dashboard
from postroad_ingress_http.api import openapi
from postroad_ingress_http.dashboard.frame import StaticPages
from postroad_ingress_http.dashboard.visitor import Dashboard, LogInFirst, to_log_in
from postroad_ingress_http.dependencies import AuthenticatorOf, Dependencies
from postroad_ingress_http.http.compression import Deflating
from postroad_ingress_http.http.errors import ApiError, from_exception
from postroad_ingress_http.http.exactpaths import ExactPaths
from postroad_ingress_http.http.guard import RequestGuard, RequestLimits


def build(
    dependencies: Dependencies,
    pages: Dashboard,
    limits: RequestLimits,
    metrics_networks: Sequence[IPNetwork] = (),
) -> ASGIApp:
    """Return the whole application; from `metrics_networks` metrics are read without a token."""
    operations = [
        route for router in api.ROUTERS for route in router.routes if isinstance(route, APIRoute)
    ]
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.dependencies = dependencies
    app.state.dashboard = pages
    app.state.metrics_networks = metrics_networks
    app.state.document = cache(lambda: openapi.build(operations))
    for kind in (HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _raise)
    app.add_exception_handler(LogInFirst, to_log_in)
    app.router.routes.extend(operations)
    for router in dashboard.ROUTERS:
        app.router.routes.extend(router.routes)
    app.mount("/dashboard/static", StaticPages())
    app.add_api_route("/", _home)
    app.add_api_route("/openapi.json", _openapi)
    _add_health(app, dependencies.health)

    def render(scope: Scope, error: ApiError) -> ASGIApp:
        if scope["path"].startswith("/dashboard"):
            return pages.frame.problem(app, scope, error)
        return error.response()

    return RequestGuard(ExactPaths(Deflating(app), operations), limits, render)


async def _raise(request: Request, error: Exception) -> Response:
    """Hand every error on to the guard, the one place where errors become answers."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allow = {"Allow": ", ".join(methods_at(request))}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        error = HTTPException(405, headers=allow)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        field = str(first["loc"][-1]) if first["loc"] else None
        raise ApiError(400, f"{first['msg']}.", code="invalid", field=field) from None
    raise from_exception(error) or error


def methods_at(request: Request) -> list[str]:
    """Return the methods that the path of `request` takes, by name.

    A path that is written out takes those of its own, not of one with a name in its place.
    """
    routes = [
        route
        for route in request.app.router.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    written_out = [route for route in routes if route.path == request.url.path]
    found = {"OPTIONS"}
    for route in written_out or routes:
        found |= route.methods or set()
    return sorted(found | {"HEAD"} if "GET" in found else found)


async def _home() -> Response:
    return RedirectResponse("/dashboard", 303)


async def _openapi(request: Request) -> Response:
    headers = {"Cache-Control": "public, max-age=300"}
    return JSONResponse(request.app.state.document(), headers=headers)


def _add_health(app: FastAPI, health: Health) -> None:
    """Serve `/livez` and `/readyz` to everybody, `/metrics` to those who may read it."""
    for route in health.routes():
        if route.path == "/metrics":
            app.add_api_route(route.path, route.endpoint, dependencies=[Depends(may_read_metrics)])
        else:
            app.router.routes.append(route)


async def may_read_metrics(request: Request, authenticator: AuthenticatorOf) -> None:
    """Let holders of a token through, and clients in the networks that the operator names.

    Raises:
        ApiError: see `Authenticator.authenticate`.
    """
    if not _is_in(request.app.state.metrics_networks, request):
        await authenticator.authenticate(request, "metrics:read")


def _is_in(networks: Sequence[IPNetwork], request: Request) -> bool:
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return any(address in network for network in networks)
