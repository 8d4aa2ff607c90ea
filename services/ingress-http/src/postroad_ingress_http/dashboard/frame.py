"""The frame of every page: templates, navigation, security headers, and how errors read."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from postroad_ingress_http.access.scopes import allows
from postroad_ingress_http.dashboard import texts, times
from postroad_ingress_http.dashboard.notes import (
    NOTICE_COOKIE,
    PATH,
    SealedNotes,
    notice_for,
)
from postroad_ingress_http.dashboard.permissions import may_see
from postroad_ingress_http.dashboard.refused import Refused, filled
from postroad_ingress_http.dashboard.sessions import DashboardSession
from postroad_ingress_http.history.explaining import meaning_of_suppression
from postroad_ingress_http.http.errors import ApiError, from_exception
from postroad_ingress_http.http.fields import Fields

_HERE = Path(__file__).parent
_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; frame-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _CSP, "X-Frame-Options": "DENY"}
_HEADINGS = {403: "Not allowed", 404: "Not found", 429: "Too fast", 503: "Not available right now"}
_OF_THE_FORM = frozenset({400, 403, 409, 413, 422, 429, 503})
"""Statuses of refusals after which the form is shown again: to be mended, or sent later."""
NAVIGATION = (
    (
        "Mail",
        (
            ("/dashboard", "Overview"),
            ("/dashboard/messages", "Messages"),
            ("/dashboard/stats", "Statistics"),
            ("/dashboard/jobs", "Jobs"),
            ("/dashboard/templates", "Templates"),
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

    def __init__(
        self, notes: SealedNotes, clock: Callable[[], float], *, sign_on: str = ""
    ) -> None:
        """`sign_on`: what the log-in page calls the identity provider; empty: there is none."""
        self.notes = notes
        self._clock = clock
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["sign_on"] = sign_on
        self._templates.filters |= {
            "iso": texts.iso,
            "when": times.when,
            "in_utc": times.in_utc,
            "from_now": times.from_now,
            "duration": times.duration,
            "for_field": times.for_field,
            "meaning": meaning_of_suppression,
            "octets": texts.octets,
            "program": texts.program,
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
            "page_url": f"{here}?{request.url.query}".rstrip("?"),
            "static": "/dashboard/static",
            "notice": notice_for(request),
            "error": None,
            "feature_texts": texts.FEATURE_TEXTS,
            "time_zone": times.zone_of(request.cookies),
            "page_made": self._clock(),
        }
        html = self._templates.get_template(template).render(**{**page, **values})
        if isinstance(values.get("error"), ApiError) and session:
            asked = Refused(here, here, dict(request.query_params), values["error"], "get")
            html = filled(html, asked) or html
        refused: Refused | None = getattr(request.state, "refused", None)
        if refused is not None:
            html, status = _again(html, refused), refused.error.status
        answer = HTMLResponse(html, status, _HEADERS)
        if page["notice"]:
            answer.delete_cookie(NOTICE_COOKIE, PATH)
        return answer

    def problem(self, app: ASGIApp, scope: Scope, error: ApiError) -> ASGIApp:
        """Return the page that shows `error`: where a form was refused, the page it is on."""
        if error.status == 405 and scope["method"] == "GET" and (above := _above(scope)):
            return RedirectResponse(above, 303)
        refused = getattr(Request(scope).state, "sent", None) or _search(scope, error)
        if error.status not in _OF_THE_FORM or not isinstance(refused, Refused):
            return self._problem(scope, error)
        refused = replace(refused, error=error)

        async def again(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(_visit(scope, refused), receive, send)
            except Exception as fault:
                if from_exception(fault) is None:
                    raise
                await self._problem(scope, error)(scope, receive, send)

        return again

    def _problem(self, scope: Scope, error: ApiError) -> ASGIApp:
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


def _search(scope: Scope, error: ApiError) -> Refused | None:
    """Return the search on a page of the menu that was refused for one of its fields."""
    pages = {path for _, links in NAVIGATION for path, _ in links}
    if scope["method"] != "GET" or not error.field or scope["path"] not in pages:
        return None
    asked = parse_qsl(scope["query_string"].decode("latin-1"))
    others = urlencode([(name, value) for name, value in asked if name != error.field])
    fields: Fields = {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") for name, value in asked
    }
    return Refused(scope["path"], f"{scope['path']}?{others}", fields, error, "get")


def _above(scope: Scope) -> str:
    """Return the nearest page above an address that only forms are sent to; empty: none."""
    parts = scope["path"].split("/")
    for length in range(len(parts) - 1, 1, -1):
        path = "/".join(parts[:length])
        asked = {**scope, "path": path}
        if any(route.matches(asked)[0] is Match.FULL for route in scope["app"].routes):
            return quote(path)
    return ""


def _again(html: str, refused: Refused) -> str:
    """Return the page with the form that was refused.

    Raises:
        ApiError: the page has no such form, so the error has no place on it.
    """
    again = filled(html, refused)
    if again is None:
        raise refused.error
    return again


def _visit(scope: Scope, refused: Refused) -> Scope:
    """Return the scope of a visit to the page of a form that was refused."""
    path, _, query = refused.page.partition("?")
    kept = ("type", "asgi", "http_version", "scheme", "server", "client", "root_path")
    return {
        **{name: scope[name] for name in kept if name in scope},
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode("ascii", "replace"),
        "query_string": query.encode("ascii", "replace"),
        "headers": [item for item in scope["headers"] if not item[0].startswith(b"content-")],
        "state": {**scope["state"], "refused": refused, "sent": None},
    }


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
