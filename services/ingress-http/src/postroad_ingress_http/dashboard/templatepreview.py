"""The preview of a template that is being written: filled on the server, shown in a frame.

The form of the editor is posted into the frame, so it needs no script; with one, the page posts it
again while somebody types.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from postroad_ingress_http.dashboard.forms import text
from postroad_ingress_http.dashboard.mailtemplates import content_in, read_data
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import PersonaliserOf
from postroad_ingress_http.history import preview
from postroad_ingress_http.history.content import MailContent
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.fields import Fields, beside_the_loop

router = APIRouter(prefix="/dashboard/templates", include_in_schema=False)
_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; font-src data:; img-src data:; "
    "frame-src 'self'; frame-ancestors 'self'"
)
_READER = "ann@example.com"
_AROUND = 2  # lines shown before and after that of an error


@router.post("/preview")
async def show(
    session: SignedIn, fields: Form, pages: PagesOf, personaliser: PersonaliserOf
) -> Response:
    """Show what the form would become with its data, or where it is wrong."""
    values: dict[str, Any] = {"problem": None, "filled": None, "html": None, "excerpt": ()}
    try:
        content = content_in(fields, {})
        known = {"recipient": _READER, "envelope": "", **read_data(fields)}
        filled = await personaliser.fill(session.account, content, known)
        values |= {
            "filled": filled,
            "html": await beside_the_loop(_size(filled), _framed, filled),
        }
    except ApiError as problem:
        values |= {"problem": problem, "excerpt": _excerpt(fields, problem)}
    page = pages.answer("template_preview.html", **values)
    return HTMLResponse(
        page.body,
        headers={
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _size(filled: Mapping[str, Any]) -> int:
    return sum(len(value) for value in filled.values() if isinstance(value, str | bytes))


def _framed(filled: Mapping[str, Any]) -> str | None:
    """Return the page for the HTML of a filled template; None where it has none."""
    if mime := filled.get("mime"):
        raw = mime if isinstance(mime, bytes) else str(mime).encode("utf-8", "replace")
        content = MailContent(raw)
        return preview.guarded(content.html) if content.html else None
    html = filled.get("html")
    return preview.guarded(html) if html else None


def _excerpt(fields: Fields, problem: ApiError) -> list[tuple[int, str, bool]]:
    """Return the lines around an error: number, text, and whether it is the one."""
    line = problem.details.get("line")
    if not problem.field or not isinstance(line, int):
        return []
    source = fields.get(problem.field)
    if not isinstance(source, str):
        return []
    lines = text(fields, problem.field).splitlines()
    first = max(1, line - _AROUND)
    shown = lines[first - 1 : line + _AROUND]
    return [(number, each[:300], number == line) for number, each in enumerate(shown, first)]
