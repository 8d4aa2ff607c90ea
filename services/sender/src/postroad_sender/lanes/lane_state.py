"""The state of a lane as it is stored and shown; its shape is in `schemas.lanes`."""

from postroad_common.schemas.lanes import EffectKind, LaneEffect, Phase, StoredState
from postroad_sender.delivery.job import Job
from postroad_sender.lanes.directives import FOR_EVER
from postroad_sender.lanes.lane import Lane
from postroad_sender.limits.shared_limit import LimitState
from postroad_sender.throttle.controller import Effect


def state_of(lane: Lane[Job], now: float, wall: float) -> StoredState:
    """Return the state of `lane`. `now` is loop time, `wall` the same moment in Unix seconds."""
    controller = lane.controller
    effects = [
        effect
        for effect in controller.effects(now)
        if effect.kind is not EffectKind.PAUSE or effect.value > now
    ]
    limited = [] if lane.limits is None else lane.limits.states()
    if lane.waits_for is not None and len(lane):
        limited.append(lane.waits_for.state())
    rate = controller.rate.current()
    if _is_closed_by_limits(lane, now):
        reason = lane.why_closed(now)
    else:
        waits_for = lane.waits_for.reason if lane.waits_for is not None and len(lane) else ""
        reason = effects[-1].reason if effects else waits_for
    return StoredState(
        phase=_phase_of(lane, effects, now),
        connections=lane.working,
        busy=lane.busy,
        window=controller.connections(now),
        rate=None if rate is None else round(rate, 3),
        waiting=len(lane),
        requeued=_about(lane.requeued(now)),
        reason=reason,
        effects=[*(_shown(effect, wall - now) for effect in effects), *map(_shown_limit, limited)],
        provider=lane.provider or None,
        swept=None if lane.directives.bounce is None else lane.swept,
        learnt=controller.learnt(now, wall).model_copy(update={"swept": lane.swept}),
    )


def _is_closed_by_limits(lane: Lane[Job], now: float) -> bool:
    return lane.closed_for(now) > lane.controller.closed_for(now)


def _phase_of(lane: Lane[Job], effects: list[Effect], now: float) -> Phase:
    if lane.directives.drain:
        return Phase.DRAINED if lane.is_idle else Phase.DRAINING
    if lane.closed_for(now) > 0.0:
        paused = any(effect.pinned and effect.kind is EffectKind.PAUSE for effect in effects)
        return Phase.PAUSED if paused and not _is_closed_by_limits(lane, now) else Phase.CLOSED
    if any(not effect.simulated for effect in effects):
        return Phase.LIMITED
    return Phase.IDLE if lane.is_idle else Phase.OPEN


def _shown(effect: Effect, shift: float) -> LaneEffect:
    is_pause = effect.kind is EffectKind.PAUSE
    ends = is_pause and effect.value - effect.since <= FOR_EVER / 2
    return LaneEffect(
        kind=effect.kind,
        value=round(effect.value + (shift if is_pause else 0.0), 3),
        reason=effect.reason,
        since=round(effect.since + shift),
        until=round(effect.value + shift) if ends else None,
        pinned=effect.pinned,
        simulated=effect.simulated,
    )


def _shown_limit(state: LimitState) -> LaneEffect:
    return LaneEffect(
        kind=state.kind,
        value=state.value,
        reason=state.reason,
        since=round(state.since),
        until=None if state.until is None else round(state.until),
        pinned=False,
        simulated=False,
    )


def _about(number: float) -> int:
    """Round a number that slowly fades, so that it is not written down again and again."""
    digits = len(str(int(number)))
    return int(round(number, min(0, 2 - digits)))
