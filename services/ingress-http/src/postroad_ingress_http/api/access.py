"""What every handler of the API asks for: the token with the right scope, and the body's fields."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from fastapi import Depends
from pydantic import BaseModel
from starlette.requests import Request

from postroad_common.store.tokens import Token
from postroad_ingress_http.authentication import Authenticator
from postroad_ingress_http.fields import read_fields

M = TypeVar("M", bound=BaseModel)


class TokenNeeded:
    """A dependency: the token of the request, which allows `scope`. `openapi` reads the scope."""

    def __init__(self, authenticator: Authenticator, scope: str) -> None:
        self._authenticator = authenticator
        self.scope = scope

    async def __call__(self, request: Request) -> Token:
        """Check. Raises ApiError."""
        return await self._authenticator.authenticate(request, self.scope)


class BodyNeeded(Generic[M]):
    """A dependency: the body, JSON or form, as `model`. `openapi` reads the model."""

    def __init__(
        self, model: type[M], reader: Callable[[dict[str, object]], M] | None = None
    ) -> None:
        self.model = model
        self._reader = reader or model.model_validate

    async def __call__(self, request: Request) -> M:
        """Read. Raises ApiError, or pydantic.ValidationError, which becomes one."""
        return self._reader(await read_fields(request))


def needs(authenticator: Authenticator, scope: str) -> Any:
    """`Depends` on a token that allows `scope`."""
    check: Callable[[Request], Awaitable[Token]] = TokenNeeded(authenticator, scope)
    return Depends(check)


def body(model: type[M], reader: Callable[[dict[str, object]], M] | None = None) -> Any:
    """`Depends` on a body that is a `model`."""
    return Depends(BodyNeeded(model, reader))
