"""Paths that are written out take their own methods only, not those of a name in their place.

`DELETE /v1/suppressions/export` is a mistake, and not the removal of the address "export".
"""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from postroad_ingress_http.http.errors import ApiError

_ANSWERED_ANYWAY = frozenset({"HEAD", "OPTIONS"})


class ExactPaths:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute]) -> None:
        self._app = app
        self._methods: dict[str, set[str]] = {}
        for route in routes:
            if "{" not in route.path:
                self._methods.setdefault(route.path, set()).update(route.methods or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Raises:
            ApiError: 405.
        """
        methods = self._methods.get(scope.get("path", ""))
        if methods is not None and scope["method"] not in methods | _ANSWERED_ANYWAY:
            allow = sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))
            raise ApiError(
                405,
                "This path does not take that method; the Allow header lists the ones it takes.",
                headers={"Allow": ", ".join(allow)},
            )
        await self._app(scope, receive, send)
