"""`/v1/tokens`: REST tokens."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.secrets import hash_token, new_token
from postroad_common.store.tokens import Token
from postroad_ingress_http.access.rights import check_token, read_domains, read_networks
from postroad_ingress_http.access.scopes import ALL_SCOPES, check_scopes
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import (
    AccountsOf,
    AuthenticatorOf,
    ClockOf,
    TokenStore,
)
from postroad_ingress_http.http.errors import bad_field, not_found
from postroad_ingress_http.http.moments import MomentValue, read_moment
from postroad_ingress_http.http.paging import Page

router = APIRouter(prefix="/v1/tokens", tags=["tokens"], responses=REFUSALS)
Reader = Annotated[Token, needs("tokens:read")]
Writer = Annotated[Token, needs("tokens")]


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
    sender_domains: list[str] = Field(
        default=[], max_length=100, description="Domains it may send from; empty: all."
    )
    networks: list[str] = Field(
        default=[], max_length=100, description="Networks it may be used from; empty: all."
    )
    expires: MomentValue | None = Field(
        None,
        description="Until when: a date, a time in UTC, or Unix seconds. Left out: for good.",
    )
    test: bool = Field(
        default=False, description="What it hands in is checked and recorded, and not sent."
    )


class TokenView(BaseModel):
    """A token; its secret is never shown again."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    scopes: list[str]
    sender_domains: list[str]
    networks: list[str]
    created: float
    expires: float | None
    last_used: float | None
    test: bool


class TokenWithSecret(TokenView):
    """A token with its secret, in this answer only."""

    token: str


@router.post("", status_code=201, summary="Create a token")
async def create(
    token: Writer,
    fields: Annotated[TokenFields, body(TokenFields)],
    tokens: TokenStore,
    accounts: AccountsOf,
    clock: ClockOf,
) -> TokenWithSecret:
    """Show the secret in this answer only. A token hands out no more than it may do itself."""
    expires = read_moment("expires", fields.expires)
    if expires is not None and expires <= clock():
        raise bad_field("expires", "This time is past.")
    wanted = Token(
        id="",
        account=token.account,
        name=fields.name,
        scopes=check_scopes(fields.scopes),
        created=clock(),
        sender_domains=read_domains("sender_domains", fields.sender_domains),
        networks=read_networks("networks", fields.networks),
        expires=expires,
        test=fields.test,
    )
    check_token(token, wanted)
    await accounts.check_room(token.account, "tokens")
    secret = new_token()
    made = await tokens.create(
        account=wanted.account,
        name=wanted.name,
        scopes=wanted.scopes,
        secret_hash=hash_token(secret),
        sender_domains=wanted.sender_domains,
        networks=wanted.networks,
        expires=wanted.expires,
        test=wanted.test,
    )
    return TokenWithSecret(**TokenView.model_validate(made).model_dump(), token=secret)


@router.get("", summary="List tokens")
async def listing(token: Reader, tokens: TokenStore) -> Page[TokenView]:
    """Oldest first, without their secrets."""
    found = await tokens.list(token.account)
    return Page(items=[TokenView.model_validate(item) for item in found])


@router.delete("/{token_id}", status_code=204, summary="Revoke a token")
async def delete(
    token_id: str, token: Writer, tokens: TokenStore, authenticator: AuthenticatorOf
) -> None:
    """Take effect within seconds."""
    if not await tokens.delete(token.account, token_id):
        raise not_found("token")
    authenticator.forget(token_id)
