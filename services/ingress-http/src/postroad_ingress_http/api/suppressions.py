"""`/v1/suppressions`: addresses that nothing is sent to."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from postroad_common.store.suppressions import KINDS, key_of
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import ClockOf, SuppressionStore
from postroad_ingress_http.history.suppressions import (
    COLUMNS,
    GIVEN_KINDS,
    add_all,
    read_csv,
    read_entry,
    read_list,
    write_csv,
)
from postroad_ingress_http.http.errors import bad_field, not_found
from postroad_ingress_http.http.moments import MomentValue
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    SearchText,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"], responses=REFUSALS)
Reader = Annotated[Token, needs("suppressions:read")]
Writer = Annotated[Token, needs("suppressions")]
Kind = Annotated[str | None, Query(max_length=20, description=f"One of {', '.join(KINDS)}.")]
ListName = Annotated[
    str | None,
    Query(alias="list", max_length=200, description="Of this list; empty: of all mail."),
]
MOST_ITEMS = 10_000


class SuppressionFields(BaseModel):
    """An address to suppress, or a domain: `@example.com`."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=320)
    reason: str = Field("", max_length=500)
    kind: str = Field("manual", max_length=20, description=f"One of {', '.join(GIVEN_KINDS)}.")
    list_name: str = Field(
        "", alias="list", max_length=200, description="Only for mail of this list; empty: all mail."
    )
    expires: MomentValue | None = Field(
        None,
        description="Until when: a date, a time in UTC, or Unix seconds. Left out: for good.",
    )


class ImportFields(BaseModel):
    """Addresses to suppress: `items`, or a `csv` (a field, or a file of a multipart form)."""

    model_config = ConfigDict(extra="forbid")

    items: list[SuppressionFields] = Field(default=[], max_length=MOST_ITEMS)
    csv: str | None = Field(
        None, description=f"Columns {', '.join(COLUMNS)}; the first line may name them."
    )


class SuppressionView(BaseModel):
    """An entry. `kind` is hard, soft, complaint, unsubscribe or manual.

    `list` is empty where it holds for all mail of the account.
    """

    model_config = ConfigDict(from_attributes=True)

    address: str
    list: str
    reason: str
    kind: str
    created: float
    expires: float | None
    message: str | None


class RefusedRow(BaseModel):
    """A row that could not be taken; rows count from 1."""

    row: int
    address: str
    message: str


class ImportView(BaseModel):
    """What an import did; `problems` names the first hundred rows that were refused."""

    added: int
    refused: int
    problems: list[RefusedRow]


@router.post("", status_code=201, summary="Suppress an address")
async def add(
    token: Writer,
    fields: Annotated[SuppressionFields, body(SuppressionFields)],
    suppressions: SuppressionStore,
    clock: ClockOf,
) -> SuppressionView:
    """Answer with what holds now: what is there already is renewed, never weakened.

    A complaint is stronger than a hard bounce, that than an unsubscription, that than what was
    entered by hand; of two the stronger stays until the later end.
    """
    entry = read_entry(token.account, fields.model_dump(by_alias=True), clock())
    await suppressions.add([entry], clock())
    held = await suppressions.get(token.account, entry.address, entry.list)
    return SuppressionView.model_validate(held or entry)


@router.post("/import", summary="Suppress many addresses")
async def add_many(
    token: Writer,
    fields: Annotated[ImportFields, body(ImportFields)],
    suppressions: SuppressionStore,
    clock: ClockOf,
) -> ImportView:
    """Add all rows that can be taken, and name those that cannot. None weakens what is there."""
    rows: list[dict[str, Any]] = [item.model_dump(by_alias=True) for item in fields.items]
    if fields.csv is not None:
        rows += read_csv(fields.csv)
    if not rows:
        raise bad_field("items", "Give items or a CSV.", code="missing")
    result = await add_all(suppressions, token.account, rows, clock())
    problems = [
        RefusedRow(row=row, address=address, message=message)
        for row, address, message in result.problems
    ]
    return ImportView(added=result.added, refused=result.refused, problems=problems)


@router.get("/export", summary="All suppressions as CSV", response_class=StreamingResponse)
async def export(
    token: Reader, suppressions: SuppressionStore, kind: Kind = None, list_name: ListName = None
) -> StreamingResponse:
    """Return what an import takes."""
    parts = write_csv(suppressions, token.account, kind=kind, list_name=list_name)
    return StreamingResponse(parts, media_type="text/csv; charset=utf-8")


@router.get("", summary="List suppressions")
async def listing(  # noqa: PLR0917 - FastAPI passes them by name
    token: Reader,
    suppressions: SuppressionStore,
    address: SearchText = None,
    domain: SearchText = None,
    kind: Kind = None,
    list_name: ListName = None,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[SuppressionView]:
    """In the order of addresses; `address` is how they begin."""
    position = read_cursor(cursor, str)
    found = await suppressions.list(
        token.account,
        after=position[0] if position else "",
        limit=limit + 1,
        prefix=address or "",
        domain=domain or None,
        kind=kind or None,
        list_name=None if list_name is None else read_list(list_name),
    )
    last = found[limit - 1] if len(found) > limit else None
    return Page(
        items=[SuppressionView.model_validate(entry) for entry in found[:limit]],
        cursor=write_cursor(key_of(last.address, last.list)) if last else None,
    )


@router.get("/{address:path}", summary="One suppression")
async def one(
    address: str, token: Reader, suppressions: SuppressionStore, list_name: ListName = None
) -> SuppressionView:
    """404 when mail to the address is sent; `list` asks for mail of that list."""
    entry = await suppressions.get(token.account, address, read_list(list_name or ""))
    if entry is None:
        raise not_found("suppression")
    return SuppressionView.model_validate(entry)


@router.delete("/{address:path}", status_code=204, summary="Send again")
async def remove(
    address: str, token: Writer, suppressions: SuppressionStore, list_name: ListName = None
) -> None:
    """Take the address off all lists, or with `list` off that one."""
    name = None if list_name is None else read_list(list_name)
    if not await suppressions.remove(token.account, address, name):
        raise not_found("suppression")
