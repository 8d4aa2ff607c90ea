"""`/v1/accounts`: all accounts, for the operator; `/v1/account`: the token's own."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.store.accounts import LIMITS, Account
from postroad_common.store.tokens import Token
from postroad_ingress_http.access.rights import check_user
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.api.users import InvitationView, invitation_view
from postroad_ingress_http.dependencies import AccountsOf, AccountStore, UsersOf
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1", tags=["accounts"], responses=REFUSALS)
Reader = Annotated[Token, needs("accounts:read")]
Writer = Annotated[Token, needs("accounts")]
_LIMITS = f"Bounds on the numbers of {', '.join(LIMITS)}; 0 for none."


class AccountFields(BaseModel):
    """An account to make."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(max_length=40, description="a-z, 0-9 and -; cannot be changed.")
    name: str = Field("", max_length=100)
    owner: str | None = Field(None, description="Address of somebody to invite as the owner.")
    verified_senders_only: bool = Field(
        default=True, description="Mail is taken only from domains that the account has verified."
    )
    limits: dict[str, int] = Field(default={}, max_length=len(LIMITS), description=_LIMITS)


class AccountChanges(BaseModel):
    """What the operator can change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=100)
    suspended: bool | None = Field(None, description="Takes no mail while suspended.")
    verified_senders_only: bool | None = None
    limits: dict[str, int] | None = Field(None, max_length=len(LIMITS), description=_LIMITS)


class OwnAccountChanges(BaseModel):
    """What an owner can change of the account."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=100)


class AccountView(BaseModel):
    """An account."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    created: float
    suspended: bool
    verified_senders_only: bool
    limits: dict[str, int]


class NewAccountView(AccountView):
    """A new account; `invitation` is the owner's, its link is in this answer only."""

    invitation: InvitationView | None = None


def view(account: Account) -> AccountView:
    """Return the account as clients see it."""
    return AccountView.model_validate(account)


@router.post("/accounts", status_code=201, summary="Make an account")
async def create(
    token: Writer,
    fields: Annotated[AccountFields, body(AccountFields)],
    accounts: AccountsOf,
    users: UsersOf,
) -> NewAccountView:
    """Invite its owner as well. Act in it with the header `X-Postroad-Account`."""
    if fields.owner is not None:
        check_user(token, "owner")
    made = await accounts.create(
        fields.id,
        fields.name,
        verified_senders_only=fields.verified_senders_only,
        limits=fields.limits,
    )
    answer = NewAccountView(**view(made).model_dump())
    if fields.owner is not None:
        link = await users.invite(made.id, fields.owner, "owner", token.scopes)
        answer.invitation = invitation_view(link)
    return answer


@router.get("/accounts", summary="List accounts")
async def listing(
    _: Reader, store: AccountStore, cursor: Cursor = None, limit: PageSize = DEFAULT_PAGE
) -> Page[AccountView]:
    """In the order of their ids."""
    position = read_cursor(cursor, str)
    found = await store.list(position[0] if position else "", limit + 1)
    return Page(
        items=[view(account) for account in found[:limit]],
        cursor=write_cursor(found[limit - 1].id) if len(found) > limit else None,
    )


@router.get("/accounts/{account_id}", summary="One account")
async def one(account_id: str, _: Reader, accounts: AccountsOf) -> AccountView:
    """With its limits."""
    return view(await accounts.find(account_id))


@router.patch("/accounts/{account_id}", summary="Change an account")
async def change(
    account_id: str,
    _: Writer,
    fields: Annotated[AccountChanges, body(AccountChanges)],
    accounts: AccountsOf,
) -> AccountView:
    """Take effect within seconds."""
    return view(await accounts.change(account_id, fields.model_dump()))


@router.delete("/accounts/{account_id}", status_code=204, summary="Delete an account")
async def delete(account_id: str, _: Writer, accounts: AccountsOf) -> None:
    """Delete a suspended account with all that gives access to it; its mail expires with time."""
    await accounts.delete(account_id)


@router.get("/account", summary="The account of the token")
async def own(token: Annotated[Token, needs("account:read")], accounts: AccountsOf) -> AccountView:
    """With its limits."""
    return view(await accounts.find(token.account))


@router.patch("/account", summary="Change the account of the token")
async def change_own(
    token: Annotated[Token, needs("account")],
    fields: Annotated[OwnAccountChanges, body(OwnAccountChanges)],
    accounts: AccountsOf,
) -> AccountView:
    """Rename it; all else is the operator's to change."""
    return view(await accounts.change(token.account, fields.model_dump()))
