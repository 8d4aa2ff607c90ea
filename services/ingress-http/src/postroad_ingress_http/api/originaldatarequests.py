"""`/v1/datarequest`: what is stored of an address, asked for as in the original service."""

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.api.messages import view_with_timeline
from postroad_ingress_http.dependencies import EventStore, MessageStore, PrivacyStore
from postroad_ingress_http.history.addresses import exact_address
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found

router = APIRouter(prefix="/v1", tags=["original"], responses=REFUSALS)
Addresses = Annotated[Token, needs("addresses:read")]
_MOST = 1000
_PAGE = 100


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
        timelines = await events.timelines(records)
        shown += [
            view_with_timeline(records[message_id], timelines[message_id])
            for message_id in ids
            if message_id in records
        ]
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
