"""The list of suppressed addresses: searched, changed, and exchanged as CSV."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from postroad_common.store.suppressions import KINDS, key_of
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import ClockOf, SuppressionStore
from postroad_ingress_http.history.suppressions import (
    add_all,
    read_csv,
    read_entry,
    read_list,
    write_csv,
)
from postroad_ingress_http.http.paging import read_cursor, write_cursor

router = APIRouter(prefix="/dashboard/suppressions", include_in_schema=False)
_LIST = "/dashboard/suppressions"
_PAGE = 40
_FILTERS = ("address", "domain", "kind", "list")


@router.get("")
async def listing(
    request: Request, session: SignedIn, pages: PagesOf, suppressions: SuppressionStore
) -> Response:
    """List the suppressions of the account."""
    query = {name: request.query_params.get(name, "").strip()[:320] for name in _FILTERS}
    position = read_cursor(request.query_params.get("cursor"), str)
    found = await suppressions.list(
        session.account,
        after=position[0] if position else "",
        limit=_PAGE + 1,
        prefix=query["address"],
        domain=query["domain"] or None,
        kind=query["kind"] or None,
        list_name=read_list(query["list"]) if query["list"] else None,
    )
    last = found[_PAGE - 1] if len(found) > _PAGE else None
    return pages.answer(
        "suppressions.html",
        rows=found[:_PAGE],
        cursor=write_cursor(key_of(last.address, last.list)) if last else None,
        query=query,
        kinds=KINDS,
    )


@router.post("")
async def add(
    session: SignedIn, fields: Form, suppressions: SuppressionStore, clock: ClockOf
) -> Response:
    """Suppress an address or a domain."""
    row = {name: text(fields, name) for name in ("address", "reason", "list")}
    await suppressions.add([read_entry(session.account, row, clock())], clock())
    return see_other(_LIST)


@router.post("/import")
async def add_many(
    session: SignedIn,
    fields: Form,
    pages: PagesOf,
    suppressions: SuppressionStore,
    clock: ClockOf,
) -> Response:
    """Suppress the addresses of a CSV, and show what became of it."""
    rows = read_csv(text(fields, "csv"))
    result = await add_all(suppressions, session.account, rows, clock())
    return pages.answer("suppressions_imported.html", result=result)


@router.get("/export")
async def export(session: SignedIn, suppressions: SuppressionStore) -> Response:
    """Download all entries as CSV."""
    parts = write_csv(suppressions, session.account, kind=None, list_name=None)
    headers = {"Content-Disposition": 'attachment; filename="suppressions.csv"'}
    return StreamingResponse(parts, media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/delete")
async def remove(session: SignedIn, fields: Form, suppressions: SuppressionStore) -> Response:
    """Take an address off the list."""
    await suppressions.remove(session.account, text(fields, "address"), text(fields, "list"))
    return see_other(_LIST)
