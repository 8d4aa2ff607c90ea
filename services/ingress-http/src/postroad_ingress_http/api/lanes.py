"""`/v1/lanes`: how the sender sees each destination, and the directives of operators."""

from typing import Annotated

from fastapi import APIRouter, Query

from postroad_common.schemas.lanes import Phase
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import LanesOf
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)
from postroad_ingress_http.operations.directives import DirectivesChange
from postroad_ingress_http.operations.lanes import LaneView

router = APIRouter(prefix="/v1/lanes", tags=["lanes"], responses=REFUSALS)
Reader = Annotated[Token, needs("lanes:read")]
Writer = Annotated[Token, needs("lanes")]


@router.get("", summary="List lanes", response_model_exclude_unset=True)
async def listing(
    _: Reader,
    lanes: LanesOf,
    site: Annotated[
        str | None, Query(max_length=255, description="A part of the site's name.")
    ] = None,
    phase: Annotated[Phase | None, Query(description="What it is doing.")] = None,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[LaneView]:
    """In the order of their keys, `source|site`."""
    position = read_cursor(cursor, str)
    after = position[0] if position else ""
    found = await lanes.page(after=after, limit=limit + 1, site=site or "", phase=phase or "")
    return Page(
        items=found[:limit],
        cursor=write_cursor(found[limit - 1].key) if len(found) > limit else None,
    )


@router.get("/{key:path}", summary="One lane", response_model_exclude_unset=True)
async def one(key: str, _: Reader, lanes: LanesOf) -> LaneView:
    """Return the sender's account of it. The key stands in the path, percent-encoded."""
    return await lanes.find(key)


@router.patch("/{key:path}", summary="Give a lane directives", response_model_exclude_unset=True)
async def direct(
    key: str,
    token: Writer,
    change: Annotated[DirectivesChange, body(DirectivesChange)],
    lanes: LanesOf,
) -> LaneView:
    """Pause, drain, cap, bounce, redirect, or cancel what it learnt; applied within seconds."""
    return await lanes.direct(key, change, token.id)
