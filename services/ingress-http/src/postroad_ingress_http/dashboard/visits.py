"""Visitors who are not logged in: the forms they may send, each with a token of its own."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from postroad_ingress_http.dashboard.sessions import LOGIN_SECONDS, Sessions, same
from postroad_ingress_http.dashboard.visitor import Pages, PagesOf, SecureCookies, SessionsOf
from postroad_ingress_http.dependencies import ClockOf
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import Fields

VISIT_COOKIE = "postroad_visit"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a visitor; `expected` is what their form must carry, if they have one."""

    pages: Pages
    sessions: Sessions
    now: float
    expected: str | None
    secure: bool

    def form(self, template: str, *, error: ApiError | None = None, **values: Any) -> Response:
        """Return the page of `template`, a form with a fresh token, and with what was wrong."""
        cookie, csrf = self.sessions.write_visit(self.now)
        status = error.status if error else 200
        answer = self.pages.answer(template, status=status, csrf=csrf, error=error, **values)
        if error:
            answer.headers.update(error.headers)
        set_cookie(answer, VISIT_COOKIE, cookie, "/dashboard", LOGIN_SECONDS, secure=self.secure)
        return answer

    def check(self, fields: Fields) -> None:
        """Check that a form is one of ours.

        Raises:
            ApiError: 403.
        """
        if not same(fields.get("csrf"), self.expected):
            raise ApiError(403, "The form was too old; please try again.")


async def _visit(
    request: Request, pages: PagesOf, sessions: SessionsOf, clock: ClockOf, secure: SecureCookies
) -> Visit:
    now = clock()
    expected = sessions.read_visit(request.cookies.get(VISIT_COOKIE), now)
    return Visit(pages, sessions, now, expected, secure)


VisitOf = Annotated[Visit, Depends(_visit)]


def set_cookie(
    answer: Response, name: str, value: str, path: str, seconds: int, *, secure: bool
) -> None:
    """Set a cookie that scripts cannot read."""
    answer.set_cookie(
        name, value, max_age=seconds, path=path, secure=secure, httponly=True, samesite="lax"
    )
