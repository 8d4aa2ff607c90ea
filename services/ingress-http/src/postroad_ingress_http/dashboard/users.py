"""The users of the account: invitations, roles, links for new passwords."""

from fastapi import APIRouter
from starlette.responses import Response

from postroad_ingress_http.access.scopes import ROLES
from postroad_ingress_http.access.users import OneTimeLink
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.visitor import Form, Pages, PagesOf, SignedIn
from postroad_ingress_http.dependencies import AccountsOf, UsersOf

router = APIRouter(prefix="/dashboard/users", include_in_schema=False)
_PAGE = "/dashboard/users"


@router.get("")
async def listing(session: SignedIn, pages: PagesOf, users: UsersOf) -> Response:
    """List the users and the open invitations of the account."""
    return pages.answer(
        "users.html",
        rows=await users.all(session.account),
        invited=await users.invited(session.account),
        roles=ROLES,
    )


@router.post("")
async def invite(
    session: SignedIn, fields: Form, pages: PagesOf, users: UsersOf, accounts: AccountsOf
) -> Response:
    """Invite somebody, and show the link."""
    await accounts.check_room(session.account, "users")
    link = await users.invite(
        session.account, text(fields, "email"), text(fields, "role"), session.scopes
    )
    return _show(pages, "Invitation", link)


@router.post("/{email}/role")
async def set_role(email: str, session: SignedIn, fields: Form, users: UsersOf) -> Response:
    """Give a user another role."""
    await users.set_role(session.account, email, text(fields, "role"), session.scopes)
    return see_other(_PAGE, f"{email} has another role.")


@router.post("/{email}/reset")
async def reset(email: str, session: SignedIn, _: Form, pages: PagesOf, users: UsersOf) -> Response:
    """Show a link that sets a new password for a user."""
    return _show(
        pages, "Link for a new password", await users.reset(session.account, email, session.scopes)
    )


@router.post("/{email}/delete")
async def remove(email: str, session: SignedIn, _: Form, users: UsersOf) -> Response:
    """Remove a user, or withdraw an invitation."""
    await users.remove(session.account, email, session.scopes)
    return see_other(_PAGE, f"{email} is removed.")


def _show(pages: Pages, heading: str, link: OneTimeLink) -> Response:
    url = link.url or f"{str(pages.request.base_url).rstrip('/')}{link.path}"
    return pages.secret(heading, _PAGE, link_for=link.invitation.email, link=url)
