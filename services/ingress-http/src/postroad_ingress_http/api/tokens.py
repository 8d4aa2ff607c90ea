"""`/v1/tokens`: REST tokens."""

from enum import Enum
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from postroad_common.secrets import hash_token, new_token
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.pages import Page
from postroad_ingress_http.errors import ApiError, bad_field, not_found
from postroad_ingress_http.parts import Parts
from postroad_ingress_http.scopes import ALL_SCOPES, covers


class TokenFields(BaseModel):
    """A token to create."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=100)
    scopes: list[str] = Field(
        default=["send"],
        min_length=1,
        max_length=len(ALL_SCOPES),
        description=f"Some of {', '.join(ALL_SCOPES)}.",
    )


class TokenView(BaseModel):
    """A token; its secret is never shown again."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    scopes: list[str]
    created: float


class TokenWithSecret(TokenView):
    """A token with its secret, in this answer only."""

    token: str


def check_scopes(scopes: list[str]) -> tuple[str, ...]:
    """The scopes without repetitions.

    Raises:
        ApiError: 400, one does not exist.
    """
    for scope in scopes:
        if scope not in ALL_SCOPES:
            raise bad_field("scopes", f"There is no scope {scope[:50]!r}.")
    if not scopes:
        raise bad_field("scopes", "Give at least one scope.", code="missing")
    return tuple(dict.fromkeys(scopes))


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    store = parts.database.tokens
    tags: list[str | Enum] = ["tokens"]

    @app.post("/v1/tokens", status_code=201, tags=tags, summary="Create a token")
    async def create(
        token: Annotated[Token, needs(parts.authenticator, "tokens")],
        fields: Annotated[TokenFields, body(TokenFields)],
    ) -> TokenWithSecret:
        """The secret is in this answer only. A token hands out no more than it may do itself."""
        scopes = check_scopes(fields.scopes)
        if not covers(token.scopes, scopes):
            raise ApiError(
                403, "This token cannot hand out scopes that it does not have.",
                code="insufficient_scope", field="scopes",
            )  # fmt: skip
        secret = new_token()
        made = await store.create(
            account=token.account, name=fields.name, scopes=scopes, secret_hash=hash_token(secret)
        )
        return TokenWithSecret(**TokenView.model_validate(made).model_dump(), token=secret)

    @app.get("/v1/tokens", tags=tags, summary="List tokens")
    async def listing(
        token: Annotated[Token, needs(parts.authenticator, "tokens:read")],
    ) -> Page[TokenView]:
        """Oldest first, without their secrets."""
        found = await store.list(token.account)
        return Page(items=[TokenView.model_validate(item) for item in found])

    @app.delete("/v1/tokens/{token_id}", status_code=204, tags=tags, summary="Revoke a token")
    async def delete(
        token_id: str, token: Annotated[Token, needs(parts.authenticator, "tokens")]
    ) -> Response:
        """It stops working within seconds."""
        if not await store.delete(token.account, token_id):
            raise not_found("token")
        parts.authenticator.forget(token_id)
        return Response(status_code=204)
