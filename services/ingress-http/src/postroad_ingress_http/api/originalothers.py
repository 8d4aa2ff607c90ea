"""Templates, webhooks, statistics and data requests under the original service's paths."""

import base64
import binascii
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse, Response

from postroad_common.store.rollups import Rollup
from postroad_common.store.tokens import Token
from postroad_ingress_http.api import webhooks
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.api.messages import view_with_timeline
from postroad_ingress_http.dependencies import (
    ClockOf,
    EventStore,
    HooksOf,
    MessageStore,
    PrivacyStore,
    RollupStore,
    TemplatesOf,
)
from postroad_ingress_http.history.addresses import exact_address
from postroad_ingress_http.history.statistics import total
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found
from postroad_ingress_http.http.paging import Page

router = APIRouter(prefix="/v1", tags=["original"], responses=REFUSALS)
Messages = Annotated[Token, needs("messages:read")]
Templates = Annotated[Token, needs("templates:read")]
HooksReader = Annotated[Token, needs("webhooks:read")]
HooksWriter = Annotated[Token, needs("webhooks")]
Addresses = Annotated[Token, needs("addresses:read")]
_HISTORY = timedelta(days=800)
_RECENT = 10
_MOST = 1000
_PAGE = 100


class OriginalTemplate(BaseModel):
    """A template."""

    id: str
    name: str


class OriginalStatistics(BaseModel):
    """The numbers of a tag; `unique` counts messages. Machines are left out."""

    tag: str
    first: str
    last: str
    all_opens: int
    unique_opens: int
    all_clicks: int
    unique_clicks: int
    messages: int
    deliveries: int


