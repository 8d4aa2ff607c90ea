"""SMTP logins."""

from fastapi import APIRouter
from starlette.responses import Response

from postroad_common.schemas.features import REST_DEFAULTS
from postroad_common.store.messages import Criteria
from postroad_ingress_http.access import logins
from postroad_ingress_http.access.rights import read_domains, read_networks
from postroad_ingress_http.dashboard.clients import settings_for
from postroad_ingress_http.dashboard.forms import see_other, switches, text, words
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn, SmtpPlaceOf
from postroad_ingress_http.dependencies import AccountsOf, CredentialStore, MessageStore
from postroad_ingress_http.http.errors import not_found

router = APIRouter(prefix="/dashboard/logins", include_in_schema=False)
_LIMIT = 1000
_NAME_LENGTH = 100
_LIST = "/dashboard/logins"
_COUNTED = 10_000  # of more messages it is not said how many there are


@router.get("")
async def listing(session: SignedIn, pages: PagesOf, credentials: CredentialStore) -> Response:
    """List the logins of the account."""
    found = await credentials.list(session.account, limit=_LIMIT)
    return pages.answer("logins.html", logins=found)


@router.get("/new")
async def form(_: SignedIn, pages: PagesOf) -> Response:
    """Show the form for a new login."""
    return pages.answer(
        "login_new.html",
        login=None,
        features=REST_DEFAULTS.model_dump(),
        forward_bounces=True,
        keep_content=True,
        test=False,
    )


@router.post("")
async def create(
    session: SignedIn,
    fields: Form,
    pages: PagesOf,
    credentials: CredentialStore,
    accounts: AccountsOf,
) -> Response:
    """Create a login and show its password."""
    await accounts.check_room(session.account, "logins")
    login, password = await logins.create(
        credentials,
        session.account,
        text(fields, "name").strip()[:_NAME_LENGTH],
        switches(fields),
        forward_bounces=fields.get("forward_bounces") == "true",
        keep_content=fields.get("keep_content") == "true",
        test=fields.get("test") == "true",
        allowed_networks=read_networks("allowed_networks", words(fields, "allowed_networks")),
        sender_domains=read_domains("sender_domains", words(fields, "sender_domains")),
    )
    return pages.secret(
        "Login created", f"{_LIST}/{login.username}", username=login.username, password=password
    )


@router.get("/{username}")
async def one(  # noqa: PLR0917 - FastAPI passes them by name
    username: str,
    session: SignedIn,
    pages: PagesOf,
    credentials: CredentialStore,
    place: SmtpPlaceOf,
    messages: MessageStore,
) -> Response:
    """Show a login with its settings, and those of programs that use it."""
    login = await credentials.get(session.account, username)
    if login is None:
        raise not_found("login")
    return pages.answer(
        "login_edit.html",
        login=login,
        latest=await messages.search(session.account, Criteria(login=username), limit=1),
        number=(
            await messages.count(session.account, Criteria(login=username), most=_COUNTED)
        ).number,
        counted=_COUNTED,
        place=place,
        clients=settings_for(place, login.username),
        features=login.features.model_dump(),
        forward_bounces=login.forward_bounces,
        keep_content=login.keep_content,
        test=login.test,
    )


@router.post("/{username}")
async def change(
    username: str, session: SignedIn, fields: Form, credentials: CredentialStore
) -> Response:
    """Change a login."""
    wishes = {
        "name": text(fields, "name").strip()[:_NAME_LENGTH],
        "features": switches(fields).model_dump(),
        "forward_bounces": fields.get("forward_bounces") == "true",
        "keep_content": fields.get("keep_content") == "true",
        "test": fields.get("test") == "true",
        "allowed_networks": list(
            read_networks("allowed_networks", words(fields, "allowed_networks"))
        ),
        "sender_domains": list(read_domains("sender_domains", words(fields, "sender_domains"))),
    }
    await logins.change(credentials, session.account, username, wishes)
    return see_other(f"{_LIST}/{username}", "Saved. It holds for mail from now on.")


@router.post("/{username}/rotate")
async def rotate(
    username: str, session: SignedIn, _: Form, pages: PagesOf, credentials: CredentialStore
) -> Response:
    """Make a new password and show it."""
    login, password = await logins.rotate(credentials, session.account, username)
    return pages.secret(
        "New password", f"{_LIST}/{username}", username=login.username, password=password
    )


@router.post("/{username}/disable")
async def disable(
    username: str, session: SignedIn, _: Form, credentials: CredentialStore
) -> Response:
    """Disable a login."""
    await logins.change(credentials, session.account, username, {"disabled": True})
    return see_other(f"{_LIST}/{username}", "The login is disabled.")


@router.post("/{username}/enable")
async def enable(
    username: str, session: SignedIn, _: Form, credentials: CredentialStore
) -> Response:
    """Enable a login."""
    await logins.change(credentials, session.account, username, {"disabled": False})
    return see_other(f"{_LIST}/{username}", "The login works again.")


@router.post("/{username}/delete")
async def delete(
    username: str, session: SignedIn, _: Form, credentials: CredentialStore
) -> Response:
    """Delete a login."""
    if not await credentials.delete(session.account, username):
        raise not_found("login")
    return see_other(_LIST, f"The login {username} is deleted.")
