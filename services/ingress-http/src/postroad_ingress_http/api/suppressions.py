"""`/v1/suppressions`: addresses that nothing is sent to."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.store.suppressions import Suppression
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import ClockOf, SuppressionStore
from postroad_ingress_http.history.addresses import read_address
from postroad_ingress_http.http.errors import bad_field, not_found
from postroad_ingress_http.http.moments import read_moment
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"], responses=REFUSALS)
Reader = Annotated[Token, needs("suppressions:read")]
Writer = Annotated[Token, needs("suppressions")]


class SuppressionFields(BaseModel):
    """An address to suppress."""

    model_config = ConfigDict(extra="forbid")

    address: str
    reason: str = Field("", max_length=500)
    expires: str | None = Field(None, description="Until when, UTC; left out: for good.")


class SuppressionView(BaseModel):
    """An entry. `kind` is hard, soft, complaint, unsubscribe or manual."""

    model_config = ConfigDict(from_attributes=True)

    address: str
    reason: str
    kind: str
    created: float
    expires: float | None
    message: str | None


@router.post("", status_code=201, summary="Suppress an address")
async def add(
    token: Writer,
    fields: Annotated[SuppressionFields, body(SuppressionFields)],
    suppressions: SuppressionStore,
    clock: ClockOf,
) -> SuppressionView:
    """Add an address. One that is on the list already gets this reason."""
    now = clock()
    expires = read_moment("expires", fields.expires)
    if expires is not None and expires <= now:
        raise bad_field("expires", "This time is past.")
    entry = Suppression(
        account=token.account,
        address=read_address(fields.address),
        reason=fields.reason or "entered by hand",
        kind="manual",
        created=now,
        expires=expires,
    )
    await suppressions.add([entry])
    return SuppressionView.model_validate(entry)


@router.get("", summary="List suppressions")
async def listing(
    token: Reader,
    suppressions: SuppressionStore,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[SuppressionView]:
    """In the order of addresses."""
    position = read_cursor(cursor, str)
    after = position[0] if position else ""
    found = await suppressions.list(token.account, after=after, limit=limit + 1)
    return Page(
        items=[SuppressionView.model_validate(entry) for entry in found[:limit]],
        cursor=write_cursor(found[limit - 1].address) if len(found) > limit else None,
    )


@router.get("/{address:path}", summary="One suppression")
async def one(address: str, token: Reader, suppressions: SuppressionStore) -> SuppressionView:
    """404 when mail to the address is sent."""
    entry = await suppressions.get(token.account, address)
    if entry is None:
        raise not_found("suppression")
    return SuppressionView.model_validate(entry)


@router.delete("/{address:path}", status_code=204, summary="Send again")
async def remove(address: str, token: Writer, suppressions: SuppressionStore) -> None:
    """Take the address off the list."""
    if not await suppressions.remove(token.account, address):
        raise not_found("suppression")
