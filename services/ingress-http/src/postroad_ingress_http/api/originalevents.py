"""`/v1/events/…`: what happened to mail, as the original service told it.

The richer shapes are at `/v1/events` (`api.events`) and in the timeline of a message.
"""

import json
import math
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response, StreamingResponse

from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import HistoryOf, OriginalEventsOf, TemplatesOf
from postroad_ingress_http.exports.originals import MONTH, Wanted
from postroad_ingress_http.history.addresses import exact_address
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.http.moments import Moment, read_moment
from postroad_ingress_http.http.paging import SearchText

router = APIRouter(prefix="/v1/events", tags=["events"], responses=REFUSALS)
Reader = Annotated[Token, needs("messages:read")]


class OriginalEvent(BaseModel):
    """An event: its name, its columns, in `data` and beside it, and the time in Unix seconds."""

    model_config = ConfigDict(extra="allow")

    event: str
    id: str
    time: str
    data: dict[str, str]
    message: str
    unixtime: float


@router.get("/messageid/{message_id}", summary="Events of a message")
async def by_message(  # noqa: PLR0917 - FastAPI passes them by name
    message_id: str,
    token: Reader,
    history: HistoryOf,
    originals: OriginalEventsOf,
    tags: SearchText = None,
    start: Moment = None,
    end: Moment = None,
) -> list[OriginalEvent]:
    """Return all, or those from `start` until before `end`, the oldest first."""
    record = await history.find(token.account, message_id)
    first, last = read_moment("start", start), read_moment("end", end)
    wanted = Wanted(first or 0.0, math.inf if last is None else last, tags=_tags(tags))
    return [OriginalEvent(**one) for one in await originals.of_message(record, wanted)]


@router.get(
    "/email/{address:path}", summary="Events of an address", response_model=list[OriginalEvent]
)
async def by_address(  # noqa: PLR0917 - FastAPI passes them by name
    address: str,
    token: Reader,
    originals: OriginalEventsOf,
    tags: SearchText = None,
    start: Moment = None,
    end: Moment = None,
) -> Response:
    """Return all of a month, or of the time from `start` until before `end`."""
    wanted = _wanted(start, end, tags, recipient=exact_address(address))
    return _stream(originals.search(token.account, wanted))


@router.get("/tags/{tags}", summary="Events of tags", response_model=list[OriginalEvent])
async def by_tags(
    tags: str,
    token: Reader,
    originals: OriginalEventsOf,
    start: Moment = None,
    end: Moment = None,
) -> Response:
    """Return all of messages that have all these tags, which `;` separates."""
    wanted = _wanted(start, end, tags)
    if not wanted.tags:
        raise ApiError(404, "There are no tags in this path.")
    return _stream(originals.search(token.account, wanted))


@router.get(
    "/template/{template}", summary="Events of a template", response_model=list[OriginalEvent]
)
async def by_template(  # noqa: PLR0917 - FastAPI passes them by name
    template: str,
    token: Reader,
    originals: OriginalEventsOf,
    templates: TemplatesOf,
    tags: SearchText = None,
    start: Moment = None,
    end: Moment = None,
) -> Response:
    """Return all of mail that was made from it."""
    found = await templates.find(token.account, template)
    wanted = _wanted(start, end, tags, template=found.id)
    return _stream(originals.search(token.account, wanted))


def _wanted(
    start: str | None,
    end: str | None,
    tags: str | None,
    *,
    recipient: str | None = None,
    template: str | None = None,
) -> Wanted:
    """Return what is asked for; without a time the last month, with one end a month from there."""
    first, last = read_moment("start", start), read_moment("end", end)
    if last is None:
        last = first + MONTH if first is not None else time.time() + 1
    if first is None:
        first = last - MONTH
    return Wanted(first, last, recipient, _tags(tags), template)


def _tags(text: str | None) -> tuple[str, ...]:
    return tuple(tag for tag in (text or "").split(";") if tag)


def _stream(events: AsyncIterator[dict[str, Any]]) -> Response:
    """Return a JSON array that is written as it is read."""

    async def write() -> AsyncIterator[str]:
        opening = "["
        async for event in events:
            yield opening + json.dumps(event, separators=(",", ":"))
            opening = ","
        yield "]" if opening == "," else "[]"

    return StreamingResponse(write(), media_type="application/json")
