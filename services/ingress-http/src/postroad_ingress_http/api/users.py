"""`/v1/users`: who may log in to the dashboard of the account."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.store.tokens import Token
from postroad_common.store.users import User
from postroad_ingress_http.access.rights import check_user
from postroad_ingress_http.access.scopes import ROLES, Role
from postroad_ingress_http.access.users import OneTimeLink
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS, refusals
from postroad_ingress_http.dependencies import AccountsOf, UsersOf
from postroad_ingress_http.http.paging import Page

router = APIRouter(prefix="/v1/users", tags=["users"], responses=REFUSALS)
Reader = Annotated[Token, needs("users:read")]
Writer = Annotated[Token, needs("users")]


class InvitationFields(BaseModel):
    """Somebody to invite."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(max_length=320)
    role: Role = Field("developer", description=f"One of {', '.join(ROLES)}.")


class RoleFields(BaseModel):
    """Another role."""

    model_config = ConfigDict(extra="forbid")

    role: Role


class UserView(BaseModel):
    """A user, or with `invited` somebody who has not followed the link yet."""

    email: str
    role: str
    created: float
    last_login: float | None = None
    second_factor: bool = False
    operator: bool = False
    invited: bool = False


class InvitationView(BaseModel):
    """A link that works once, until `expires`; it is in this answer only.

    It is a path where the settings do not name the public URL.
    """

    email: str
    role: str
    expires: float
    link: str


def invitation_view(link: OneTimeLink) -> InvitationView:
    """Return the link as clients see it."""
    made = link.invitation
    return InvitationView(
        email=made.email, role=made.role, expires=made.ends, link=link.url or link.path
    )


def view(user: User) -> UserView:
    """Return the user as clients see them."""
    return UserView(
        email=user.email,
        role=user.role,
        created=user.created,
        last_login=user.last_login,
        second_factor=user.totp is not None,
        operator=user.operator,
    )


@router.get("", summary="List users")
async def listing(token: Reader, users: UsersOf) -> Page[UserView]:
    """Users in the order of their addresses, then those who are invited."""
    found = [view(user) for user in await users.all(token.account)]
    invited = [
        UserView(email=open_.email, role=open_.role, created=open_.created, invited=True)
        for open_ in await users.invited(token.account)
    ]
    return Page(items=[*found, *invited])


@router.post("", status_code=201, summary="Invite a user", responses=refusals(409))
async def invite(
    token: Writer,
    fields: Annotated[InvitationFields, body(InvitationFields)],
    users: UsersOf,
    accounts: AccountsOf,
) -> InvitationView:
    """Answer with the link, and mail it where the settings name a sender for notices.

    A token that is limited lets in nobody who would not be.
    """
    check_user(token, fields.role)
    await accounts.check_room(token.account, "users")
    return invitation_view(
        await users.invite(token.account, fields.email, fields.role, token.scopes)
    )


@router.get("/{email}", summary="One user")
async def one(email: str, token: Reader, users: UsersOf) -> UserView:
    """With the role."""
    return view(await users.find(token.account, email))


@router.patch("/{email}", summary="Change the role of a user")
async def change(
    email: str, token: Writer, fields: Annotated[RoleFields, body(RoleFields)], users: UsersOf
) -> UserView:
    """Take effect at once, in sessions too. An account keeps one owner at least."""
    check_user(token, fields.role)
    return view(await users.set_role(token.account, email, fields.role, token.scopes))


@router.post("/{email}/reset", summary="Make a link for a new password")
async def reset(email: str, token: Writer, users: UsersOf) -> InvitationView:
    """Following it sets a new password and ends the user's sessions."""
    check_user(token, (await users.find(token.account, email)).role)
    return invitation_view(await users.reset(token.account, email, token.scopes))


@router.delete("/{email}", status_code=204, summary="Remove a user", responses=refusals(409))
async def delete(email: str, token: Writer, users: UsersOf) -> None:
    """Withdraw an invitation, or remove a user and end their sessions."""
    await users.remove(token.account, email, token.scopes)
