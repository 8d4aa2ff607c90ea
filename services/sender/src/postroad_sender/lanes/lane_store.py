"""The lanes in the store: what was learnt survives restarts, and directives reach the lanes.

The sender writes each lane's state there (`lane_state`) and reads the directives for it
(`directives`). The store may be away: lanes then go on with what they know.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from postroad_common.errors import StoreAway
from postroad_common.schemas.lanes import StoredDirectives, StoredState
from postroad_common.store.lanes import LaneRecord, Lanes
from postroad_sender.delivery.job import Job
from postroad_sender.lanes.directives import apply_directives
from postroad_sender.lanes.lane import Lane
from postroad_sender.lanes.lane_state import state_of
from postroad_sender.timings import Timings

STALE_AFTER = 6 * 3600.0  # seconds; older knowledge of a site's limits is worth nothing
OVERLAP = 10.0  # seconds of directives read again: the clocks of other machines differ
MOST_REMEMBERED = 20_000
_PAGE = 1000

_log = structlog.get_logger("lanes")


class LaneStore:
    """One per process. Loop times inside, Unix times in the store."""

    def __init__(
        self,
        store: Lanes,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        *,
        timings: Timings | None = None,
    ) -> None:
        self._timings = timings or Timings()
        self._store = store
        self._clock = clock
        self._wall = wall
        self._remembered: dict[str, LaneRecord] = {}
        self._directives: dict[str, StoredDirectives] = {}
        self._saved: dict[str, StoredState] = {}
        self._read_until = 0.0
        self._loaded = False

    def prepare(self, lane: Lane[Job]) -> None:
        """Give a new lane what is known of its site, and its directives."""
        key = str(lane.key)
        known = self._remembered.pop(key, None)
        now, wall = self._clock(), self._wall()
        if known is not None and wall - known.updated < STALE_AFTER:
            learnt = known.state.learnt
            if learnt is not None:
                lane.controller.restore(learnt, now, wall)
                lane.swept = learnt.swept
        directives = self._directives.get(key)
        if directives is not None:
            apply_directives(lane, directives, now, wall)

    async def load(self) -> None:
        """Read what an earlier process knew; before lanes are made, if possible.

        Raises:
            StoreAway: `run` will try again.
        """
        after = ""
        while len(self._remembered) < MOST_REMEMBERED:
            page = await self._store.list(after=after, limit=_PAGE)
            for record in page:
                self._remembered[record.key] = record
                if record.directed:
                    self._directives[record.key] = record.directives
            if len(page) < _PAGE:
                break
            after = page[-1].key
        self._loaded = True

    async def reload(self, lanes: Iterable[Lane[Job]]) -> None:
        """Read what others have learnt meanwhile: this process owns more. Raises StoreAway."""
        await self.load()
        now, wall = self._clock(), self._wall()
        for lane in lanes:
            if not lane.controller.effects(now):
                self.prepare(lane)
        _log.info("lanes read again", known=len(self._remembered), seconds=self._wall() - wall)

    async def run(
        self,
        lanes: Callable[[], Iterable[Lane[Job]]],
        changed: Callable[[Lane[Job]], None],
    ) -> None:
        """Read directives and write states, for ever. `changed` is called for new directives."""
        saved_at = self._clock()
        while True:
            try:
                if not self._loaded:
                    await self.load()
                for lane in await self.read_directives(lanes()):
                    changed(lane)
                if self._clock() - saved_at >= self._timings.save_every:
                    saved_at = self._clock()
                    await self.save(lanes())
            except StoreAway as error:
                _log.info("the store of lanes is out of reach", error=str(error))
            await asyncio.sleep(self._timings.directives_every)

    async def read_directives(self, lanes: Iterable[Lane[Job]]) -> list[Lane[Job]]:
        """Apply what was written since the last call; returns the lanes that have new directives.

        Raises:
            StoreAway: `run` will try again.
        """
        now = self._wall()
        records = await self._store.directed_since(self._read_until - OVERLAP)
        self._read_until = now
        changed = {
            record.key: record.directives
            for record in records
            if self._directives.get(record.key) != record.directives
        }
        self._directives |= changed
        found = []
        for lane in lanes:
            directives = changed.get(str(lane.key))
            if directives is not None:
                _log.info(
                    "directives for a lane", lane=str(lane.key), directives=directives.document()
                )
                apply_directives(lane, directives, self._clock(), now)
                found.append(lane)
        return found

    async def save(self, lanes: Iterable[Lane[Job]]) -> None:
        """Write the states that have changed in what is shown of them. Raises StoreAway."""
        now, wall = self._clock(), self._wall()
        states, shown = {}, {}
        for lane in lanes:
            key, state = str(lane.key), state_of(lane, now, wall)
            shown[key] = state.model_copy(update={"learnt": None})
            if self._saved.get(key) != shown[key]:
                states[key] = state
        await self._store.save(states)
        self._saved = shown
