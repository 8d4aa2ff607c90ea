"""`/v1/webhooks/{id}/…`: what was posted, what is to be posted again, test and proof."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.store.deliveries import DeliveryState, WebhookDelivery
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import CallsOf, ClockOf
from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.moments import MomentValue, read_moment
from postroad_ingress_http.http.paging import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
)

router = APIRouter(prefix="/v1/webhooks/{webhook_id}", tags=["webhooks"], responses=REFUSALS)
Reader = Annotated[Token, needs("webhooks:read")]
Writer = Annotated[Token, needs("webhooks")]
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
    """What to post again."""

    model_config = ConfigDict(extra="forbid")

    start: MomentValue = Field(description="A date, a time in UTC, or Unix seconds.")
    end: MomentValue | None = Field(None, description="Before this; left out: until now.")


class ReplayView(BaseModel):
    """An order to post events again; `queued` so far, `finished` when (Unix seconds)."""

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


@router.get("/deliveries", summary="The delivery log")
async def deliveries(  # noqa: PLR0917 - FastAPI passes them by name
    webhook_id: str,
    token: Reader,
    calls: CallsOf,
    state: Annotated[str | None, Query(max_length=20)] = None,
    cursor: Cursor = None,
    limit: PageSize = DEFAULT_PAGE,
) -> Page[DeliveryView]:
    """Newest first, or posted again last; kept for two weeks."""
    if state is not None and state not in _STATES:
        raise bad_field("state", f"One of {', '.join(_STATES)}.")
    found, following = await calls.log(
        token.account, webhook_id, state=state, cursor=cursor, limit=limit
    )
    return Page(
        items=[DeliveryView.model_validate(fields_of(item)) for item in found],
        cursor=following,
    )


@router.get("/deliveries/{delivery}", summary="One delivery")
async def one(webhook_id: str, delivery: str, token: Reader, calls: CallsOf) -> DeliveryWithBody:
    """With its body."""
    found = await calls.find(token.account, webhook_id, delivery)
    return DeliveryWithBody.model_validate({**fields_of(found), "body": found.body})


@router.post("/replay", status_code=202, summary="Post events again")
async def replay(
    webhook_id: str,
    token: Writer,
    fields: Annotated[ReplayFields, body(ReplayFields)],
    calls: CallsOf,
    clock: ClockOf,
) -> ReplayView:
    """All that the webhook wants from the range, whether it was posted before or not."""
    start = read_moment("start", fields.start)
    if start is None:
        raise bad_field("start", "This field is required.", code="missing")
    end = read_moment("end", fields.end)
    made = await calls.replay(token.account, webhook_id, start, clock() if end is None else end)
    return ReplayView.model_validate(made)


@router.get("/replays", summary="Replays")
async def replays(webhook_id: str, token: Reader, calls: CallsOf) -> Page[ReplayView]:
    """How far they have come; the latest first."""
    found = await calls.replays(token.account, webhook_id)
    return Page(items=[ReplayView.model_validate(item) for item in found])


@router.post("/test", status_code=202, summary="Test call")
async def test(webhook_id: str, token: Writer, calls: CallsOf) -> Called:
    """Posts an event of the type `test`."""
    return Called(delivery=await calls.test(token.account, webhook_id))


@router.post("/verify", status_code=202, summary="Prove ownership")
async def verify(webhook_id: str, token: Writer, calls: CallsOf) -> Called:
    """Post a `verification` whose `data.challenge` the end point's answer must repeat."""
    return Called(delivery=await calls.verify(token.account, webhook_id))


def fields_of(delivery: WebhookDelivery) -> dict[str, Any]:
    """Return what is shown of a delivery."""
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
