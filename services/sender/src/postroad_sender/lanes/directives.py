"""What an operator's directives do to a lane. Their shape is in `postroad_common.schemas.lanes`.

The REST API writes them into the store of lanes (`lane_store`), where they stay until they are
taken back.
"""

from postroad_common.schemas.lanes import EffectKind, StoredDirectives
from postroad_sender.delivery.job import Job
from postroad_sender.lanes.lane import Lane

FOR_EVER = 10 * 365 * 86_400.0  # seconds, of a pause without end


def apply_directives(
    lane: Lane[Job], directives: StoredDirectives, now: float, wall: float
) -> None:
    """Apply `directives` to `lane`: pins, pauses and simulations hold from now on."""
    lane.directives = directives
    controller = lane.controller
    shift = now - wall
    since = now if directives.given is None else directives.given.at + shift
    until = directives.paused_until
    wanted = {
        EffectKind.PAUSE: None if until is None else min(until + shift, since + FOR_EVER),
        EffectKind.CONNECTIONS: directives.connections,
        EffectKind.RATE: directives.rate,
    }
    for kind, value in wanted.items():
        if value is not None:
            controller.pin(kind, float(value), directives.why, since)
        else:
            controller.unpin(kind)
    controller.simulate(directives.simulate)
    for kind, moment in directives.cancel.items():
        controller.cancel_learnt(kind, now, since=moment + shift)
