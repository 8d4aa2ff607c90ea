"""`/v1/lanes`: how the sender sees each destination, and the directives of operators."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

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
from postroad_ingress_http.operations.directives import LaneDirectives
from postroad_ingress_http.operations.lanes import Phase

router = APIRouter(prefix="/v1/lanes", tags=["lanes"], responses=REFUSALS)
Reader = Annotated[Token, needs("lanes:read")]
Writer = Annotated[Token, needs("lanes")]


class Waiting(BaseModel):
    """Where the mail of a lane waits.

    In the sender's memory, in the queue of its backlog (null when the broker cannot be asked), and
    about how many messages were requeued to the common retry tiers in the last minutes.
    """

    model_config = ConfigDict(from_attributes=True)

    memory: int
    backlog: int | None
    parked: int


class Given(BaseModel):
    """Who gave the last directive (the id of a token, or a user of the dashboard), and when."""

    model_config = ConfigDict(from_attributes=True)

    by: str
    at: float


class LaneView(BaseModel):
    """A lane: the sender's account of it, and the directives in force."""

    model_config = ConfigDict(from_attributes=True)

    key: str
    source: str
    site: str
    waiting: Waiting
    state: dict[str, Any]
    order: dict[str, Any]
    given: Given | None
    updated: float


@router.get("", summary="List lanes")
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
        items=[LaneView.model_validate(lane) for lane in found[:limit]],
        cursor=write_cursor(found[limit - 1].key) if len(found) > limit else None,
    )


@router.get("/{key:path}", summary="One lane")
async def one(key: str, _: Reader, lanes: LanesOf) -> LaneView:
    """Return the sender's account of it. The key stands in the path, percent-encoded."""
    return LaneView.model_validate(await lanes.find(key))


@router.patch("/{key:path}", summary="Give a lane directives")
async def direct(
    key: str, token: Writer, fields: Annotated[LaneDirectives, body(LaneDirectives)], lanes: LanesOf
) -> LaneView:
    """Pause, drain, cap, bounce, redirect, or cancel what it learnt; applied within seconds."""
    return LaneView.model_validate(await lanes.direct(key, fields, token.id))
