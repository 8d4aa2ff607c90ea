"""Logging in, with a second factor where there is one, and out."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from postroad_common.store.users import User
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.passwords import network_of
from postroad_ingress_http.dashboard.sessions import SESSION_SECONDS, Sessions
from postroad_ingress_http.dashboard.visitor import (
    SESSION_COOKIE,
    Form,
    PagesOf,
    PasswordsOf,
    SecondFactorOf,
    SecureCookies,
    SessionsOf,
    SignedIn,
    SignOnOf,
    address_of,
)
from postroad_ingress_http.dashboard.visits import (
    VISIT_COOKIE,
    VisitOf,
    set_cookie,
)
from postroad_ingress_http.dependencies import ClockOf, SessionStore, UserStore
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import Fields, read_fields

router = APIRouter(prefix="/dashboard", include_in_schema=False)
VisitorForm = Annotated[Fields, Depends(read_fields)]


@router.get("/login")
async def form(request: Request, visit: VisitOf) -> Response:
    """Show the log-in form."""
    return visit.form("login.html", next=inside(request.query_params.get("next", "")), email="")


@router.post("/login")
async def log_in(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    fields: VisitorForm,
    visit: VisitOf,
    sessions: SessionsOf,
    passwords: PasswordsOf,
    users: UserStore,
    clock: ClockOf,
    secure: SecureCookies,
) -> Response:
    """Begin a session, ask for the second factor, or show the form again with what is wrong."""
    email, password = text(fields, "email").strip(), text(fields, "password")
    target = inside(text(fields, "next"))
    user, error = None, None
    try:
        visit.check(fields)
        user = await passwords.find(email, password, address_of(request))
        if user is None:
            error = ApiError(401, "The address or the password is wrong.")
    except ApiError as refusal:
        error = refusal
    if user is None:
        return visit.form("login.html", next=target, email=email, error=error)
    if user.totp:
        step = sessions.write_step(user, clock())
        return visit.form("login_code.html", next=target, step=step)
    await users.logged_in(user.email, network_of(address_of(request)))
    return await begin_session(request, user, sessions, target, secure=secure)


@router.post("/login/code")
async def second_factor(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    fields: VisitorForm,
    visit: VisitOf,
    sessions: SessionsOf,
    passwords: PasswordsOf,
    factor: SecondFactorOf,
    users: UserStore,
    clock: ClockOf,
    secure: SecureCookies,
) -> Response:
    """Begin a session after the second factor, or ask again."""
    target, step = inside(text(fields, "next")), text(fields, "step")
    try:
        visit.check(fields)
        user = await _user_of(sessions.read_step(step, clock()), users)
    except ApiError as error:
        return visit.form("login.html", next=target, email="", error=error)
    try:
        with passwords.trying(None, f"code {user.email}", address_of(request)) as succeeded:
            right = await factor.check(user, text(fields, "code"))
            if right:
                succeeded()
    except ApiError as error:
        return visit.form("login_code.html", next=target, step=step, error=error)
    if not right:
        wrong = ApiError(401, "This code is not right, or was used before.")
        return visit.form("login_code.html", next=target, step=step, error=wrong)
    await users.logged_in(user.email, network_of(address_of(request)))
    return await begin_session(request, user, sessions, target, secure=secure)


async def _user_of(proof: tuple[str, int] | None, users: UserStore) -> User:
    """Return the user who has given the right password lately.

    Raises:
        ApiError: 403, there is none.
    """
    user = await users.find(proof[0]) if proof else None
    if proof is None or user is None or user.version != proof[1]:
        raise ApiError(403, "That took too long; please begin again.")
    return user


@router.post("/logout")
async def log_out(
    request: Request,
    session: SignedIn,
    _: Form,
    records: SessionStore,
    sign_on: SignOnOf,
    pages: PagesOf,
) -> Response:
    """End the session, whoever has a copy of its cookie; offer to end that at the issuer too."""
    record = await records.find(session.id)
    await records.end(session.email, session.id)
    further = None
    if sign_on is not None and record is not None and record.id_token is not None:
        page = f"{sign_on.base_url or str(request.base_url).rstrip('/')}/dashboard/login"
        further = await sign_on.issuer.leave(page, record.id_token)
    answer: Response = see_other("/dashboard/login", "You are logged out.")
    if further is not None:
        # No redirect: a form leads to no other origin (`form-action`), and who wants to stay logged
        # in at the issuer, as for other programs, may.
        answer = pages.answer("logged_out.html", session=None, further=further)
    answer.delete_cookie(SESSION_COOKIE, path="/")
    return answer


async def begin_session(
    request: Request,
    user: User,
    sessions: Sessions,
    target: str,
    *,
    secure: bool,
    id_token: str | None = None,
) -> Response:
    """Begin a session of the user, and go on to `target` or the overview."""
    answer = RedirectResponse(target or "/dashboard", 303)
    agent = request.headers.get("user-agent", "")
    cookie = await sessions.begin(user, address_of(request), agent, id_token)
    set_cookie(answer, SESSION_COOKIE, cookie, "/", SESSION_SECONDS, secure=secure)
    answer.delete_cookie(VISIT_COOKIE, path="/dashboard")
    return answer


def inside(target: str) -> str:
    """Return `target` if it is a page of the dashboard, else nothing: no redirect leads out."""
    path = target.partition("?")[0]
    found = path == "/dashboard" or path.startswith("/dashboard/")
    return target if found and "\\" not in target and "//" not in path else ""
