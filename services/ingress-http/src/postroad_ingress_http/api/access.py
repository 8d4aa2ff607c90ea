"""What every handler of the API asks for: the token with the right scope, and the body's fields."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyQuery, HTTPBearer, SecurityScopes
from pydantic import BaseModel
from starlette.requests import Request

from postroad_common.store.tokens import Token
from postroad_ingress_http.dependencies import AuthenticatorOf
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import read_fields

M = TypeVar("M", bound=BaseModel)

_BEARER = Security(HTTPBearer(scheme_name="bearer", auto_error=False))
_QUERY = Security(APIKeyQuery(name="access_token", scheme_name="query", auto_error=False))


async def current_token(
    request: Request,
    needed: SecurityScopes,
    authenticator: AuthenticatorOf,
    _header: Annotated[object, _BEARER] = None,  # these two are for the OpenAPI document
    _query: Annotated[object, _QUERY] = None,
) -> Token:
    """Return the token of the request, which allows the scope `needed`.

    Raises:
        ApiError: see `Authenticator.authenticate`; 400, a query parameter is not known.
    """
    token = await authenticator.authenticate(request, needed.scope_str)
    if request.query_params:
        _refuse_unknown(request)
    return token


def _refuse_unknown(request: Request) -> None:
    """Raise ApiError (400) for a query parameter that the end point does not have.

    A mistyped filter that was ignored would show what it should have hidden.
    """
    route: APIRoute = request.scope["route"]
    known = {"access_token", *(field.alias for field in route.dependant.query_params)}
    for name in request.query_params:
        if name not in known:
            raise ApiError(
                400, "This query parameter is not known.", code="unknown_field", field=name
            )


def needs(scope: str) -> Any:
    """Return the dependency on a token that allows `scope`."""
    return Security(current_token, scopes=[scope])


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
