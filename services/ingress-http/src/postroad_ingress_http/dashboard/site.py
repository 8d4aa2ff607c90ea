"""The frame of the dashboard: rendering, the session in front of every page, forms, errors."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from postroad_common.schemas.features import Features
from postroad_common.secrets import DUMMY_HASH, verify_password
from postroad_common.store.accounts import User
from postroad_common.tokens import Keyring
from postroad_ingress_http.authentication import too_many
from postroad_ingress_http.buckets import Buckets
from postroad_ingress_http.dashboard import texts
from postroad_ingress_http.dashboard.sessions import (
    LOGIN_SECONDS,
    SESSION_SECONDS,
    Session,
    Sessions,
    same,
)
from postroad_ingress_http.errors import ApiError
from postroad_ingress_http.fields import Fields, read_fields, require_text
from postroad_ingress_http.parts import Parts

_HERE = Path(__file__).parent.parent
_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SESSION_COOKIE = "postroad_session"
_VISIT_COOKIE = "postroad_visit"
_LONGEST_PASSWORD = 1024
_HEADINGS = {403: "Not allowed", 404: "Not found", 429: "Too fast", 503: "Not available right now"}
NAVIGATION = (
    (
        "Mail",
        (
            ("/dashboard", "Overview"),
            ("/dashboard/messages", "Messages"),
            ("/dashboard/bounces", "Bounces"),
            ("/dashboard/suppressions", "Suppressions"),
        ),
    ),
    (
        "Access",
        (
            ("/dashboard/logins", "SMTP logins"),
            ("/dashboard/tokens", "REST tokens"),
            ("/dashboard/webhooks", "Webhooks"),
            ("/dashboard/domains", "Sender domains"),
        ),
    ),
    (
        "Engine",
        (
            ("/dashboard/lanes", "Lanes"),
            ("/dashboard/queues", "Queues"),
            ("/docs", "API reference"),
        ),
    ),
)

Page = Callable[[Request, Session], Awaitable[Response]]
Action = Callable[[Request, Session, Fields], Awaitable[Response]]


class Dashboard:
    """Renders pages and guards them. The pages themselves are in the modules beside this one."""

    def __init__(self, parts: Parts, keyring: Keyring, *, failures: Buckets, secure: bool) -> None:
        self.parts = parts
        self._sessions = Sessions(keyring)
        self._failures = failures
        self._secure = secure
        self._hashing = asyncio.Semaphore(2)  # argon2 is meant to be slow; leave the rest alone
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "iso": texts.iso,
            "when": texts.when,
            "octets": texts.octets,
            "feature_labels": texts.feature_labels,
            "with_cursor": texts.with_cursor,
        }
        self.page_headers = {"Content-Security-Policy": _CSP, "X-Frame-Options": "DENY"}

    def routes(self) -> list[BaseRoute]:
        """The style sheet, logging in and logging out."""
        return [
            Mount("/dashboard/static", _Static(directory=_HERE / "static")),
            Route("/dashboard/login", self._login_page, methods=["GET"]),
            Route("/dashboard/login", self._login, methods=["POST"]),
            self.action("/logout", self._logout),
        ]

    def page(self, path: str, handler: Page) -> Route:
        """A page for those who are logged in."""

        async def endpoint(request: Request) -> Response:
            session = await self._session(request)
            if session is None:
                target = request.url.path
                return RedirectResponse(f"/dashboard/login?next={target}", 303)
            request.state.session = session
            return await handler(request, session)

        return Route(f"/dashboard{path}", endpoint, methods=["GET"])

    def action(self, path: str, handler: Action) -> Route:
        """A form that somebody sent who is logged in; what it asks for comes from our own page."""

        async def endpoint(request: Request) -> Response:
            session = await self._session(request)
            if session is None:
                return RedirectResponse("/dashboard/login", 303)
            request.state.session = session
            fields = await read_fields(request)
            if not same(fields.pop("csrf", None), session.csrf):
                raise ApiError(403, "This form is too old, or not from here. Go back and reload.")
            return await handler(request, session, fields)

        return Route(f"/dashboard{path}", endpoint, methods=["POST"])

    def render(self, request: Request, template: str, **values: Any) -> str:
        """The page as HTML; `values` beside those that every page has."""
        session = getattr(request.state, "session", None)
        here = request.url.path
        frame = {
            "session": session,
            "navigation": NAVIGATION,
            "here": "/".join(here.split("/")[:3]),
            "static": "/dashboard/static",
            "notice": None,
            "error": None,
            "feature_texts": texts.FEATURE_TEXTS,
        }
        return self._templates.get_template(template).render(**{**frame, **values})

    def answer(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """The page as an answer."""
        return HTMLResponse(self.render(request, template, **values), status, self.page_headers)

    def problem(self, scope: Scope, error: ApiError) -> ASGIApp:
        """The page that shows `error`."""
        request = Request(scope)
        answer = self.answer(
            request,
            "problem.html",
            status=error.status,
            problem=error,
            heading=_HEADINGS.get(error.status, "That did not work"),
            request_id=scope["state"]["request_id"],
        )
        answer.headers.update(error.headers)
        return answer

    async def _session(self, request: Request) -> Session | None:
        session = self._sessions.read(request.cookies.get(_SESSION_COOKIE), self.parts.clock())
        if session is None:
            return None
        user = await self.parts.database.users.find(session.email)
        if user is None or (user.version, user.account) != (session.version, session.account):
            return None
        return session

    async def _login_page(self, request: Request) -> Response:
        return self._login_form(request, _inside(request.query_params.get("next", "")))

    def _login_form(
        self, request: Request, target: str, *, email: str = "", error: ApiError | None = None
    ) -> Response:
        cookie, csrf = self._sessions.write_visit(self.parts.clock())
        answer = self.answer(
            request,
            "login.html",
            status=error.status if error else 200,
            csrf=csrf,
            next=target,
            email=email,
            error=error,
        )
        if error:
            answer.headers.update(error.headers)
        self._set_cookie(answer, _VISIT_COOKIE, cookie, LOGIN_SECONDS)
        return answer

    async def _login(self, request: Request) -> Response:
        fields = await read_fields(request)
        email, password = text(fields, "email").strip(), text(fields, "password")
        target = _inside(text(fields, "next"))
        expected = self._sessions.read_visit(request.cookies.get(_VISIT_COOKIE), self.parts.clock())
        if not same(fields.get("csrf"), expected):
            error = ApiError(403, "The form was too old; please try again.")
            return self._login_form(request, target, email=email, error=error)
        now = time.monotonic()
        address = f"address {request.client.host if request.client else ''}"
        for key in (address, f"name {email.lower()[:320]}"):
            verdict = self._failures.look(key, now)
            if not verdict.allowed:
                error = too_many(verdict, "failed log-ins")
                return self._login_form(request, target, email=email, error=error)
        user = await self._check(email, password)
        if user is None:
            self._failures.take(address, now)
            self._failures.take(f"name {email.lower()[:320]}", now)
            error = ApiError(401, "The address or the password is wrong.")
            return self._login_form(request, target, email=email, error=error)
        answer = RedirectResponse(target or "/dashboard", 303)
        cookie = self._sessions.write(user.email, user.account, user.version, self.parts.clock())
        self._set_cookie(answer, _SESSION_COOKIE, cookie, SESSION_SECONDS)
        answer.delete_cookie(_VISIT_COOKIE, path="/dashboard")
        return answer

    async def _check(self, email: str, password: str) -> User | None:
        user = await self.parts.database.users.find(email) if email else None
        stored = user.password_hash if user else DUMMY_HASH
        async with self._hashing:
            right = await asyncio.to_thread(verify_password, stored, password[:_LONGEST_PASSWORD])
        return user if right else None

    async def _logout(self, _: Request, __: Session, ___: Fields) -> Response:
        answer = RedirectResponse("/dashboard/login", 303)
        answer.delete_cookie(_SESSION_COOKIE, path="/")
        return answer

    def _set_cookie(self, answer: Response, name: str, value: str, seconds: int) -> None:
        answer.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/" if name == _SESSION_COOKIE else "/dashboard",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )


class _Static(StaticFiles):
    """Files of the package, cached by browsers for an hour."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As usual, and with the time it may be kept."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "public, max-age=3600"
        return answer


def text(fields: Fields, name: str) -> str:
    """The field `name` of a form as text, empty when it was not sent.

    Raises:
        ApiError: 400, it is not text.
    """
    value = fields.get(name, "")
    return require_text(name, value) if isinstance(value, str) else ""


def texts_of(fields: Fields, name: str) -> list[str]:
    """The values of the check boxes `name[]`."""
    value = fields.get(name, [])
    values = value if isinstance(value, list) else [value]
    return [require_text(name, item) for item in values if isinstance(item, str)]


def switches(fields: Fields) -> Features:
    """The features whose switches are on."""
    return Features(**{name: fields.get(name) == "true" for name, _, _ in texts.FEATURE_TEXTS})


def _inside(target: str) -> str:
    """`target` if it is a page of the dashboard, else nothing: no redirect leads elsewhere."""
    inside = target == "/dashboard" or target.startswith("/dashboard/")
    return target if inside and "\\" not in target and "//" not in target else ""


def see_other(path: str) -> Response:
    """The answer to a form that worked."""
    return RedirectResponse(path, 303)
