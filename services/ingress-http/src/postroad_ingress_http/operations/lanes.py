"""Lanes as operators see them, and the directives that they give to the sender."""

from collections.abc import Callable, Iterable

import structlog
from pydantic import BaseModel, ConfigDict, Field

from postroad_common.broker.depths import QueueDepths
from postroad_common.broker.topology import parked_queue
from postroad_common.errors import BrokerAway
from postroad_common.schemas.lanes import Directives, Given, LaneState
from postroad_common.store.backlogs import BacklogRecords
from postroad_common.store.lanes import LaneRecord, Lanes
from postroad_ingress_http.http.errors import not_found
from postroad_ingress_http.operations.directives import DirectivesChange

_log = structlog.get_logger(__name__)


class Waiting(BaseModel):
    """The number of messages that wait for a lane, by place.

    In the sender's memory, in the queue of its backlog (null when the broker cannot be asked), and
    about how many were requeued to the common retry tiers in the last minutes.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    memory: int
    backlog: int | None
    requeued: int = Field(alias="parked")


class LaneView(BaseModel):
    """A lane: the sender's account of it, and the directives in force."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    key: str
    source: str
    site: str
    waiting: Waiting
    state: LaneState
    directives: Directives = Field(alias="order")
    given: Given | None
    updated: float


class LaneOperations:
    """Reads lanes from the store and backlogs from the broker; writes directives."""

    def __init__(
        self,
        lanes: Lanes,
        backlogs: BacklogRecords,
        depths: QueueDepths,
        clock: Callable[[], float],
    ) -> None:
        self._lanes = lanes
        self._backlogs = backlogs
        self._depths = depths
        self._clock = clock

    async def page(self, *, after: str, limit: int, site: str, phase: str) -> list[LaneView]:
        """Return at most `limit` lanes after the key `after`, in the order of their keys."""
        found = await self._lanes.list(after=after, limit=limit, site=site, phase=phase)
        return await self._with_backlogs(found)

    async def held(self, limit: int) -> list[LaneView]:
        """Return at most `limit` of the lanes that send nothing now."""
        return await self._with_backlogs(await self._lanes.held(limit))

    async def find(self, key: str) -> LaneView:
        """Return the lane `source|site`.

        Raises:
            ApiError: 404.
        """
        record = await self._lanes.get(key)
        if record is None:
            raise not_found("lane")
        return (await self._with_backlogs([record]))[0]

    async def direct(self, key: str, change: DirectivesChange, by: str) -> LaneView:
        """Add directives to those that the lane has; `by` names the operator.

        Raises:
            ApiError: 404.
        """
        if await self._lanes.get(key) is None:
            raise not_found("lane")
        now = self._clock()
        changes = change.changes(now)
        _log.info("directives for a lane", lane=key, by=by, directives=changes)
        given = Given(by=by, at=now).model_dump()
        record = await self._lanes.direct(key, {**changes, "given": given})
        return (await self._with_backlogs([record]))[0]

    async def _with_backlogs(self, records: Iterable[LaneRecord]) -> list[LaneView]:
        found = [*records]
        depths = await self._backlog_depths(lane.key for lane in found)
        return [view_of(lane, depths.get(lane.key, 0)) for lane in found]

    async def _backlog_depths(self, keys: Iterable[str]) -> dict[str, int | None]:
        """Return the depth of the backlog queue of each lane that has one."""
        queues = {parked_queue(key).name: key for key in keys}
        lanes = await self._backlogs.lanes_among(queues)
        try:
            found = await self._depths.of([parked_queue(lane) for lane in lanes]) if lanes else []
        except BrokerAway:
            return dict.fromkeys(lanes)
        return {queues[depth.name]: depth.ready or 0 for depth in found}


def view_of(record: LaneRecord, backlog: int | None) -> LaneView:
    """Return the lane as it is shown, with the depth of its `backlog`."""
    source, _, site = record.key.partition("|")
    state = record.state
    return LaneView(
        key=record.key,
        source=source,
        site=site,
        waiting=Waiting(memory=state.waiting, backlog=backlog, requeued=state.requeued),
        state=state,
        directives=record.directives,
        given=record.directives.given,
        updated=record.updated,
    )
