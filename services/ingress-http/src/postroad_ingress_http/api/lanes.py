"""`/v1/lanes`: how the sender sees each destination, and what operators order."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import structlog
from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator

from postroad_common.broker.topology import parked_queue
from postroad_common.errors import BrokerAway
from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.mail.reply import Reply
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

PHASES = ("idle", "open", "limited", "closed", "paused", "draining", "drained")
Phase = Literal["idle", "open", "limited", "closed", "paused", "draining", "drained"]
KINDS = ("pause", "connections", "rate")
_PLAIN = ("connections", "rate", "reason")

_log = structlog.get_logger(__name__)


class Waiting(BaseModel):
    """Where the mail of a lane waits.

    In the sender's memory, in the queue of its backlog (null when the broker cannot be asked), and
    about how many messages went to the common waiting rooms in the last minutes.
    """

    memory: int
    backlog: int | None
    parked: int


class Given(BaseModel):
    """Who gave the last order (the id of a token, or a user of the dashboard), and when."""

    by: str
    at: float


class LaneView(BaseModel):
    """A lane: the sender's account of it, and the orders that are in force."""

    key: str
    source: str
    site: str
    waiting: Waiting
    state: dict[str, Any]
    order: dict[str, Any]
    given: Given | None
    updated: float


class BounceOrder(BaseModel):
    """Mail that waits for the lane fails."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    reply: str = Field(max_length=500, description="An SMTP reply, such as `550 5.1.10 No mail`.")
    before: float | None = Field(
        None, gt=0, description="Only mail received before (Unix seconds); now without it."
    )

    @field_validator("reply")
    @classmethod
    def _is_permanent(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("It must be one line of text.")
        try:
            reply = Reply.parse(value)
        except ValueError as error:
            raise ValueError(f"No SMTP reply: {error}.") from error
        if not reply.is_permanent or not reply.text:
            raise ValueError("It must be 5yz, an enhanced status if you like, and a text.")
        return str(reply)


class RedirectOrder(BaseModel):
    """The lane's mail goes to this host; private addresses are allowed."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(min_length=1, max_length=255, description="A name or an IP address.")
    port: int = Field(25, ge=1, le=65_535)
    tls: Literal["none", "opportunistic", "required"] = "opportunistic"

    @field_validator("host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value.strip("[]")))
        except ValueError:
            pass
        try:
            return normalise_domain(value)
        except AddressError as error:
            raise ValueError(str(error)) from error


class LaneOrder(BaseModel):
    """What an operator wants of a lane; null (or false) takes an order back.

    What is left out stays as it is.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    paused: bool | float | None = Field(
        None, description="True, or until when in Unix seconds; false lets it go on."
    )
    drain: bool | None = Field(
        None,
        description="As a pause, but connections are closed as soon as they carry nothing; the "
        "phase is `draining` until none is left, then `drained`.",
    )
    connections: float | None = Field(None, gt=0, le=10_000, description="Connections at most.")
    rate: float | None = Field(None, gt=0, le=100_000, description="Messages per second at most.")
    reason: str | None = Field(None, max_length=500, description="For people to read.")
    cancel: list[Literal["pause", "connections", "rate"]] | None = Field(
        None, max_length=3, description="Forgets what the lane learnt itself until now."
    )
    bounce: BounceOrder | None = Field(
        None, description="What waits now fails, here and in waiting rooms; younger mail does not."
    )
    redirect: RedirectOrder | None = Field(
        None, description="Send the mail elsewhere; forgets what was learnt of the old place."
    )
    simulate: list[Literal["pause", "connections", "rate"]] | None = Field(
        None, max_length=3, description="Effects that are only shown, not carried out."
    )

    def changes(self, now: float) -> dict[str, Any]:
        """The order as the sender reads it; None takes a part of it back."""
        given = self.model_fields_set
        found = {name: getattr(self, name) for name in _PLAIN if name in given}
        for name in ("paused", "drain", "simulate"):
            if name in given:
                found[name] = getattr(self, name) or None
        if "bounce" in given:
            found["bounce"] = bounce = self.bounce and self.bounce.model_dump()
            if bounce:
                bounce["before"] = min(now, bounce["before"] or now)
        cancel: set[str] = set(self.cancel or ())
        if "redirect" in given:
            found["redirect"] = self.redirect and self.redirect.model_dump()
            cancel |= set(KINDS)
        for kind in sorted(cancel):
            found[f"cancel.{kind}"] = now
        return found


async def view_lanes(parts: Parts, lanes: Iterable[LaneRecord]) -> list[LaneView]:
    """The lanes with what waits for them."""
    records = list(lanes)
    depths = await backlog_depths(parts, [lane.key for lane in records])
    return [view_lane(lane, depths.get(lane.key, 0)) for lane in records]


def view_lane(lane: LaneRecord, backlog: int | None) -> LaneView:
    """The lane with its key taken apart; `backlog` messages are in its queue."""
    source, _, site = lane.key.partition("|")
    given = lane.order.get("given")
    return LaneView(
        key=lane.key,
        source=source,
        site=site,
        waiting=Waiting(
            memory=_count(lane.state.get("waiting")),
            backlog=backlog,
            parked=_count(lane.state.get("parked")),
        ),
        state={name: value for name, value in lane.state.items() if name != "learnt"},
        order={name: value for name, value in lane.order.items() if name != "given"},
        given=Given(**given) if isinstance(given, Mapping) else None,
        updated=lane.updated,
    )


async def backlog_depths(parts: Parts, keys: Iterable[str]) -> dict[str, int | None]:
    """How much waits in the backlogs of these lanes, for those that have one."""
    queues = {parked_queue(key).name: key for key in keys}
    lanes = await parts.database.backlogs.lanes_among(queues)
    try:
        found = await parts.depths.of([parked_queue(lane) for lane in lanes]) if lanes else []
    except BrokerAway:
        return dict.fromkeys(lanes)
    return {queues[depth.name]: depth.ready or 0 for depth in found}


async def give_order(parts: Parts, key: str, order: LaneOrder, by: str) -> LaneRecord:
    """The lane with the order added to those it has; `by` is who gives it.

    Raises:
        ApiError: 404.
    """
    if await parts.database.lanes.get(key) is None:
        raise not_found("lane")
    now = parts.clock()
    changes = order.changes(now)
    _log.info("order for a lane", lane=key, by=by, order=changes)
    return await parts.database.lanes.order(key, {**changes, "given": {"by": by, "at": now}})


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "lanes:read")
    store = parts.database.lanes

    @app.get("/v1/lanes", tags=["lanes"], summary="List lanes")
    async def lanes(
        _: Annotated[Token, reading],
        site: Annotated[
            str | None, Query(max_length=255, description="A part of the site's name.")
        ] = None,
        phase: Annotated[Phase | None, Query(description="What it is doing.")] = None,
        cursor: Cursor = None,
        limit: PageSize = DEFAULT_PAGE,
    ) -> Page[LaneView]:
        """In the order of their keys, `source|site`."""
        position = read_cursor(cursor, str)
        found = await store.list(
            after=position[0] if position else "",
            limit=limit + 1,
            site=site or "",
            phase=phase or "",
        )
        return Page(
            items=await view_lanes(parts, found[:limit]),
            cursor=write_cursor(found[limit - 1].key) if len(found) > limit else None,
        )

    @app.get("/v1/lanes/{key:path}", tags=["lanes"], summary="One lane")
    async def lane(key: str, _: Annotated[Token, reading]) -> LaneView:
        """The sender's account of it. The key stands in the path, percent-encoded."""
        found = await store.get(key)
        if found is None:
            raise not_found("lane")
        return (await view_lanes(parts, [found]))[0]

    @app.patch("/v1/lanes/{key:path}", tags=["lanes"], summary="Give a lane orders")
    async def order(
        key: str,
        token: Annotated[Token, needs(parts.authenticator, "lanes")],
        fields: Annotated[LaneOrder, body(LaneOrder)],
    ) -> LaneView:
        """Pause, drain, cap, bounce, redirect, or cancel what it learnt; obeyed within seconds."""
        return (await view_lanes(parts, [await give_order(parts, key, fields, token.id)]))[0]


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