class DataRequest(BaseModel):
    """Whose data is asked for."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(max_length=320, validation_alias=AliasChoices("email", "address"))
    monitor: str | None = None


class DataRequested(BaseModel):
    """The id to ask for the data with."""

    id: str


class DataAnswer(BaseModel):
    """The data, whole: all messages to the address with all their events."""

    info: dict[str, str]
    data: list[Any]


@router.get("/templates/{start:int}/{length:int}", summary="Templates, a part of the list")
async def templates(
    start: int, length: int, token: Templates, library: TemplatesOf
) -> list[OriginalTemplate]:
    """By name, `length` of them behind the first `start`."""
    if not (0 <= start <= _MOST and 0 <= length <= _MOST):
        raise ApiError(400, f"Give numbers from 0 to {_MOST}.")
    found = await library.list(token.account, "", start + length)
    return [OriginalTemplate(id=one.id, name=one.name) for one in found[start:]]


@router.get("/template/{template}", summary="A template as JSON")
async def template(template: str, token: Templates, library: TemplatesOf) -> dict[str, Any]:
    """Return what it says."""
    stored = await library.read(token.account, template)
    return {"id": stored.template.id, "name": stored.template.name, **stored.content}


@router.get(
    "/template/{template}/{form}", summary="A part of a template", response_class=PlainTextResponse
)
async def template_part(
    template: str, form: str, token: Templates, library: TemplatesOf
) -> Response:
    """Return its `html`, `text` or `mime`, with its tags."""
    stored = await library.read(token.account, template)
    if form not in {"html", "text", "mime"} or not stored.content.get(form):
        raise not_found("part of this template")
    return PlainTextResponse(stored.content[form])


@router.get("/recent-tags", summary="The ten tags with news")
async def recent(token: Messages, rollups: RollupStore, clock: ClockOf) -> list[OriginalStatistics]:
    """Return the most recent first."""
    today = datetime.fromtimestamp(clock(), UTC).date()
    tags = await rollups.tags(token.account, str(today - _HISTORY), _RECENT)
    return [await _of_tag(token.account, tag, today, rollups) for tag in tags]


@router.get("/stats/{tag}", summary="The numbers of a tag")
async def stats(
    tag: str, token: Messages, rollups: RollupStore, clock: ClockOf
) -> OriginalStatistics:
    """Over all the time that is kept."""
    today = datetime.fromtimestamp(clock(), UTC).date()
    return await _of_tag(token.account, tag, today, rollups)


@router.get("/tag/{tag}", summary="The numbers of a tag")
async def tag(
    tag: str, token: Messages, rollups: RollupStore, clock: ClockOf
) -> OriginalStatistics:
    """Return the same as `/v1/stats/{tag}`."""
    return await stats(tag, token, rollups, clock)


async def _of_tag(account: str, tag: str, today: date, store: RollupStore) -> OriginalStatistics:
    found: list[Rollup] = await store.read(account, str(today - _HISTORY), str(today), tag)
    if not found:
        raise not_found("tag")
    sums = total(found)
    days = sorted(one.day for one in found)
    return OriginalStatistics(
        tag=tag,
        first=days[0],
        last=days[-1],
        all_opens=sums.get("opened", 0),
        unique_opens=sums.get("opened_unique", 0),
        all_clicks=sums.get("clicked", 0),
        unique_clicks=sums.get("clicked_unique", 0),
        messages=sums.get("accepted", 0),
        deliveries=sums.get("delivered", 0),
    )


@router.get("/feedbackloops", summary="List webhooks")
async def feedback_loops(token: HooksReader, hooks: HooksOf) -> Page[webhooks.WebhookView]:
    """Return the same as `/v1/webhooks`."""
    return await webhooks.listing(token, hooks)


@router.post("/webhook", status_code=201, summary="Create a webhook")
async def webhook(
    token: HooksWriter,
    fields: Annotated[webhooks.WebhookFields, body(webhooks.WebhookFields)],
    hooks: HooksOf,
) -> webhooks.WebhookWithSecret:
    """Do the same as `POST /v1/webhooks`."""
    return await webhooks.create(token, fields, hooks)


@router.post("/feedbackloop", status_code=201, summary="Create a webhook")
async def feedback_loop(
    token: HooksWriter,
    fields: Annotated[webhooks.WebhookFields, body(webhooks.WebhookFields)],
    hooks: HooksOf,
) -> webhooks.WebhookWithSecret:
    """Do the same as `POST /v1/webhooks`."""
    return await webhooks.create(token, fields, hooks)


@router.post("/datarequest", summary="Ask for what is stored of an address")
async def data_request(
    _: Addresses, fields: Annotated[DataRequest, body(DataRequest)]
) -> DataRequested:
    """Return the id to fetch it with; it is ready at once."""
    if fields.monitor:
        raise bad_field("monitor", "The data is ready at once: fetch it.", code="not_offered")
    address = exact_address(fields.email)
    return DataRequested(id=base64.urlsafe_b64encode(address.encode()).decode().rstrip("="))


@router.get("/datarequest/{request_id}/status", summary="Whether the data is ready")
async def data_status(request_id: str, _: Addresses) -> dict[str, str]:
    """Say that it is, for it always is."""
    _address_in(request_id)
    return {"status": "ready"}


@router.get("/datarequest/{request_id}", summary="What is stored of an address")
async def data(
    request_id: str,
    token: Addresses,
    privacy: PrivacyStore,
    messages: MessageStore,
    events: EventStore,
) -> DataAnswer:
    """Return the newest thousand messages; more of them come in pages from `/v1/addresses`."""
    address = _address_in(request_id)
    shown: list[Any] = []
    before = None
    while len(shown) < _MOST:
        ids = await privacy.message_ids(token.account, address, before=before, limit=_PAGE)
        records = await messages.find_many(ids)
        for message_id in ids:
            if message_id in records:
                timeline = await events.timeline(message_id)
                shown.append(view_with_timeline(records[message_id], timeline))
        if len(ids) < _PAGE:
            break
        before = ids[-1]
    return DataAnswer(info={"type": "email", "id": request_id}, data=shown)


def _address_in(request_id: str) -> str:
    try:
        octets = base64.urlsafe_b64decode(request_id + "=" * (-len(request_id) % 4))
        return exact_address(octets.decode())
    except (binascii.Error, ValueError, ApiError):
        raise not_found("request") from None
