"""`/v1/audit`: who changed what, when, from where, before and after."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import AuditOf
from postroad_ingress_http.http.moments import Moment, read_moment
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    SearchText,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/audit", tags=["audit"], responses=REFUSALS)
Noun = Annotated[str | None, Query(max_length=40, description="Such as `credentials`.")]


class ActorView(BaseModel):
    """Who made the change: a user by address, a token by its id, a link by whom it was for."""

    model_config = ConfigDict(from_attributes=True)

    kind: str
    id: str
    name: str
    address: str
    request_id: str


class AuditView(BaseModel):
    """A change. `before` and `after` have what differs; secrets are left out."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    time: float
    actor: ActorView
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@router.get("", summary="List changes")
async def listing(  # noqa: PLR0917 - FastAPI passes them by name
    token: Annotated[Token, needs("audit:read")],
    audit: AuditOf,
    noun: Noun = None,
    target: SearchText = None,
    actor: SearchText = None,
    start: Moment = None,
    end: Moment = None,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[AuditView]:
    """Newest first; kept for 400 days."""
    position = read_cursor(cursor, str)
    found = await audit.list(
        token.account,
        noun=noun,
        target=target,
        actor=actor,
        start=read_moment("start", start),
        end=read_moment("end", end),
        before=position[0] if position else None,
        limit=limit + 1,
    )
    return Page(
        items=[AuditView.model_validate(entry) for entry in found[:limit]],
        cursor=write_cursor(found[limit - 1].id) if len(found) > limit else None,
    )
