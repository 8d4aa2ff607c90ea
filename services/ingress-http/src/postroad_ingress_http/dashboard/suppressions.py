"""The list of suppressed addresses: searched, changed, and exchanged as CSV."""

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from postroad_common.store.suppressions import KINDS, Suppression, key_of
from postroad_ingress_http.dashboard.forms import see_other, text
from postroad_ingress_http.dashboard.notes import NOTE_COOKIE, PATH, Note
from postroad_ingress_http.dashboard.times import read_local, zone_of
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import ClockOf, SuppressionStore
from postroad_ingress_http.history.suppressions import (
    GIVEN_KINDS,
    add_all,
    read_csv,
    read_entry,
    read_list,
    write_csv,
)
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.paging import read_cursor, write_cursor

router = APIRouter(prefix="/dashboard/suppressions", include_in_schema=False)
_LIST = "/dashboard/suppressions"
_PAGE = 40
_SHOWN_PROBLEMS, _SHOWN_ADDRESS, _SHOWN_PROBLEM = 15, 60, 100  # what a cookie has room for
_FILTERS = ("address", "domain", "kind", "list")


@router.get("")
async def listing(
    request: Request, session: SignedIn, pages: PagesOf, suppressions: SuppressionStore
) -> Response:
    """List the suppressions of the account."""
    query = {name: request.query_params.get(name, "").strip()[:320] for name in _FILTERS}
    position = read_cursor(request.query_params.get("cursor"), str)
    error = None
    found: list[Suppression] = []
    try:
        list_name = read_list(query["list"]) if query["list"] else None
    except ApiError as caught:
        error = caught
    else:
        found = await suppressions.list(
            session.account,
            after=position[0] if position else "",
            limit=_PAGE + 1,
            prefix=query["address"],
            domain=query["domain"] or None,
            kind=query["kind"] or None,
            list_name=list_name,
        )
    last = found[_PAGE - 1] if len(found) > _PAGE else None
    return pages.answer(
        "suppressions.html",
        status=error.status if error else 200,
        error=error,
        rows=found[:_PAGE],
        cursor=write_cursor(key_of(last.address, last.list)) if last else None,
        query=query,
        kinds=KINDS,
        given_kinds=GIVEN_KINDS,
    )


@router.post("")
async def add(
    request: Request,
    session: SignedIn,
    fields: Form,
    suppressions: SuppressionStore,
    clock: ClockOf,
) -> Response:
    """Suppress an address or a domain."""
    row = {name: text(fields, name) for name in ("address", "reason", "list", "kind")}
    entry = read_entry(session.account, row, clock())
    expires = read_local("expires", text(fields, "expires"), zone_of(request.cookies))
    if expires is not None and expires <= clock():
        raise bad_field("expires", "This time is past.")
    await suppressions.add([replace(entry, expires=expires)], clock())
    return see_other(_LIST, f"{entry.address} is suppressed.")


@router.post("/import")
async def add_many(
    session: SignedIn,
    fields: Form,
    pages: PagesOf,
    suppressions: SuppressionStore,
    clock: ClockOf,
) -> Response:
    """Suppress the addresses of a CSV, and go on to what became of it."""
    rows = read_csv(text(fields, "csv"))
    result = await add_all(suppressions, session.account, rows, clock())
    told = f"{result.added:,} address{'' if result.added == 1 else 'es'} suppressed"
    if not result.refused:
        return see_other(_LIST, f"{told}.")
    refused = {
        f"Row {number}: {address[:_SHOWN_ADDRESS]}": problem[:_SHOWN_PROBLEM]
        for number, address, problem in result.problems[:_SHOWN_PROBLEMS]
    }
    answer = see_other(f"{_LIST}/imported")
    pages.frame.notes.leave(answer, Note(f"{told}, {result.refused:,} refused", _LIST, refused))
    return answer


@router.get("/imported")
async def imported(_: SignedIn, pages: PagesOf) -> Response:
    """Show which rows of the last import were refused, and why."""
    note = pages.frame.notes.open(pages.request)
    if note is None:
        return see_other(_LIST)
    answer = pages.answer("suppressions_imported.html", note=note)
    answer.delete_cookie(NOTE_COOKIE, PATH)
    return answer


@router.get("/export")
async def export(request: Request, session: SignedIn, suppressions: SuppressionStore) -> Response:
    """Download the entries as CSV: all, or those of a kind and list."""
    kind, list_name = (request.query_params.get(name, "")[:320] for name in ("kind", "list"))
    parts = write_csv(
        suppressions,
        session.account,
        kind=kind or None,
        list_name=read_list(list_name) if list_name else None,
    )
    headers = {"Content-Disposition": 'attachment; filename="suppressions.csv"'}
    return StreamingResponse(parts, media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/delete")
async def remove(session: SignedIn, fields: Form, suppressions: SuppressionStore) -> Response:
    """Take an address off the list."""
    address = text(fields, "address")
    await suppressions.remove(session.account, address, text(fields, "list"))
    return see_other(_LIST, f"{address} is taken off the list.")
