"""The audit log of the account."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.store.audit import AuditEntry
from postroad_ingress_http.dashboard.auditing import KINDS, deed, differences
from postroad_ingress_http.dashboard.times import zone_of
from postroad_ingress_http.dashboard.visitor import PagesOf, SignedIn
from postroad_ingress_http.dependencies import AuditOf
from postroad_ingress_http.http.paging import read_cursor, write_cursor

router = APIRouter(prefix="/dashboard/audit", include_in_schema=False)
_PAGE = 50
_FILTERS = ("noun", "target", "actor")


def _news(entry: AuditEntry) -> Mapping[str, Any] | None:
    """Return what there is after a change; of what was made, without what the row says already."""
    if entry.before or entry.after is None:
        return entry.after
    said = {entry.target, entry.actor.id}
    return {
        name: value
        for name, value in entry.after.items()
        if name != "created" and not (isinstance(value, str) and value in said)
    }


@router.get("")
async def listing(request: Request, session: SignedIn, pages: PagesOf, audit: AuditOf) -> Response:
    """List the changes, the newest first."""
    query = {name: request.query_params.get(name, "")[:320] for name in _FILTERS}
    position = read_cursor(request.query_params.get("cursor"), str)
    before = position[0] if position else None
    found = await audit.list(
        session.account,
        noun=query["noun"],
        target=query["target"],
        actor=query["actor"],
        before=before,
        limit=_PAGE + 1,
    )
    cursor = write_cursor(found[_PAGE - 1].id) if len(found) > _PAGE else None
    zone = zone_of(request.cookies)
    rows = [
        (entry, deed(entry.action), differences(entry.before, _news(entry), zone))
        for entry in found[:_PAGE]
    ]
    return pages.answer("audit.html", rows=rows, cursor=cursor, query=query, kinds=KINDS)
