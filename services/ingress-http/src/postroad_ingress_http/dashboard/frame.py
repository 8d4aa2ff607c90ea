"""The frame of every page: templates, navigation, security headers, and how errors read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from postroad_ingress_http.access.scopes import allows
from postroad_ingress_http.dashboard import texts
from postroad_ingress_http.dashboard.permissions import may_see
from postroad_ingress_http.dashboard.sessions import DashboardSession
from postroad_ingress_http.http.errors import ApiError

_HERE = Path(__file__).parent
_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _CSP, "X-Frame-Options": "DENY"}
_HEADINGS = {403: "Not allowed", 404: "Not found", 429: "Too fast", 503: "Not available right now"}
NAVIGATION = (
    (
        "Mail",
        (
            ("/dashboard", "Overview"),
            ("/dashboard/messages", "Messages"),
            ("/dashboard/jobs", "Jobs"),
            ("/dashboard/bounces", "Bounces"),
            ("/dashboard/suppressions", "Suppressions"),
            ("/dashboard/feeds", "Complaint feeds"),
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
        "Account",
        (
            ("/dashboard/users", "Users"),
            ("/dashboard/account", "Account"),
            ("/dashboard/start", "First steps"),
            ("/dashboard/audit", "Audit log"),
            ("/dashboard/accounts", "All accounts"),
        ),
    ),
    (
        "Delivery",
        (
            ("/dashboard/lanes", "Lanes"),
            ("/dashboard/queues", "Queues"),
            ("/docs", "API reference"),
        ),
    ),
)


class Frame:
    """Renders templates; `request.state.session` is who is logged in, if anybody is."""

    def __init__(self) -> None:
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
            "with_filter": texts.with_filter,
        }

    def answer(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Return the page; `values` beside those that every page has."""
        here = request.url.path
        session: DashboardSession | None = getattr(request.state, "session", None)
        scopes = session.scopes if session else ()
        page = {
            "session": session,
            "can": lambda scope: allows(scopes, scope),
            "navigation": navigation(scopes),
            "here": "/".join(here.split("/")[:3]),
            "static": "/dashboard/static",
            "notice": None,
            "error": None,
            "feature_texts": texts.FEATURE_TEXTS,
        }
        html = self._templates.get_template(template).render(**{**page, **values})
        return HTMLResponse(html, status, _HEADERS)

    def problem(self, scope: Scope, error: ApiError) -> ASGIApp:
        """Return the page that shows `error`."""
        answer = self.answer(
            Request(scope),
            "problem.html",
            status=error.status,
            problem=error,
            heading=_HEADINGS.get(error.status, "That did not work"),
            request_id=scope["state"]["request_id"],
        )
        answer.headers.update(error.headers)
        return answer


def navigation(scopes: Iterable[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the links, in groups, of the pages that somebody with `scopes` may see."""
    held = tuple(scopes)
    seen = [
        (group, [(path, label) for path, label in links if may_see(held, path)])
        for group, links in NAVIGATION
    ]
    return [(group, links) for group, links in seen if links]


class StaticPages(StaticFiles):
    """Style sheet, script and icon, cached by browsers for an hour."""

    def __init__(self) -> None:
        super().__init__(directory=_HERE / "static")

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Add to the file the time it may be kept."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "public, max-age=3600"
        return answer
