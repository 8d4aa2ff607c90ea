"""Lanes as operators see them, and the directives that they give to the sender."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import structlog

from postroad_common.broker.depths import QueueDepths
from postroad_common.broker.topology import parked_queue
from postroad_common.errors import BrokerAway
from postroad_common.store.backlogs import BacklogRecords
from postroad_common.store.lanes import LaneRecord, Lanes
from postroad_ingress_http.http.errors import not_found
from postroad_ingress_http.operations.directives import LaneDirectives

Phase = Literal["idle", "open", "limited", "closed", "paused", "draining", "drained"]
PHASES: tuple[Phase, ...] = get_args(Phase)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The number of messages that wait for a lane, by place.

    In the sender's memory, in the queue of its backlog (None when the broker cannot be asked), and
    requeued to the common retry tiers in the last minutes (about).
    """

    memory: int
    backlog: int | None
    parked: int


@dataclass(frozen=True, slots=True)
class Given:
    """The giver of the last directive (the id of a token, or a dashboard user), and its time."""

    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane: the sender's account of it, and the directives in force."""

    key: str
    source: str
    site: str
    waiting: Waiting
    state: dict[str, Any]
    order: dict[str, Any]
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

    async def page(self, *, after: str, limit: int, site: str, phase: str) -> list[Lane]:
        """Return at most `limit` lanes after the key `after`, in the order of their keys."""
        found = await self._lanes.list(after=after, limit=limit, site=site, phase=phase)
        return await self._with_backlogs(found)

    async def find(self, key: str) -> Lane:
        """Return the lane `source|site`.

        Raises:
            ApiError: 404.
        """
        record = await self._lanes.get(key)
        if record is None:
            raise not_found("lane")
        return (await self._with_backlogs([record]))[0]

    async def direct(self, key: str, directives: LaneDirectives, by: str) -> Lane:
        """Add directives to those that the lane has; `by` names the operator.

        Raises:
            ApiError: 404.
        """
        if await self._lanes.get(key) is None:
            raise not_found("lane")
        now = self._clock()
        changes = directives.changes(now)
        _log.info("directives for a lane", lane=key, by=by, directives=changes)
        record = await self._lanes.order(key, {**changes, "given": {"by": by, "at": now}})
        return (await self._with_backlogs([record]))[0]

    async def _with_backlogs(self, records: Iterable[LaneRecord]) -> list[Lane]:
        found = [*records]
        depths = await self._backlog_depths(lane.key for lane in found)
        return [_lane(lane, depths.get(lane.key, 0)) for lane in found]

    async def _backlog_depths(self, keys: Iterable[str]) -> dict[str, int | None]:
        """Return the depth of the backlog queue of each lane that has one."""
        queues = {parked_queue(key).name: key for key in keys}
        lanes = await self._backlogs.lanes_among(queues)
        try:
            found = await self._depths.of([parked_queue(lane) for lane in lanes]) if lanes else []
        except BrokerAway:
            return dict.fromkeys(lanes)
        return {queues[depth.name]: depth.ready or 0 for depth in found}


def _lane(record: LaneRecord, backlog: int | None) -> Lane:
    source, _, site = record.key.partition("|")
    given = record.order.get("given")
    return Lane(
        key=record.key,
        source=source,
        site=site,
        waiting=Waiting(
            memory=_count(record.state.get("waiting")),
            backlog=backlog,
            parked=_count(record.state.get("parked")),
        ),
        state={name: value for name, value in record.state.items() if name != "learnt"},
        order={name: value for name, value in record.order.items() if name != "given"},
        given=Given(**given) if isinstance(given, Mapping) else None,
        updated=record.updated,
    )


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
