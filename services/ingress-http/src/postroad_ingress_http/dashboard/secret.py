"""The page that shows secrets once: of a new login, token, webhook or link."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_ingress_http.dashboard.notes import NOTE_COOKIE, PATH, Note
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn

router = APIRouter(prefix="/dashboard/secret", include_in_schema=False)


@router.get("")
async def once(request: Request, _: SignedIn, pages: PagesOf) -> Response:
    """Show what the act before has made; a reload shows it no more."""
    note = pages.frame.notes.open(request) or Note("Shown already", "/dashboard", {})
    answer = pages.answer("secret.html", note=note)
    answer.delete_cookie(NOTE_COOKIE, PATH)
    return answer
