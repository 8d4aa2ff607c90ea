"""The lanes in the store: what was learnt survives restarts, and directives reach the lanes.

The sender writes each lane's state there and reads the directives for it. The store may be
away: lanes then go on with what they know.

A state has `phase` (idle, open, limited, closed, paused, draining, drained), `connections`,
`busy`, `window`, `rate`, `waiting` (in this process), `parked` (about how many were sent to wait
elsewhere in the last minutes), `reason`, `effects`, and `learnt`, which is for the next process;
`provider`, if it is known who runs the site. Caps and warm-ups are among the effects, as they
stand. With a directive to bounce there is also `swept`, the time up to which the lane's backlog has
been worked off for it. What directives there are is in `directives`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any

import structlog

from postroad_common.errors import StoreAway
from postroad_common.store.lanes import LaneRecord, Lanes
from postroad_sender.delivery.job import Job
from postroad_sender.lanes.directives import Directives
from postroad_sender.lanes.lane import Lane
from postroad_sender.throttle.controller import Effect, Kind
from postroad_sender.timings import Timings

STALE_AFTER = 6 * 3600.0  # seconds; older knowledge of a site's limits is worth nothing
OVERLAP = 10.0  # seconds of directives read again: the clocks of other machines differ
MOST_REMEMBERED = 20_000
_PAGE = 1000
_FOR_EVER = 10 * 365 * 86_400.0

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
        self._orders: dict[str, Mapping[str, Any]] = {}
        self._saved: dict[str, dict[str, Any]] = {}
        self._read_until = 0.0
        self._loaded = False

    def prepare(self, lane: Lane[Job]) -> None:
        """Give a new lane what is known of its site, and its directives."""
        key = str(lane.key)
        known = self._remembered.pop(key, None)
        now, wall = self._clock(), self._wall()
        if known is not None and wall - known.updated < STALE_AFTER:
            try:
                learnt = dict(known.state.get("learnt") or {})
                lane.controller.restore(learnt, now, wall)
                lane.swept = float(learnt.get("swept") or 0.0)
            except (TypeError, ValueError, AttributeError):
                _log.warning("what was stored about a lane is not readable", lane=key)
        order = self._orders.get(key)
        if order:
            apply_directives(lane, order, now, wall)

    async def load(self) -> None:
        """Read what an earlier process knew; before lanes are made, if possible.

        Raises:
            StoreAway: `keep` will try again.
        """
        after = ""
        while len(self._remembered) < MOST_REMEMBERED:
            page = await self._store.list(after=after, limit=_PAGE)
            for record in page:
                self._remembered[record.key] = record
                if record.order:
                    self._orders[record.key] = record.order
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
        records = await self._store.ordered_since(self._read_until - OVERLAP)
        self._read_until = now
        changed = {
            record.key: record.order
            for record in records
            if self._orders.get(record.key) != record.order
        }
        self._orders |= changed
        found = []
        for lane in lanes:
            order = changed.get(str(lane.key))
            if order is not None:
                _log.info("order for a lane", lane=str(lane.key), order=dict(order))
                apply_directives(lane, order, self._clock(), now)
                found.append(lane)
        return found

    async def save(self, lanes: Iterable[Lane[Job]]) -> None:
        """Write the states that have changed. Raises StoreAway."""
        now, wall = self._clock(), self._wall()
        states, shown = {}, {}
        for lane in lanes:
            key = str(lane.key)
            state = describe(lane, now, wall)
            shown[key] = {name: value for name, value in state.items() if name != "learnt"}
            if self._saved.get(key) != shown[key]:
                states[key] = state
        await self._store.save(states)
        self._saved = shown


def describe(lane: Lane[Job], now: float, wall: float) -> dict[str, Any]:
    """Return the state of `lane` as it is stored and shown."""
    controller = lane.controller
    effects = [
        effect
        for effect in controller.effects(now)
        if effect.kind is not Kind.PAUSE or effect.value > now
    ]
    shift = wall - now
    closed = lane.closed_for(now)
    capped = closed > controller.closed_for(now)
    states = [] if lane.limits is None else lane.limits.states()
    paused = any(effect.pinned and effect.kind is Kind.PAUSE for effect in effects)
    if lane.directives.draining:
        phase = "drained" if lane.is_idle else "draining"
    elif closed > 0.0:
        phase = "paused" if paused and not capped else "closed"
    elif any(not effect.simulated for effect in effects):
        phase = "limited"
    else:
        phase = "idle" if lane.is_idle else "open"
    rate = controller.rate.current()
    return {
        "phase": phase,
        "connections": lane.working,
        "busy": lane.busy,
        "window": controller.connections(now),
        "rate": None if rate is None else round(rate, 3),
        "waiting": len(lane),
        "parked": _about(lane.requeued(now)),
        "reason": lane.why_closed(now) if capped else effects[-1].reason if effects else "",
        "effects": [
            {
                "kind": effect.kind.value,
                "value": round(effect.value + (shift if effect.kind is Kind.PAUSE else 0.0), 3),
                "reason": effect.reason,
                "since": round(effect.since + shift),
                "until": _until(effect, shift),
                "pinned": effect.pinned,
                "simulated": effect.simulated,
            }
            for effect in effects
        ]
        + [
            {
                "kind": state.kind,
                "value": state.value,
                "reason": state.reason,
                "since": round(state.since),
                "until": None if state.until is None else round(state.until),
                "pinned": False,
                "simulated": False,
            }
            for state in states
        ],
        **({"provider": lane.provider} if lane.provider else {}),
        **({"swept": lane.swept} if lane.directives.bounce is not None else {}),
        "learnt": controller.to_state(now, wall) | {"swept": lane.swept},
    }


def apply_directives(lane: Lane[Job], order: Mapping[str, Any], now: float, wall: float) -> None:
    """Apply an operator's directives to `lane`: pins, pauses and dry runs hold from now on."""
    directives = Directives.parse(order)
    lane.directives = directives
    controller = lane.controller
    shift = now - wall
    since = now if directives.since is None else directives.since + shift
    until = directives.paused_until
    if directives.draining:
        until = inf
    wanted = {
        Kind.PAUSE: None if until is None else min(until + shift, since + _FOR_EVER),
        Kind.CONNECTIONS: directives.connections,
        Kind.RATE: directives.rate,
    }
    for kind, value in wanted.items():
        if value is not None:
            controller.pin(kind, value, directives.reason, since)
        else:
            controller.unpin(kind)
    controller.set_dry_run(directives.simulate)
    for kind, moment in directives.cancel:
        controller.cancel_learnt(kind, now, since=moment + shift)


def _until(effect: Effect, shift: float) -> int | None:
    """When it ends by itself (Unix seconds), if that is known."""
    if effect.kind is not Kind.PAUSE or effect.value - effect.since > _FOR_EVER / 2:
        return None
    return round(effect.value + shift)


def _about(number: float) -> int:
    """Round a number that slowly fades, so that it is not written down again and again."""
    digits = len(str(int(number)))
    return int(round(number, min(0, 2 - digits)))
