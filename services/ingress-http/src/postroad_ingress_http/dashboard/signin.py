"""Logging in and out."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.sessions import (
    LOGIN_SECONDS,
    SESSION_SECONDS,
    Sessions,
    same,
)
from postroad_ingress_http.dashboard.visitor import (
    SESSION_COOKIE,
    Form,
    Pages,
    PagesOf,
    PasswordsOf,
    SecureCookies,
    SessionsOf,
)
from postroad_ingress_http.dependencies import Clock, ClockOf
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import Fields, read_fields

VISIT_COOKIE = "postroad_visit"
router = APIRouter(prefix="/dashboard", include_in_schema=False)


@router.get("/login")
async def form(
    request: Request, pages: PagesOf, sessions: SessionsOf, clock: ClockOf, secure: SecureCookies
) -> Response:
    """Show the log-in form."""
    target = inside(request.query_params.get("next", ""))
    return _form(pages, sessions, clock, target, secure=secure)


@router.post("/login")
async def log_in(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    fields: Annotated[Fields, Depends(read_fields)],
    pages: PagesOf,
    sessions: SessionsOf,
    passwords: PasswordsOf,
    clock: ClockOf,
    secure: SecureCookies,
) -> Response:
    """Begin a session, or show the form again with what is wrong."""
    email, password = text(fields, "email").strip(), text(fields, "password")
    target = inside(text(fields, "next"))
    expected = sessions.read_visit(request.cookies.get(VISIT_COOKIE), clock())
    address = request.client.host if request.client else ""
    user, error = None, None
    try:
        if not same(fields.get("csrf"), expected):
            error = ApiError(403, "The form was too old; please try again.")
        elif (user := await passwords.find(email, password, address)) is None:
            error = ApiError(401, "The address or the password is wrong.")
    except ApiError as refusal:
        error = refusal
    if user is None:
        return _form(pages, sessions, clock, target, secure=secure, email=email, error=error)
    answer = RedirectResponse(target or "/dashboard", 303)
    cookie = sessions.write(user.email, user.account, user.version, clock())
    _set_cookie(answer, SESSION_COOKIE, cookie, "/", SESSION_SECONDS, secure=secure)
    answer.delete_cookie(VISIT_COOKIE, path="/dashboard")
    return answer


@router.post("/logout")
async def log_out(_: Form) -> Response:
    """End the session in this browser."""
    answer = see_other("/dashboard/login")
    answer.delete_cookie(SESSION_COOKIE, path="/")
    return answer


def inside(target: str) -> str:
    """Return `target` if it is a page of the dashboard, else nothing: no redirect leads out."""
    found = target == "/dashboard" or target.startswith("/dashboard/")
    return target if found and "\\" not in target and "//" not in target else ""


def _form(
    pages: Pages,
    sessions: Sessions,
    clock: Clock,
    target: str,
    *,
    secure: bool,
    email: str = "",
    error: ApiError | None = None,
) -> Response:
    cookie, csrf = sessions.write_visit(clock())
    answer = pages.answer(
        "login.html",
        status=error.status if error else 200,
        csrf=csrf,
        next=target,
        email=email,
        error=error,
    )
    if error:
        answer.headers.update(error.headers)
    _set_cookie(answer, VISIT_COOKIE, cookie, "/dashboard", LOGIN_SECONDS, secure=secure)
    return answer


def _set_cookie(
    answer: Response, name: str, value: str, path: str, seconds: int, *, secure: bool
) -> None:
    answer.set_cookie(
        name, value, max_age=seconds, path=path, secure=secure, httponly=True, samesite="lax"
    )
