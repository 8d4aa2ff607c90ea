"""Who visits a page, as dependencies: their session, the form they sent, the pages they get."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from postroad_common.store.audit import Actor, act_as
from postroad_ingress_http.access.identity import Issuer
from postroad_ingress_http.access.scopes import require, scopes_of
from postroad_ingress_http.access.secondfactor import SecondFactor
from postroad_ingress_http.dashboard.clients import SmtpPlace
from postroad_ingress_http.dashboard.frame import Frame
from postroad_ingress_http.dashboard.notes import Note, leave_notice
from postroad_ingress_http.dashboard.passwords import PasswordCheck
from postroad_ingress_http.dashboard.permissions import needed_for
from postroad_ingress_http.dashboard.refused import PAGE_FIELD, Refused, is_page
from postroad_ingress_http.dashboard.sealing import Sealer
from postroad_ingress_http.dashboard.sessions import DashboardSession, Sessions, same
from postroad_ingress_http.dependencies import UserStore
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import Fields, read_fields

SESSION_COOKIE = "postroad_session"
_NOTE_PAGE = "/dashboard/secret"
_UNKNOWN = ApiError(400, "")  # until there is an error


@dataclass(frozen=True, slots=True)
class SignOnPlace:
    """Single sign-on; `sealer` seals what browsers keep meanwhile, `base_url` is ours if known."""

    issuer: Issuer
    sealer: Sealer
    base_url: str | None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The objects of the dashboard; `secure` cookies travel over https only."""

    frame: Frame
    sessions: Sessions
    passwords: PasswordCheck
    second_factor: SecondFactor
    smtp: SmtpPlace
    secure: bool
    sign_on: SignOnPlace | None = None


def _given(read: Callable[[Dashboard], object]) -> Any:
    async def provide(request: Request) -> object:
        return read(request.app.state.dashboard)

    return Depends(provide)


SessionsOf = Annotated[Sessions, _given(lambda its: its.sessions)]
PasswordsOf = Annotated[PasswordCheck, _given(lambda its: its.passwords)]
SecondFactorOf = Annotated[SecondFactor, _given(lambda its: its.second_factor)]
SmtpPlaceOf = Annotated[SmtpPlace, _given(lambda its: its.smtp)]
SignOnOf = Annotated[SignOnPlace | None, _given(lambda its: its.sign_on)]
SecureCookies = Annotated[bool, _given(lambda its: its.secure)]


@dataclass(frozen=True, slots=True)
class Pages:
    """The frame for one request."""

    frame: Frame
    request: Request

    def answer(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Return the page of `template`."""
        return self.frame.answer(self.request, template, status=status, **values)

    def secret(self, heading: str, back: str, **secrets: str) -> Response:
        """Return the redirect to the page that shows secrets once, by their names."""
        answer = RedirectResponse(_NOTE_PAGE, 303)
        named = {name.replace("_", " ").capitalize(): value for name, value in secrets.items()}
        self.frame.notes.leave(answer, Note(heading, back, named))
        return answer


async def _pages(request: Request) -> Pages:
    return Pages(request.app.state.dashboard.frame, request)


PagesOf = Annotated[Pages, Depends(_pages)]


class LogInFirst(Exception):  # noqa: N818 - it is no error
    """The visitor is not logged in; after logging in, `target` is shown.

    `lost`: they had sent a form, with which nothing was done.
    """

    def __init__(self, target: str, *, lost: bool = False) -> None:
        super().__init__(target)
        self.target = target
        self.lost = lost


async def to_log_in(_: Request, error: Exception) -> Response:
    """Answer `LogInFirst`."""
    target = error.target if isinstance(error, LogInFirst) else ""
    query = f"?{urlencode({'next': target}, safe='/')}" if target else ""
    answer = RedirectResponse(f"/dashboard/login{query}", 303)
    if isinstance(error, LogInFirst) and error.lost:
        leave_notice(answer, "You had been logged out, so nothing was done. Log in to go on.")
    return answer


async def current_session(
    request: Request, sessions: SessionsOf, users: UserStore
) -> DashboardSession:
    """Return the session of the visitor, who may do what the page is for.

    Raises:
        LogInFirst: there is none, or its user's password has changed.
        ApiError: 403, the role does not allow it.
    """
    address = address_of(request)
    record = await sessions.find(request.cookies.get(SESSION_COOKIE), address)
    user = await users.find(record.email) if record else None
    if record is None or user is None or user.version != record.version:
        raise await _log_in_first(request)
    away = record.account != user.account
    if away and not user.operator:
        raise LogInFirst("")
    role = "owner" if away else user.role
    scopes = scopes_of(role, operator=user.operator)
    session = DashboardSession(
        id=record.id,
        email=user.email,
        account=record.account,
        home=user.account,
        role=role,
        scopes=scopes,
        csrf=sessions.csrf_of(record.id),
    )
    request.state.session = session
    needed = needed_for(request.url.path, request.method)
    if needed is not None:
        require(scopes, needed, f"Your role ({role})")
    if request.method not in {"GET", "HEAD"}:
        act_as(
            Actor(
                kind="user",
                id=user.email,
                account=record.account,
                address=address,
                request_id=request.state.request_id,
            )
        )
    return session


async def _log_in_first(request: Request) -> LogInFirst:
    """Return where to go on after logging in: the page asked for, or that of the form sent."""
    if request.method in {"GET", "HEAD"}:
        return LogInFirst(f"{request.url.path}?{request.url.query}".rstrip("?"))
    page = (await read_fields(request)).get(PAGE_FIELD)
    return LogInFirst(str(page) if is_page(page) else "", lost=True)


def address_of(request: Request) -> str:
    """Return the network address of the client."""
    return request.client.host if request.client else ""


SignedIn = Annotated[DashboardSession, Depends(current_session)]


async def sent_form(request: Request, session: SignedIn) -> Fields:
    """Return the form that somebody sent who is logged in.

    Raises:
        ApiError: 403, it does not come from our own page.
    """
    fields = await read_fields(request)
    if not same(fields.pop("csrf", None), session.csrf):
        raise ApiError(403, "This form is too old, or not from here. Go back and reload.")
    page = fields.pop(PAGE_FIELD, None)
    if is_page(page):
        request.state.sent = Refused(request.url.path, str(page), fields, _UNKNOWN)
    return fields


Form = Annotated[Fields, Depends(sent_form)]
