"""`/v1/feeds`: where providers send complaints, and those that no message was found for."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from postroad_common.store.tokens import Token
from postroad_ingress_http.access.scopes import allows
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import FeedsOf
from postroad_ingress_http.history.feeds import Owner
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/feeds", tags=["feeds"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]
Writer = Annotated[Token, needs("messages")]
OwnerQuery = Annotated[
    Owner,
    Query(description="`deployment`: what came to no account's address; needs `queues` as well."),
]


class FeedAddressesView(BaseModel):
    """What is entered at providers. `deployment` is null without `queues:read`.

    Those two are secrets: complaints that come there need less proof than those at `open`.
    """

    model_config = ConfigDict(from_attributes=True)

    account: str
    deployment: str | None
    open: str


class ReportView(BaseModel):
    """A report that no message was found for. `type` is empty where it is no complaint.

    `reason` says why, `message` which message it may be about; `client` is the IP address that
    brought it.
    """

    model_config = ConfigDict(from_attributes=True)

    id: str
    received: float
    address: str
    mail_from: str
    client: str
    subject: str
    reason: str
    type: str
    reporter: str
    recipient: str
    feedback_id: str
    message_id: str
    message: str


class WholeReportView(ReportView):
    """The same with the `text` of the mail, 16,000 characters at most."""

    text: str


def _check(token: Token, owner: Owner, needed: str) -> None:
    """Raise ApiError (403) where the token may not see, or change, what is the deployment's."""
    if owner == "deployment" and not allows(token.scopes, needed):
        raise ApiError(403, f"This needs a token with the scope {needed}.")


@router.get("", summary="Addresses for complaints")
async def addresses(token: Reader, feeds: FeedsOf) -> FeedAddressesView:
    """Where to let providers' feedback loops send what their users complain about."""
    deployment = allows(token.scopes, "queues:read")
    return FeedAddressesView.model_validate(feeds.addresses(token.account, deployment=deployment))


@router.get("/reports", summary="List unmatched reports")
async def listing(
    token: Reader,
    feeds: FeedsOf,
    owner: OwnerQuery = "account",
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[ReportView]:
    """Those that no message was found for, and mail that is no complaint; newest first."""
    _check(token, owner, "queues:read")
    position = read_cursor(cursor, str)
    before = position[0] if position else None
    found = await feeds.reports(token.account, owner, before=before, limit=limit + 1)
    return Page(
        items=[ReportView.model_validate(report) for report in found[:limit]],
        cursor=write_cursor(found[limit - 1].id) if len(found) > limit else None,
    )


@router.get("/reports/{report}", summary="One unmatched report")
async def one(
    report: str, token: Reader, feeds: FeedsOf, owner: OwnerQuery = "account"
) -> WholeReportView:
    """With its text."""
    _check(token, owner, "queues:read")
    return WholeReportView.model_validate(await feeds.report(token.account, owner, report))


@router.delete("/reports/{report}", status_code=204, summary="Delete an unmatched report")
async def remove(report: str, token: Writer, feeds: FeedsOf, owner: OwnerQuery = "account") -> None:
    """Once it has been dealt with."""
    _check(token, owner, "queues")
    await feeds.remove(token.account, owner, report)
