"""Pages behind links that work once: an invitation, a new password; and asking for the latter."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.store.audit import Actor, act_as
from postroad_common.store.invitations import Invitation, Kind
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.signin import VisitorForm
from postroad_ingress_http.dashboard.visitor import PasswordsOf, address_of
from postroad_ingress_http.dashboard.visits import Visit, VisitOf
from postroad_ingress_http.dependencies import AccountStore, UsersOf
from postroad_ingress_http.http.errors import ApiError

router = APIRouter(prefix="/dashboard", include_in_schema=False)


@router.get("/join")
async def invitation(
    request: Request, visit: VisitOf, users: UsersOf, accounts: AccountStore
) -> Response:
    """Show the form of an invitation."""
    key = request.query_params.get("key", "")
    return await _form(visit, accounts, await users.open_link(key, "invitation"), key)


@router.post("/join")
async def join(
    request: Request, fields: VisitorForm, visit: VisitOf, users: UsersOf, accounts: AccountStore
) -> Response:
    """Make the user who was invited."""
    return await _accept(request, fields, visit, users, accounts, kind="invitation")


@router.get("/reset")
async def new_password(
    request: Request, visit: VisitOf, users: UsersOf, accounts: AccountStore
) -> Response:
    """Show the form for a new password."""
    key = request.query_params.get("key", "")
    return await _form(visit, accounts, await users.open_link(key, "reset"), key)


@router.post("/reset")
async def reset(
    request: Request, fields: VisitorForm, visit: VisitOf, users: UsersOf, accounts: AccountStore
) -> Response:
    """Set the new password."""
    return await _accept(request, fields, visit, users, accounts, kind="reset")


@router.get("/forgot")
async def forgot(visit: VisitOf) -> Response:
    """Show the form that asks for a link."""
    return visit.form("forgot.html", sent=False, email="")


@router.post("/forgot")
async def send_link(
    request: Request,
    fields: VisitorForm,
    visit: VisitOf,
    users: UsersOf,
    passwords: PasswordsOf,
) -> Response:
    """Mail a link, if the address is a user's; the answer is the same if not."""
    email = text(fields, "email").strip()
    try:
        visit.check(fields)
        # No try is ever given back: each may send a mail.
        with passwords.trying(None, f"forgot {email}", address_of(request)):
            await users.forgot(email)
    except ApiError as error:
        return visit.form("forgot.html", sent=False, email=email, error=error)
    return visit.form("forgot.html", sent=True)


async def _accept(
    request: Request,
    fields: VisitorForm,
    visit: Visit,
    users: UsersOf,
    accounts: AccountStore,
    *,
    kind: Kind,
) -> Response:
    key = text(fields, "key")
    link = await users.open_link(key, kind)
    try:
        visit.check(fields)
        act_as(
            Actor(
                kind="link",
                id=link.email,
                account=link.account,
                name=kind,
                address=address_of(request),
                request_id=request.state.request_id,
            )
        )
        await users.accept(key, kind, text(fields, "password"))
    except ApiError as error:
        return await _form(visit, accounts, link, key, error)
    return see_other("/dashboard/login", "The password is set: log in with it.")


async def _form(
    visit: Visit, accounts: AccountStore, link: Invitation, key: str, error: ApiError | None = None
) -> Response:
    account = await accounts.find(link.account)
    name = (account.name if account else "") or link.account
    return visit.form("set_password.html", link=link, account_name=name, key=key, error=error)
