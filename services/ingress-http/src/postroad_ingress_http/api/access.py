"""What every handler of the API asks for: the token with the right scope, and the body's fields."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar

from fastapi import Depends, Security
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from pydantic import BaseModel
from starlette.requests import Request

from postroad_common.store.audit import Actor, act_as
from postroad_common.store.tokens import Token
from postroad_ingress_http.access.accounts import is_account_id
from postroad_ingress_http.access.scopes import require
from postroad_ingress_http.dependencies import Dependencies
from postroad_ingress_http.http.acceptable import check_acceptable
from postroad_ingress_http.http.errors import ApiError, not_found
from postroad_ingress_http.http.fields import beside_the_loop, read_fields

ACCOUNT_HEADER = "x-postroad-account"
"""Names the account that a token of the operator acts in."""
_EVERYTHING_TAKEN = frozenset({None, "", "*/*"})
_LOOKING = frozenset({"GET", "HEAD"})
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
        if (accept := request.headers.get("accept")) not in _EVERYTHING_TAKEN:
            check_acceptable(request.scope["route"], accept or "")
        if (account := request.headers.get(ACCOUNT_HEADER)) is not None:
            token = await _in_account(token, account, dependencies)
        if request.method not in _LOOKING:
            act_as(_actor(token, request))
        return token


_CURRENT_TOKEN = CurrentToken()


async def _in_account(token: Token, account: str, dependencies: Dependencies) -> Token:
    """Return the token as one of another account.

    Raises:
        ApiError: 403, it may not look after accounts; 404, there is no such account.
    """
    if account == token.account:
        return token
    require(token.scopes, "accounts", "This token")
    if not is_account_id(account) or await dependencies.accounts.find(account) is None:
        raise not_found("account")
    return replace(token, account=account)


def _actor(token: Token, request: Request) -> Actor:
    return Actor(
        kind="token",
        id=token.id,
        account=token.account,
        name=token.name,
        address=request.client.host if request.client else "",
        request_id=request.state.request_id,
    )


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
        *_query_names(route.dependant),
    }
    for name in request.query_params:
        if name not in known:
            raise ApiError(
                400, "This query parameter is not known.", code="unknown_field", field=name
            )


def _query_names(dependant: Dependant) -> Iterator[str]:
    """Yield the names of the query parameters of a handler and of its dependencies."""
    yield from (field.alias for field in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _query_names(dependency)


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
        self.reader = reader or model.model_validate

    async def __call__(self, request: Request) -> M:
        """Read. Raises ApiError, or pydantic.ValidationError, which becomes one."""
        fields = await read_fields(request)
        size = len(await request.body()) if fields else 0
        return await beside_the_loop(size, self.reader, fields)


def body(model: type[M], reader: Callable[[dict[str, object]], M] | None = None) -> Any:
    """Return the dependency on a body that is a `model`."""
    return Depends(BodyNeeded(model, reader))
