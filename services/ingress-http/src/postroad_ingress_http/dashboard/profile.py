"""What users do with their own log-in: password, second factor, sessions."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.store.users import User
from postroad_ingress_http.access.secondfactor import SecondFactor
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.notes import Note
from postroad_ingress_http.dashboard.sessions import SESSION_SECONDS, DashboardSession
from postroad_ingress_http.dashboard.visitor import (
    SESSION_COOKIE,
    Form,
    PagesOf,
    PasswordsOf,
    SecondFactorOf,
    SecureCookies,
    SessionsOf,
    SignedIn,
    address_of,
)
from postroad_ingress_http.dashboard.visits import set_cookie
from postroad_ingress_http.dependencies import SessionStore, UsersOf, UserStore
from postroad_ingress_http.http.errors import ApiError, bad_field

router = APIRouter(prefix="/dashboard/profile", include_in_schema=False)
_PAGE = "/dashboard/profile"
_FACTOR = "Second factor"


@router.get("")
async def profile(
    session: SignedIn, pages: PagesOf, users: UserStore, records: SessionStore
) -> Response:
    """Show the user with their sessions."""
    user = await _own(session, users)
    return pages.answer("profile.html", user=user, sessions=await records.list(user.email))


@router.post("/password")
async def change_password(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    fields: Form,
    users: UsersOf,
    store: UserStore,
    passwords: PasswordsOf,
    sessions: SessionsOf,
    secure: SecureCookies,
) -> Response:
    """Change the password, which ends all other sessions and begins this one anew."""
    user = await _proved(request, session, fields, passwords)
    await users.set_password(user, text(fields, "new_password"), session=session.id)
    return await _go_on(request, await _own(session, store), sessions, secure=secure)


@router.post("/factor")
async def propose_factor(
    session: SignedIn, _: Form, pages: PagesOf, factor: SecondFactorOf
) -> Response:
    """Make the secret of a second factor, and go on to its page."""
    secret, _uri = factor.propose(session.email)
    answer = see_other(f"{_PAGE}/factor/new", "It is switched on once a code confirms it.")
    pages.frame.notes.leave(answer, Note(_FACTOR, _PAGE, {"secret": secret}))
    return answer


@router.get("/factor/new")
async def show_factor(session: SignedIn, pages: PagesOf) -> Response:
    """Show the secret of a second factor, to be confirmed by a code."""
    note = pages.frame.notes.open(pages.request)
    if note is None or note.heading != _FACTOR:
        return see_other(_PAGE)
    secret = note.secrets["secret"]
    uri = SecondFactor.uri(session.email, secret)
    answer = pages.answer("factor.html", secret=secret, uri=uri, picture=SecondFactor.draw(uri))
    pages.frame.notes.leave(answer, note)  # for another try after a wrong code
    return answer


@router.post("/factor/enable")
async def enable_factor(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    fields: Form,
    pages: PagesOf,
    factor: SecondFactorOf,
    passwords: PasswordsOf,
    sessions: SessionsOf,
    users: UserStore,
    secure: SecureCookies,
) -> Response:
    """Switch the second factor on, and show the codes for its loss."""
    await _proved(request, session, fields, passwords)
    secret = text(fields, "secret")[:64].upper()
    codes = await factor.enable(session.email, secret, text(fields, "code").replace(" ", ""))
    if codes is None:
        raise bad_field("code", "This code is not right: is the clock of the device?")
    named = {f"code_{number}": code for number, code in enumerate(codes, 1)}
    answer = pages.secret("Second factor switched on", _PAGE, **named)
    began = await _go_on(request, await _own(session, users), sessions, secure=secure)
    answer.raw_headers.extend(item for item in began.raw_headers if item[0] == b"set-cookie")
    return answer


@router.post("/factor/disable")
async def disable_factor(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    fields: Form,
    factor: SecondFactorOf,
    passwords: PasswordsOf,
    sessions: SessionsOf,
    users: UserStore,
    secure: SecureCookies,
) -> Response:
    """Switch the second factor off."""
    await _proved(request, session, fields, passwords)
    await factor.disable(session.email)
    return await _go_on(request, await _own(session, users), sessions, secure=secure)


@router.post("/sessions/end")
async def end_session(session: SignedIn, fields: Form, records: SessionStore) -> Response:
    """End one session of the user."""
    await records.end(session.email, text(fields, "session"))
    return see_other(_PAGE, "That session is ended.")


@router.post("/sessions/end-all")
async def end_all(session: SignedIn, _: Form, records: SessionStore) -> Response:
    """Log out everywhere, here too."""
    await records.end_all(session.email)
    answer = see_other("/dashboard/login", "You are logged out everywhere.")
    answer.delete_cookie(SESSION_COOKIE, path="/")
    return answer


async def _own(session: DashboardSession, users: UserStore) -> User:
    user = await users.find(session.email)
    if user is None:
        raise ApiError(403, "This user was removed.")
    return user


async def _proved(
    request: Request, session: DashboardSession, fields: Form, passwords: PasswordsOf
) -> User:
    """Return the user, who has given their password once more.

    Raises:
        ApiError: 400, it is wrong; 429, too often.
    """
    user = await passwords.find(session.email, text(fields, "password"), address_of(request))
    if user is None:
        raise ApiError(400, "The password is wrong.", field="password")
    return user


async def _go_on(request: Request, user: User, sessions: SessionsOf, *, secure: bool) -> Response:
    """Begin a new session for a user whose password or second factor has changed."""
    answer = see_other(_PAGE, "Changed. Your other sessions are ended.")
    agent = request.headers.get("user-agent", "")
    cookie = await sessions.begin(user, address_of(request), agent)
    set_cookie(answer, SESSION_COOKIE, cookie, "/", SESSION_SECONDS, secure=secure)
    return answer
