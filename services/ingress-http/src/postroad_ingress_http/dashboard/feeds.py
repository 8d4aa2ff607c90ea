"""The complaint feeds: the addresses for providers, and what no message was found for."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_ingress_http.access.scopes import allows
from postroad_ingress_http.dashboard.forms import see_other
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import FeedsOf
from postroad_ingress_http.history.feeds import Owner
from postroad_ingress_http.http.paging import read_cursor, write_cursor

router = APIRouter(prefix="/dashboard/feeds", include_in_schema=False)
_PAGE = 40


@router.get("")
async def listing(request: Request, session: SignedIn, pages: PagesOf, feeds: FeedsOf) -> Response:
    """Show the addresses and list the account's unmatched reports."""
    return await _list(request, session, pages, feeds, "account")


@router.get("/deployment")
async def of_deployment(
    request: Request, session: SignedIn, pages: PagesOf, feeds: FeedsOf
) -> Response:
    """List the reports that belong to no account."""
    return await _list(request, session, pages, feeds, "deployment")


async def _list(
    request: Request, session: SignedIn, pages: PagesOf, feeds: FeedsOf, owner: Owner
) -> Response:
    position = read_cursor(request.query_params.get("cursor"), str)
    before = position[0] if position else None
    found = await feeds.reports(session.account, owner, before=before, limit=_PAGE + 1)
    return pages.answer(
        "feeds.html",
        owner=owner,
        addresses=feeds.addresses(
            session.account, deployment=allows(session.scopes, "queues:read")
        ),
        rows=found[:_PAGE],
        cursor=write_cursor(found[_PAGE - 1].id) if len(found) > _PAGE else None,
    )


@router.get("/{owner}/{report}")
async def one(
    owner: Owner, report: str, session: SignedIn, pages: PagesOf, feeds: FeedsOf
) -> Response:
    """Show one report with its text."""
    found = await feeds.report(session.account, owner, report)
    return pages.answer("feed.html", owner=owner, report=found)


@router.post("/{owner}/{report}/delete")
async def remove(owner: Owner, report: str, session: SignedIn, _: Form, feeds: FeedsOf) -> Response:
    """Delete one report."""
    await feeds.remove(session.account, owner, report)
    back = "/dashboard/feeds" + ("/deployment" if owner == "deployment" else "")
    return see_other(back, "The report is deleted.")
