"""`/v1/credentials`: SMTP logins."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.schemas.features import Features
from postroad_common.store.credentials import Credential
from postroad_common.store.tokens import Token
from postroad_ingress_http.access import logins
from postroad_ingress_http.access.rights import check_login, read_domains, read_networks
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import AccountsOf, CredentialStore
from postroad_ingress_http.http.errors import not_found
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
    test: bool | None = Field(
        None, description="What it hands in is checked and recorded, and not sent."
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
    test: bool
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
    accounts: AccountsOf,
) -> CredentialWithPassword:
    """Create a login, which may send no more than the token. Its password is in this answer."""
    networks = read_networks("allowed_networks", fields.allowed_networks or [])
    domains = read_domains("sender_domains", fields.sender_domains or [])
    check_login(token, domains, networks, test=bool(fields.test))
    await accounts.check_room(token.account, "logins")
    login, password = await logins.create(
        credentials,
        token.account,
        fields.name or "",
        logins.merge_features(Features(), fields.features or {}),
        forward_bounces=fields.forward_bounces is not False,
        keep_content=fields.keep_content is not False,
        test=bool(fields.test),
        allowed_networks=networks,
        sender_domains=domains,
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
    return CredentialView.model_validate(await _find(token, username, credentials))


@router.patch("/{username}", summary="Change an SMTP login")
async def change(
    username: str,
    token: Writer,
    fields: Annotated[CredentialUpdate, body(CredentialUpdate)],
    credentials: CredentialStore,
) -> CredentialView:
    """Works for new log-ins within seconds."""
    changes = fields.model_dump(exclude_none=True)
    old = await _find(token, username, credentials)
    networks, domains = old.allowed_networks, old.sender_domains
    if fields.allowed_networks is not None:
        networks = read_networks("allowed_networks", fields.allowed_networks)
        changes["allowed_networks"] = list(networks)
    if fields.sender_domains is not None:
        domains = read_domains("sender_domains", fields.sender_domains)
        changes["sender_domains"] = list(domains)
    if fields.disabled is not True:
        test = old.test if fields.test is None else fields.test
        check_login(token, domains, networks, test=test)
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
    old = await _find(token, username, credentials)
    check_login(token, old.sender_domains, old.allowed_networks, test=old.test)
    login, password = await logins.rotate(credentials, token.account, username)
    return _with_password(CredentialView.model_validate(login), password)


def _with_password(view: CredentialView, password: str) -> CredentialWithPassword:
    return CredentialWithPassword(**view.model_dump(), password=password)


async def _find(token: Token, username: str, credentials: CredentialStore) -> Credential:
    login = await credentials.get(token.account, username)
    if login is None:
        raise not_found("login")
    return login
