"""`/v1/webhooks/{id}/…`: what was posted, what is to be posted once more, test and proof."""

from enum import Enum
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.store.outbox import DeliveryState, WebhookDelivery
from postroad_common.store.tokens import Token
from postroad_ingress_http import hooks
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.pages import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)
from postroad_ingress_http.api.times import read_moment
from postroad_ingress_http.errors import bad_field, not_found
from postroad_ingress_http.parts import Parts

_STATES = tuple(str(state) for state in DeliveryState)


class TryView(BaseModel):
    """One call: when, the status or else the error, how long, and how the answer began."""

    model_config = ConfigDict(from_attributes=True)

    time: float
    status: int | None
    error: str
    seconds: float
    answer: str


class DeliveryView(BaseModel):
    """One event for this end point. `due` is when it is tried next; times in Unix seconds."""

    id: str
    event: str
    message: str
    state: str
    created: float
    due: float | None
    tries: int
    log: list[TryView]


class DeliveryWithBody(DeliveryView):
    """A delivery with what is posted."""

    body: str


class ReplayFields(BaseModel):
    """What to post once more."""

    model_config = ConfigDict(extra="forbid")

    start: str = Field(description="A date, a time in UTC, or Unix seconds.")
    end: str | None = Field(None, description="Before this; left out: until now.")


class ReplayView(BaseModel):
    """An order to post events once more; `queued` so far, `finished` when (Unix seconds)."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    start: float
    end: float
    created: float
    queued: int
    finished: float | None


class Called(BaseModel):
    """A call is on its way; how it went is in the log under this id."""

    delivery: str


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "webhooks:read")
    writing = needs(parts.authenticator, "webhooks")
    database = parts.database
    tags: list[str | Enum] = ["webhooks"]

    @app.get("/v1/webhooks/{webhook_id}/deliveries", tags=tags, summary="The delivery log")
    async def deliveries(
        webhook_id: str,
        token: Annotated[Token, reading],
        state: Annotated[str | None, Query(max_length=20)] = None,
        cursor: Cursor = None,
        limit: PageSize = DEFAULT_PAGE,
    ) -> Page[DeliveryView]:
        """Newest first; kept for two weeks."""
        if state is not None and state not in _STATES:
            raise bad_field("state", f"One of {', '.join(_STATES)}.")
        await hooks.find(database, token.account, webhook_id)
        position = read_cursor(cursor, str)
        found = await database.outbox.log(
            token.account,
            webhook_id,
            state=state,
            before=position[0] if position else None,
            limit=limit + 1,
        )
        return Page(
            items=[DeliveryView.model_validate(fields_of(item)) for item in found[:limit]],
            cursor=write_cursor(found[limit - 1].id) if len(found) > limit else None,
        )

    @app.get("/v1/webhooks/{webhook_id}/deliveries/{delivery}", tags=tags, summary="One delivery")
    async def delivery(
        webhook_id: str, delivery: str, token: Annotated[Token, reading]
    ) -> DeliveryWithBody:
        """With its body."""
        found = await database.outbox.get(token.account, webhook_id, delivery)
        if found is None:
            raise not_found("delivery")
        return DeliveryWithBody.model_validate({**fields_of(found), "body": found.body})

    @app.post(
        "/v1/webhooks/{webhook_id}/replay", status_code=202, tags=tags, summary="Post once more"
    )
    async def replay(
        webhook_id: str,
        token: Annotated[Token, writing],
        fields: Annotated[ReplayFields, body(ReplayFields)],
    ) -> ReplayView:
        """All that the webhook wants from the range, whether it was posted before or not."""
        start = read_moment("start", fields.start)
        if start is None:
            raise bad_field("start", "This field is required.", code="missing")
        end = read_moment("end", fields.end)
        made = await hooks.replay(
            database, token.account, webhook_id, start, parts.clock() if end is None else end
        )
        return ReplayView.model_validate(made)

    @app.get("/v1/webhooks/{webhook_id}/replays", tags=tags, summary="Replays")
    async def replays(webhook_id: str, token: Annotated[Token, reading]) -> Page[ReplayView]:
        """How far they have come; the latest first."""
        await hooks.find(database, token.account, webhook_id)
        found = await database.replays.list(token.account, webhook_id)
        return Page(items=[ReplayView.model_validate(item) for item in found])

    @app.post("/v1/webhooks/{webhook_id}/test", status_code=202, tags=tags, summary="Test call")
    async def test(webhook_id: str, token: Annotated[Token, writing]) -> Called:
        """Posts an event of the type `test`."""
        return Called(delivery=await hooks.test(database, token.account, webhook_id))

    @app.post(
        "/v1/webhooks/{webhook_id}/verify", status_code=202, tags=tags, summary="Prove ownership"
    )
    async def verify(webhook_id: str, token: Annotated[Token, writing]) -> Called:
        """Posts a `verification` whose `data.challenge` the end point's answer must repeat."""
        return Called(delivery=await hooks.verify(database, token.account, webhook_id))


def fields_of(delivery: WebhookDelivery) -> dict[str, Any]:
    """What is shown of a delivery."""
    pending = delivery.state is DeliveryState.PENDING
    return {
        "id": delivery.id,
        "event": delivery.event,
        "message": delivery.message,
        "state": str(delivery.state),
        "created": delivery.created,
        "due": delivery.due if pending else None,
        "tries": delivery.tries,
        "log": [TryView.model_validate(item) for item in delivery.log],
    }
