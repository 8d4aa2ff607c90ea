"""`/v1/stats/{tag}`, `/v1/recent-tags`: numbers of tags as the original service counts them."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel

from postroad_common.store.rollups import Rollup
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import needs
from postroad_ingress_http.api.answers import REFUSALS
from postroad_ingress_http.dependencies import ClockOf, RollupStore
from postroad_ingress_http.history.statistics import total
from postroad_ingress_http.http.errors import not_found

router = APIRouter(prefix="/v1", tags=["original"], responses=REFUSALS)
Messages = Annotated[Token, needs("messages:read")]
_HISTORY = timedelta(days=800)
_RECENT = 10


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
    tags = await rollups.tags(token.account, str(today - _HISTORY), _RECENT)
    return [await _of_tag(token.account, tag, today, rollups) for tag in tags]


@router.get("/stats/{tag}", summary="The numbers of a tag")
@router.get("/tag/{tag}", name="tag", summary="The numbers of a tag")
async def stats(
    tag: str, token: Messages, rollups: RollupStore, clock: ClockOf
) -> OriginalStatistics:
    """Over all the time that is kept."""
    today = datetime.fromtimestamp(clock(), UTC).date()
    return await _of_tag(token.account, tag, today, rollups)


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
