"""What every handler of the API asks for: the token with the right scope, and the body's fields."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from fastapi import Depends, Security
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from pydantic import BaseModel
from starlette.requests import Request

from postroad_common.store.tokens import Token
from postroad_ingress_http.dependencies import Dependencies
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import read_fields

M = TypeVar("M", bound=BaseModel)


class CurrentToken(SecurityBase):
    """A dependency: the token of the request, which allows the scope that is asked for.

    A security scheme of FastAPI, which documents it; one call, because every request pays for it.
    """

    def __init__(self) -> None:
        self.model = HTTPBearerModel()
        self.scheme_name = "bearer"

    async def __call__(self, request: Request, needed: SecurityScopes) -> Token:
        """Return the token.

        Raises:
            ApiError: see `Authenticator.authenticate`; 400, a query parameter is not known.
        """
        dependencies: Dependencies = request.app.state.dependencies
        token = await dependencies.authenticator.authenticate(request, needed.scope_str)
        if request.scope["query_string"]:
            _refuse_unknown(request)
        return token


_CURRENT_TOKEN = CurrentToken()


def _refuse_unknown(request: Request) -> None:
    """Raise ApiError (400) for a query parameter that the end point does not have.

    A mistyped filter that was ignored would show what it should have hidden. `limit` and `cursor`
    are known everywhere: a list that is never parted is a first page and the last.
    """
    route: APIRoute = request.scope["route"]
    known = {
        "access_token",
        "limit",
        "cursor",
        *(field.alias for field in route.dependant.query_params),
    }
    for name in request.query_params:
        if name not in known:
            raise ApiError(
                400, "This query parameter is not known.", code="unknown_field", field=name
            )


def needs(scope: str) -> Any:
    """Return the dependency on a token that allows `scope`."""
    return Security(_CURRENT_TOKEN, scopes=[scope])


class BodyNeeded(Generic[M]):
    """A dependency: the body, JSON or form, as `model`. `openapi` reads the model.

    FastAPI's own bodies are JSON or a form, not both, and are read before the token is checked.
    """

    def __init__(
        self, model: type[M], reader: Callable[[dict[str, object]], M] | None = None
    ) -> None:
        self.model = model
        self._reader = reader or model.model_validate

    async def __call__(self, request: Request) -> M:
        """Read. Raises ApiError, or pydantic.ValidationError, which becomes one."""
        return self._reader(await read_fields(request))


def body(model: type[M], reader: Callable[[dict[str, object]], M] | None = None) -> Any:
    """Return the dependency on a body that is a `model`."""
    return Depends(BodyNeeded(model, reader))
