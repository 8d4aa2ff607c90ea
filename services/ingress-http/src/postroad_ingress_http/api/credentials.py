"""`/v1/credentials`: SMTP logins."""

import ipaddress
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.schemas.features import Features
from postroad_common.store.tokens import Token
from postroad_ingress_http.access import logins
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import CredentialStore
from postroad_ingress_http.http.errors import bad_field, not_found
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/credentials", tags=["credentials"], responses=REFUSALS)
Reader = Annotated[Token, needs("credentials:read")]
Writer = Annotated[Token, needs("credentials")]


class CredentialChanges(BaseModel):
    """What can be changed; what is left out stays. Features may be named in part."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=100)
    features: dict[str, bool] | None = Field(
        None,
        description="inlinecss, clicktracking, openstracking, preventscam, bouncetracking.",
    )
    forward_bounces: bool | None = None
    allowed_networks: list[str] | None = Field(
        None, max_length=100, description="Networks it may be used from; empty: all."
    )
    sender_domains: list[str] | None = Field(
        None, max_length=100, description="Domains it may send from; empty: all."
    )
    keep_content: bool | None = Field(
        None, description="Keep the content of its mail in the archive (default)."
    )


class CredentialUpdate(CredentialChanges):
    """The same, and whether the login is disabled."""

    disabled: bool | None = None


class CredentialView(BaseModel):
    """A login; its password is never shown again. Times are Unix seconds."""

    model_config = ConfigDict(from_attributes=True)

    username: str
    name: str
    features: Features
    forward_bounces: bool
    disabled: bool
    allowed_networks: list[str]
    sender_domains: list[str]
    keep_content: bool
    created: float
    updated: float


class CredentialWithPassword(CredentialView):
    """A login with its password, in this answer only."""

    password: str


@router.post("", status_code=201, summary="Create an SMTP login")
async def create(
    token: Writer,
    fields: Annotated[CredentialChanges, body(CredentialChanges)],
    credentials: CredentialStore,
) -> CredentialWithPassword:
    """Create a login. Its password is in this answer only."""
    login, password = await logins.create(
        credentials,
        token.account,
        fields.name or "",
        logins.merge_features(Features(), fields.features or {}),
        forward_bounces=fields.forward_bounces is not False,
        keep_content=fields.keep_content is not False,
        allowed_networks=_networks(fields.allowed_networks or []),
        sender_domains=logins.read_domains("sender_domains", fields.sender_domains or []),
    )
    return _with_password(CredentialView.model_validate(login), password)


@router.get("", summary="List SMTP logins")
async def listing(
    token: Reader,
    credentials: CredentialStore,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[CredentialView]:
    """In the order of their user names."""
    position = read_cursor(cursor, str)
    found = await credentials.list(token.account, position[0] if position else "", limit + 1)
    return Page(
        items=[CredentialView.model_validate(login) for login in found[:limit]],
        cursor=write_cursor(found[limit - 1].username) if len(found) > limit else None,
    )


@router.get("/{username}", summary="One SMTP login")
async def one(username: str, token: Reader, credentials: CredentialStore) -> CredentialView:
    """Without its password."""
    login = await credentials.get(token.account, username)
    if login is None:
        raise not_found("login")
    return CredentialView.model_validate(login)


@router.patch("/{username}", summary="Change an SMTP login")
async def change(
    username: str,
    token: Writer,
    fields: Annotated[CredentialUpdate, body(CredentialUpdate)],
    credentials: CredentialStore,
) -> CredentialView:
    """Works for new log-ins within seconds."""
    changes = fields.model_dump(exclude_none=True)
    if fields.allowed_networks is not None:
        changes["allowed_networks"] = list(_networks(fields.allowed_networks))
    if fields.sender_domains is not None:
        changes["sender_domains"] = list(
            logins.read_domains("sender_domains", fields.sender_domains)
        )
    login = await logins.change(credentials, token.account, username, changes)
    return CredentialView.model_validate(login)


@router.delete("/{username}", status_code=204, summary="Delete a login")
async def delete(username: str, token: Writer, credentials: CredentialStore) -> None:
    """Take effect within seconds."""
    if not await credentials.delete(token.account, username):
        raise not_found("login")


@router.post("/{username}/rotate", summary="Make a new password")
async def rotate(
    username: str, token: Writer, credentials: CredentialStore
) -> CredentialWithPassword:
    """Replace the password within seconds. The new one is in this answer only."""
    login, password = await logins.rotate(credentials, token.account, username)
    return _with_password(CredentialView.model_validate(login), password)


def _with_password(view: CredentialView, password: str) -> CredentialWithPassword:
    return CredentialWithPassword(**view.model_dump(), password=password)


def _networks(networks: list[str]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(network.strip())) for network in networks)
    except ValueError:
        raise bad_field("allowed_networks", "Give networks such as 192.0.2.0/24.") from None
