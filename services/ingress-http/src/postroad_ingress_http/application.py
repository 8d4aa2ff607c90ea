"""The ASGI application: the API, the dashboard, and the pages beside them, behind one guard."""

import ipaddress
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from postroad_ingress_http import openapi
from postroad_ingress_http.api import (
    addresses,
    archive,
    credentials,
    domains,
    hookcalls,
    lanes,
    logfiles,
    messages,
    queues,
    send,
    stats,
    suppressions,
    tokens,
    webhooks,
)
from postroad_ingress_http.dashboard import Dashboard, all_routes
from postroad_ingress_http.errors import ApiError, from_exception
from postroad_ingress_http.limits import Guard
from postroad_ingress_http.parts import Parts


def build(parts: Parts, dashboard: Dashboard) -> ASGIApp:
    """The whole application."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.router.redirect_slashes = False
    for kind in (HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _raise)
    for noun in (
        send,
        messages,
        credentials,
        tokens,
        suppressions,
        webhooks,
        domains,
        lanes,
        queues,
        archive,
        stats,
        logfiles,
        addresses,
    ):
        noun.register(app, parts)
    webhooks.register_changes(app, parts)
    hookcalls.register(app, parts)
    document = cache(lambda: openapi.build(app))
    app.router.routes.extend(_other_pages(parts, dashboard, document))
    app.router.routes.extend(all_routes(dashboard))

    def render(scope: Scope, error: ApiError) -> ASGIApp:
        if scope["path"].startswith("/dashboard"):
            return dashboard.problem(scope, error)
        return error.response()

    return Guard(app, parts.limits, render)


async def _raise(_: Request, error: Exception) -> Response:
    """Hands every error on to the guard, the one place where errors become answers."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        field = str(first["loc"][-1]) if first["loc"] else None
        raise ApiError(400, f"{first['msg']}.", code="invalid", field=field) from None
    raise from_exception(error) or error


def _other_pages(
    parts: Parts, dashboard: Dashboard, document: Callable[[], dict[str, Any]]
) -> list[Route]:
    async def home(_: Request) -> Response:
        return RedirectResponse("/dashboard", 303)

    async def openapi_json(_: Request) -> Response:
        return JSONResponse(document(), headers={"Cache-Control": "public, max-age=300"})

    async def docs(request: Request) -> Response:
        return HTMLResponse(
            dashboard.render(
                request,
                "docs.html",
                groups=openapi.groups(document()),
                description=openapi.DESCRIPTION,
            ),
            headers=dashboard.page_headers,
        )

    return [
        Route("/", home),
        Route("/openapi.json", openapi_json),
        Route("/docs", docs),
        *(_health_route(parts, route) for route in parts.health.routes()),
    ]


def _health_route(parts: Parts, route: Route) -> Route:
    """`/livez` and `/readyz` for everybody; `/metrics` for this machine and holders of a token."""
    if route.path != "/metrics":
        return route
    endpoint: Callable[[Request], Awaitable[Response]] = route.endpoint

    async def metrics(request: Request) -> Response:
        if not _is_local(request):
            await parts.authenticator.authenticate(request, "metrics:read")
        return await endpoint(request)

    return Route("/metrics", metrics)


def _is_local(request: Request) -> bool:
    if request.client is None or "x-forwarded-for" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
