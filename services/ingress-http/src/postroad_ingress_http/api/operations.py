"""`/v1/lanes` and `/v1/queues`: what the sender and the broker are doing."""

from typing import Annotated, Any, Literal

import structlog
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.store.lanes import LaneRecord
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.pages import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)
from postroad_ingress_http.errors import not_found
from postroad_ingress_http.parts import Parts

_log = structlog.get_logger(__name__)


class LaneView(BaseModel):
    """A lane: the sender's account of it, and what operators ordered."""

    key: str
    source: str
    site: str
    state: dict[str, Any]
    order: dict[str, Any]
    updated: float


class LaneOrder(BaseModel):
    """What an operator wants of a lane; null (or false) takes an order back.

    What is left out stays as it is.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    paused: bool | float | None = Field(
        None, description="True, or until when in Unix seconds; false lets it go on."
    )
    connections: float | None = Field(None, gt=0, le=10_000, description="Connections at most.")
    rate: float | None = Field(None, gt=0, le=100_000, description="Messages per second at most.")
    reason: str | None = Field(None, max_length=500, description="For people to read.")
    cancel: list[Literal["pause", "connections", "rate"]] | None = Field(
        None, max_length=3, description="Forgets what the lane learnt itself until now."
    )

    def changes(self, now: float) -> dict[str, Any]:
        """The order as the sender reads it; None takes a part of it back."""
        found = {
            name: getattr(self, name)
            for name in self.model_fields_set
            if name in {"connections", "rate", "reason"}
        }
        if "paused" in self.model_fields_set:
            found["paused"] = self.paused or None
        if self.cancel:
            found["cancel"] = dict.fromkeys(self.cancel, now)
        return found


class QueueView(BaseModel):
    """A queue; `ready` and `consumers` are null when it does not exist."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    purpose: str
    ready: int | None
    consumers: int | None
    dead: bool


def view_lane(lane: LaneRecord) -> LaneView:
    """The lane with its key taken apart."""
    source, _, site = lane.key.partition("|")
    return LaneView(
        key=lane.key,
        source=source,
        site=site,
        state={name: value for name, value in lane.state.items() if name != "learnt"},
        order=lane.order,
        updated=lane.updated,
    )


async def give_order(parts: Parts, key: str, order: LaneOrder) -> LaneRecord:
    """The lane with the order added to those it has.

    Raises:
        ApiError: 404.
    """
    if await parts.database.lanes.get(key) is None:
        raise not_found("lane")
    return await parts.database.lanes.order(key, order.changes(parts.clock()))


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    lanes_reading = needs(parts.authenticator, "lanes:read")
    queues_reading = needs(parts.authenticator, "queues:read")
    store = parts.database.lanes

    @app.get("/v1/lanes", tags=["lanes"], summary="List lanes")
    async def lanes(
        _: Annotated[Token, lanes_reading], cursor: Cursor = None, limit: PageSize = DEFAULT_PAGE
    ) -> Page[LaneView]:
        """In the order of their keys, `source|site`."""
        position = read_cursor(cursor, str)
        found = await store.list(after=position[0] if position else "", limit=limit + 1)
        return Page(
            items=[view_lane(lane) for lane in found[:limit]],
            cursor=write_cursor(found[limit - 1].key) if len(found) > limit else None,
        )

    @app.get("/v1/lanes/{key:path}", tags=["lanes"], summary="One lane")
    async def lane(key: str, _: Annotated[Token, lanes_reading]) -> LaneView:
        """The sender's account of it."""
        found = await store.get(key)
        if found is None:
            raise not_found("lane")
        return view_lane(found)

    @app.patch("/v1/lanes/{key:path}", tags=["lanes"], summary="Give a lane orders")
    async def order(
        key: str,
        token: Annotated[Token, needs(parts.authenticator, "lanes")],
        fields: Annotated[LaneOrder, body(LaneOrder)],
    ) -> LaneView:
        """Pause, resume, cap, or cancel what it learnt; obeyed within seconds."""
        _log.info("order for a lane", lane=key, token=token.id)
        return view_lane(await give_order(parts, key, fields))

    @app.get("/v1/queues", tags=["queues"], summary="List queues")
    async def queues(_: Annotated[Token, queues_reading]) -> Page[QueueView]:
        """With the number of messages that wait in each."""
        found = await parts.depths.all()
        return Page(items=[QueueView.model_validate(queue) for queue in found])

    @app.get("/v1/queues/{name}", tags=["queues"], summary="One queue")
    async def queue(name: str, _: Annotated[Token, queues_reading]) -> QueueView:
        """With the number of messages that wait in it."""
        for found in await parts.depths.all():
            if found.name == name:
                return QueueView.model_validate(found)
        raise not_found("queue")
