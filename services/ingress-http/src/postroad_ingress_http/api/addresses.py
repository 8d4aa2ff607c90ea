"""`/v1/addresses/{address}`: what is stored about one address, shown or erased (GDPR)."""

from enum import Enum
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel

from postroad_common.store.strikes import DAY
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.messages import MessageWithTimeline, view_with_timeline
from postroad_ingress_http.api.pages import Cursor, read_cursor, write_cursor
from postroad_ingress_http.api.suppressions import (
    SuppressionView,
    exact_address,
    read_address,
)
from postroad_ingress_http.parts import Parts

PAGE = 50
"""Messages in one answer of an export."""
ERASED_AT_ONCE = 100
ROUNDS = 10
"""So one request erases from at most a thousand messages."""


class AddressView(BaseModel):
    """What is stored. `soft_bounces` are the days (Unix seconds) of its soft bounces."""

    address: str
    suppression: SuppressionView | None
    soft_bounces: list[float]
    messages: list[MessageWithTimeline]
    cursor: str | None = None


class ErasedView(BaseModel):
    """What this request has erased. `complete: false`: ask once more for the rest."""

    address: str
    messages: int
    events: int
    suppression: bool
    complete: bool


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "addresses:read")
    writing = needs(parts.authenticator, "addresses")
    database = parts.database
    tags: list[str | Enum] = ["addresses"]

    @app.get("/v1/addresses/{address:path}", tags=tags, summary="Export what is stored")
    async def export(
        address: str, token: Annotated[Token, reading], cursor: Cursor = None
    ) -> AddressView:
        """Its suppression, its soft bounces, and messages with all their events, newest first."""
        exact, listed = exact_address(address), read_address(address)
        position = read_cursor(cursor, str)
        ids = await database.privacy.message_ids(
            token.account, exact, before=position[0] if position else None, limit=PAGE + 1
        )
        records = await database.messages.find_many(ids[:PAGE])
        messages: list[MessageWithTimeline] = []
        for message_id in ids[:PAGE]:
            if message_id in records:
                events = await database.events.timeline(message_id)
                messages.append(view_with_timeline(records[message_id], events))
        entry = await database.suppressions.get(token.account, listed)
        days = await database.strikes.days(token.account, listed)
        return AddressView(
            address=exact,
            suppression=SuppressionView.model_validate(entry) if entry else None,
            soft_bounces=[day * DAY for day in sorted(days)],
            messages=messages,
            cursor=write_cursor(ids[PAGE - 1]) if len(ids) > PAGE else None,
        )

    @app.delete("/v1/addresses/{address:path}", tags=tags, summary="Erase what is stored")
    async def erase(
        address: str,
        token: Annotated[Token, writing],
        keep_suppression: Annotated[  # noqa: FBT002 - a query parameter
            bool, Query(description="Go on sending nothing there, which keeps the address.")
        ] = False,
    ) -> ErasedView:
        """The messages stay in the statistics; nothing in them names the address any more."""
        exact, listed = exact_address(address), read_address(address)
        totals: dict[str, Any] = {"messages": 0, "events": 0}
        complete = False
        for _ in range(ROUNDS):
            done = await database.privacy.erase(token.account, exact, limit=ERASED_AT_ONCE)
            totals["messages"] += done.messages
            totals["events"] += done.events
            complete = not done.more
            if complete:
                break
        await database.strikes.clear(token.account, listed)
        removed = False
        if not keep_suppression:
            removed = await database.suppressions.remove(token.account, listed)
        return ErasedView(address=exact, suppression=removed, complete=complete, **totals)
