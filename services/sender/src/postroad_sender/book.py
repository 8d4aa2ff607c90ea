"""The book of lanes in the store: what was learnt survives restarts, and operators are obeyed.

The sender writes each lane's state there and reads the orders given for it. The store may be
away: lanes then go on with what they know.

A state has `phase` (idle, open, limited, closed, paused), `connections`, `busy`, `window`, `rate`,
`waiting`, `reason`, `effects`, and `learnt`, which is for the next process. An order may have
`paused` (true, or the Unix time it ends), `connections` and `rate` (pinned values), `reason`, and
`cancel`: a mapping of a kind of effect (connections, rate, pause) to the Unix time of the order,
which lifts what was learnt until then.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from postroad_common.errors import StoreAway
from postroad_common.store.lanes import LaneRecord, Lanes
from postroad_sender.control import Controller, Kind
from postroad_sender.job import Job
from postroad_sender.lane import Lane

OBEY_EVERY = 2.0  # seconds
SAVE_EVERY = 6.0
STALE_AFTER = 6 * 3600.0  # seconds; older knowledge of a site's limits is worth nothing
OVERLAP = 10.0  # seconds of orders read again: the clocks of other machines differ
MOST_REMEMBERED = 20_000
_PAGE = 1000
_FOR_EVER = 10 * 365 * 86_400.0

_log = structlog.get_logger("lanes")


class Book:
    """One per process. Loop times inside, Unix times in the store."""

    def __init__(
        self,
        store: Lanes,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wall = wall
        self._remembered: dict[str, LaneRecord] = {}
        self._orders: dict[str, Mapping[str, Any]] = {}
        self._saved: dict[str, dict[str, Any]] = {}
        self._read_until = 0.0
        self._loaded = False

    def prepare(self, lane: Lane[Job]) -> None:
        """Give a new lane what is known of its site, and its orders."""
        key = str(lane.key)
        known = self._remembered.pop(key, None)
        now, wall = self._clock(), self._wall()
        if known is not None and wall - known.updated < STALE_AFTER:
            try:
                lane.controller.restore(dict(known.state.get("learnt") or {}), now, wall)
            except (TypeError, ValueError, AttributeError):
                _log.warning("what was stored about a lane is not readable", lane=key)
        order = self._orders.get(key)
        if order:
            obey(lane.controller, order, now, wall)

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

    async def learn_again(self, lanes: Iterable[Lane[Job]]) -> None:
        """Read what others have learnt meanwhile: this process owns more. Raises StoreAway."""
        await self.load()
        now, wall = self._clock(), self._wall()
        for lane in lanes:
            if not lane.controller.effects(now):
                self.prepare(lane)
        _log.info("lanes read again", known=len(self._remembered), seconds=self._wall() - wall)

    async def keep(self, lanes: Callable[[], Iterable[Lane[Job]]]) -> None:
        """Read orders and write states, for ever."""
        saved_at = self._clock()
        while True:
            try:
                if not self._loaded:
                    await self.load()
                await self.read_orders(lanes())
                if self._clock() - saved_at >= SAVE_EVERY:
                    saved_at = self._clock()
                    await self.save(lanes())
            except StoreAway as error:
                _log.info("the book of lanes is out of reach", error=str(error))
            await asyncio.sleep(OBEY_EVERY)

    async def read_orders(self, lanes: Iterable[Lane[Job]]) -> None:
        """Obey what was ordered since the last look. Raises StoreAway."""
        now = self._wall()
        records = await self._store.ordered_since(self._read_until - OVERLAP)
        self._read_until = now
        changed = {
            record.key: record.order
            for record in records
            if self._orders.get(record.key) != record.order
        }
        self._orders |= changed
        for lane in lanes:
            order = changed.get(str(lane.key))
            if order is not None:
                _log.info("order for a lane", lane=str(lane.key), order=dict(order))
                obey(lane.controller, order, self._clock(), now)

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
    """The state of `lane` as it is stored and shown."""
    controller = lane.controller
    effects = controller.effects(now)
    shift = wall - now
    closed = controller.closed_for(now)
    paused = any(effect.pinned and effect.kind is Kind.PAUSE for effect in effects)
    if closed > 0.0:
        phase = "paused" if paused else "closed"
    elif effects:
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
        "reason": effects[-1].reason if effects else "",
        "effects": [
            {
                "kind": effect.kind.value,
                "value": round(effect.value + (shift if effect.kind is Kind.PAUSE else 0.0), 3),
                "reason": effect.reason,
                "since": round(effect.since + shift),
                "pinned": effect.pinned,
            }
            for effect in effects
        ],
        "learnt": controller.to_state(now, wall),
    }


def obey(controller: Controller, order: Mapping[str, Any], now: float, wall: float) -> None:
    """Carry out an operator's order; what is not understood in it is left out."""
    reason = str(order.get("reason") or "ordered by an operator")[:500]
    paused = order.get("paused")
    until = now + _FOR_EVER if paused is True else _number(paused)
    if until is not None and paused is not True:
        until = until - wall + now
    wanted = {
        Kind.PAUSE: until,
        Kind.CONNECTIONS: _number(order.get("connections")),
        Kind.RATE: _number(order.get("rate")),
    }
    for kind, value in wanted.items():
        if value is not None and value > 0.0:
            controller.pin(kind, value, reason, now)
        else:
            controller.unpin(kind)
    cancel = order.get("cancel")
    for name, moment in cancel.items() if isinstance(cancel, Mapping) else ():
        at = _number(moment)
        if name in set(Kind) and at is not None:
            controller.cancel_learnt(Kind(name), now, since=at - wall + now)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
