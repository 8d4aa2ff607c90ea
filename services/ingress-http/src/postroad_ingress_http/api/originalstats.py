"""`/v1/stats/{tag}`, `/v1/recent-tags`: numbers of tags as the original service counts them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel

from postroad_common.store.rolluptags import TagTotals
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import ClockOf, RollupStore
from postroad_ingress_http.http.errors import not_found

router = APIRouter(prefix="/v1", tags=["original"], responses=REFUSALS)
Messages = Annotated[Token, needs("messages:read")]
_HISTORY = timedelta(days=800)
_RECENT = 10
_NUMBERS = ("accepted", "delivered", "opened", "opened_unique", "clicked", "clicked_unique")


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


@router.get("/recent-tags", summary="The ten tags with news")
async def recent(token: Messages, rollups: RollupStore, clock: ClockOf) -> list[OriginalStatistics]:
    """Return the most recent first."""
    today = datetime.fromtimestamp(clock(), UTC).date()
    tags = await rollups.by_tag.names(token.account, str(today - _HISTORY), _RECENT)
    found = await _totals(token.account, tags, today, rollups)
    return [_view(tag, found[tag]) for tag in tags if tag in found]


@router.get("/stats/{tag}", summary="The numbers of a tag")
@router.get("/tag/{tag}", name="tag", summary="The numbers of a tag")
async def stats(
    tag: str, token: Messages, rollups: RollupStore, clock: ClockOf
) -> OriginalStatistics:
    """Over all the time that is kept."""
    today = datetime.fromtimestamp(clock(), UTC).date()
    found = await _totals(token.account, [tag], today, rollups)
    if tag not in found:
        raise not_found("tag")
    return _view(tag, found[tag])


async def _totals(
    account: str, tags: Sequence[str], today: date, store: RollupStore
) -> dict[str, TagTotals]:
    start = str(today - _HISTORY)
    return await store.by_tag.totals(account, start, str(today), tags, _NUMBERS)


def _view(tag: str, found: TagTotals) -> OriginalStatistics:
    counts = found.counts
    return OriginalStatistics(
        tag=tag,
        first=found.first,
        last=found.last,
        all_opens=counts["opened"],
        unique_opens=counts["opened_unique"],
        all_clicks=counts["clicked"],
        unique_clicks=counts["clicked_unique"],
        messages=counts["accepted"],
        deliveries=counts["delivered"],
    )
