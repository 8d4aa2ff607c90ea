"""The list of suppressed addresses."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.store.suppressions import Suppression
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import ClockOf, SuppressionStore
from postroad_ingress_http.history.addresses import read_address
from postroad_ingress_http.http.paging import read_cursor, write_cursor

router = APIRouter(prefix="/dashboard/suppressions", include_in_schema=False)
_PAGE = 40


@router.get("")
async def listing(
    request: Request, session: SignedIn, pages: PagesOf, suppressions: SuppressionStore
) -> Response:
    """List the suppressions of the account."""
    position = read_cursor(request.query_params.get("cursor"), str)
    after = position[0] if position else ""
    found = await suppressions.list(session.account, after=after, limit=_PAGE + 1)
    return pages.answer(
        "suppressions.html",
        rows=found[:_PAGE],
        cursor=write_cursor(found[_PAGE - 1].address) if len(found) > _PAGE else None,
    )


@router.post("")
async def add(
    session: SignedIn, fields: Form, suppressions: SuppressionStore, clock: ClockOf
) -> Response:
    """Suppress an address."""
    entry = Suppression(
        account=session.account,
        address=read_address(text(fields, "address")),
        reason=text(fields, "reason")[:500] or "entered by hand",
        kind="manual",
        created=clock(),
        expires=None,
    )
    await suppressions.add([entry])
    return see_other("/dashboard/suppressions")


@router.post("/delete")
async def remove(session: SignedIn, fields: Form, suppressions: SuppressionStore) -> Response:
    """Take an address off the list."""
    await suppressions.remove(session.account, text(fields, "address"))
    return see_other("/dashboard/suppressions")
