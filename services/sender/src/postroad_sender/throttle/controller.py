"""The controller of one lane: when to connect, when to send, and what the answers teach.

Two loops, for connections (`window`) and for messages per second (`rate`), and pauses. It knows
no clock and no network: the time comes in as an argument, so that it runs in simulations as it
does in service. Every restriction it makes is an effect with a reason, which an operator can
cancel or replace by a pinned one, or first look at without its being acted upon (`acting`).
"""

import random
from collections.abc import Collection
from dataclasses import dataclass

from postroad_common.schemas.lanes import EffectKind, LearntLimits
from postroad_sender.throttle.acting import (
    CLOSED_FIRST,
    Closure,
    Connections,
    Pause,
    SimulatedConnections,
    SimulatedPause,
    SimulatedSpeed,
    Speed,
)
from postroad_sender.throttle.rate import DEEP_CUT, Rate
from postroad_sender.throttle.signals import Signal
from postroad_sender.throttle.utilisation_probe import UtilisationProbe
from postroad_sender.throttle.window import Window

CLOSED_LONGEST = 300.0
OBJECTION_PAUSE = 0.25
POLICY_PAUSE = 15.0
REPUTATION_PAUSE = 60.0
PAUSE_LONGEST = 1800.0
AHEAD = 10.0  # seconds that others wait for the reply to the first message behind a bar
CONVINCED = 2.0  # objections before one is taken to be about the lane and not about the message
FORGIVEN = 0.03  # of an objection, by each message taken


@dataclass(frozen=True, slots=True)
class Effect:
    """A restriction in force. `value`: connections, messages per second, or when a pause ends.

    A `simulated` one is only shown: it is what would hold if the lane acted on what it learns.
    """

    kind: EffectKind
    value: float
    reason: str
    since: float
    pinned: bool = False
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits set from outside, never exceeded."""

    connections: int = 20
    messages_per_second: float | None = None
    closed_longest: float = CLOSED_LONGEST


class Controller:
    """See the module. All times are seconds of one clock; `chance` replaces the dice in tests."""

    def __init__(self, caps: Caps, now: float, chance: random.Random | None = None) -> None:
        self._caps = caps
        self._dice = chance or random.Random()
        self.window = Window(most=caps.connections)
        self.utilisation = UtilisationProbe()
        self.rate = Rate(now, caps.messages_per_second)
        self._closure = Closure()
        self._connections = Connections(self.window, self.utilisation)
        self._speed = Speed(self.rate, caps.messages_per_second)
        self._pause = Pause(self._closure)
        self._failures = 0  # in a row, with nothing working
        self._strikes = 0  # policy and reputation, forgotten by successes
        self._doubt = 0.0  # objections, less what was taken since
        self._reasons: dict[EffectKind, tuple[str, float]] = {}
        self._pins: dict[EffectKind, Effect] = {}

    # -- questions

    def connections(self, now: float) -> int:
        """How many connections there may be."""
        if self._pause_left(now) > 0.0:
            return 0
        pin = self._pins.get(EffectKind.CONNECTIONS)
        if pin:
            return int(pin.value)
        return self._connections.allowed(now)

    def wait(self, now: float) -> float:
        """Seconds until the next message may be sent; 0.0 if it may now."""
        closed = self._pause_left(now)
        if closed > 0.0:
            return closed
        if self._limit() is None:
            return 0.0
        left = self._speed.spacing.wait(now)
        if left > 0.0:
            self._speed.held(now)
        return left

    def closed_for(self, now: float) -> float:
        """Seconds for which nothing at all is sent; 0.0 if the lane is open."""
        return self._pause_left(now)

    @property
    def is_paused(self) -> bool:
        """Whether an operator has pinned a pause."""
        return EffectKind.PAUSE in self._pins

    def why_closed(self) -> str:
        """Return the reason of the pause in force."""
        pin = self._pins.get(EffectKind.PAUSE)
        return pin.reason if pin else self._reasons.get(EffectKind.PAUSE, ("", 0.0))[0]

    def effects(self, now: float) -> list[Effect]:
        """All restrictions in force, pinned ones instead of learnt ones."""
        found = list(self._pins.values())
        window, utilisation = self.window.ceiling, self.utilisation.limit
        reasons = dict(self._reasons)
        if utilisation is not None and (window is None or utilisation < window):
            window = utilisation
            reasons[EffectKind.CONNECTIONS] = self.utilisation.reason, self.utilisation.since
        closed = self._closure.until
        learnt: list[tuple[EffectKind, float | None, bool]] = [
            (EffectKind.CONNECTIONS, window, self._connections.simulated),
            (EffectKind.RATE, self.rate.limit, self._speed.simulated),
            (EffectKind.PAUSE, closed if closed > now else None, self._pause.simulated),
        ]
        for kind, value, simulated in learnt:
            if value is not None and kind not in self._pins:
                reason, since = reasons.get(kind, ("", now))
                found.append(Effect(kind, float(value), reason, since, simulated=simulated))
        return found

    # -- what happened

    def on_sent(self, now: float) -> None:
        """Count a message that begins."""
        self.rate.on_sent(now)
        limit = self._limit()
        if limit is not None:
            self._speed.spacing.spend(now, limit)
            if self.rate.is_careful and EffectKind.RATE not in self._pins:
                self._speed.hold(now + AHEAD)

    def on_connected(self, count: int, now: float) -> None:
        """Take up that a connection was opened; `count` work now."""
        self.window.on_connected(count, now)

    def on_success(self, busy: int, now: float, seconds: float = 0.0) -> None:
        """Take up that the server took a message, or answered without complaint about us.

        `busy` connections were in use; the message was sent `seconds` ago.
        """
        self._failures = 0
        self._grow(busy, seconds, now)
        careful = self.rate.limit is not None and self.rate.is_careful
        self.rate.on_success(now, now - seconds)
        if careful and not self.rate.is_careful and EffectKind.RATE not in self._pins:
            self._speed.go_on(now)
        self._doubt = max(0.0, self._doubt - FORGIVEN)
        reason, closed_at = self._reasons.get(EffectKind.PAUSE, ("", 0.0))
        if self._strikes and now - closed_at > POLICY_PAUSE * 4:
            self._strikes -= 1
            self._reasons[EffectKind.PAUSE] = (reason, now)

    def on_connect_failed(
        self, working: int, signal: Signal, reason: str, now: float, delay: float | None = None
    ) -> None:
        """Take up that a connection failed to open, or was ended; `working` are left."""
        if signal in {Signal.POLICY, Signal.REPUTATION}:
            self._on_policy(signal, reason, now, delay)
        elif working > 0:
            self.window.exceeded(working, now)
            self._reasons[EffectKind.CONNECTIONS] = (reason, now)
        else:
            self._failures += 1
            self.window.collapse()
            pause = min(
                self._caps.closed_longest, CLOSED_FIRST * 2.0 ** min(self._failures - 1, 10)
            )
            self._close(max(pause, delay or 0.0), reason, now)

    def on_throttled(
        self, signal: Signal, reason: str, sent_at: float, now: float, delay: float | None = None
    ) -> None:
        """Take up an objection to our speed or name, to a message sent at `sent_at`.

        One objection may be about the message; a second one, or one at a limit that we are
        pushing against, is about us. What was sent before the last cut teaches nothing new.
        """
        self._failures = 0
        if sent_at < self.rate.cut_at:
            self.rate.on_throttled(sent_at, now)
            return
        self._doubt += 1.0
        if self._doubt < CONVINCED and not self.rate.is_binding(now):
            if EffectKind.RATE not in self._pins:
                self._speed.hold(now + OBJECTION_PAUSE)
            return
        self._doubt = CONVINCED / 2
        if signal in {Signal.POLICY, Signal.REPUTATION}:
            self._on_policy(signal, reason, now, delay)
            return
        if delay is not None:
            self._close(delay, reason, now)
        self._reasons[EffectKind.RATE] = (reason, now)
        self._speed.objected(sent_at, now)
        if EffectKind.RATE not in self._pins:
            self._speed.back_off(now)

    # -- the operator

    def cancel(self, kind: EffectKind, now: float) -> None:
        """Lift the restriction of that kind, learnt or pinned."""
        self.unpin(kind)
        self.cancel_learnt(kind, now, since=now)

    def cancel_learnt(self, kind: EffectKind, now: float, *, since: float) -> None:
        """Lift what was learnt of that kind, unless it was learnt after `since`."""
        if kind is EffectKind.CONNECTIONS and self.utilisation.since <= since:
            self.utilisation.free()
        if self._reasons.get(kind, ("", now))[1] > since:
            return
        self._reasons.pop(kind, None)
        if kind is EffectKind.CONNECTIONS:
            self.window.free()
        elif kind is EffectKind.RATE:
            self.rate.free()
            self._speed.spacing.release(now)
        else:
            self._closure.until = 0.0
            self._failures = 0
            self._strikes = 0

    def unpin(self, kind: EffectKind) -> None:
        """Lift a pin: what is learnt holds again."""
        self._pins.pop(kind, None)

    def pin(self, kind: EffectKind, value: float, reason: str, now: float) -> None:
        """Fix a restriction until it is cancelled, whatever is learnt meanwhile."""
        self._pins[kind] = Effect(kind, value, reason, now, pinned=True)

    def simulate(self, kinds: Collection[EffectKind]) -> None:
        """Only show restrictions of these `kinds` from here on, and act on the others.

        Caps and pins hold. What was learnt before is kept.
        """
        simulated = EffectKind.CONNECTIONS in kinds
        if simulated is not self._connections.simulated:
            connections = SimulatedConnections if simulated else Connections
            self._connections = connections(self.window, self.utilisation)
        simulated = EffectKind.RATE in kinds
        if simulated is not self._speed.simulated:
            speed = SimulatedSpeed if simulated else Speed
            self._speed = speed(self.rate, self._caps.messages_per_second)
        simulated = EffectKind.PAUSE in kinds
        if simulated is not self._pause.simulated:
            self._pause = (SimulatedPause if simulated else Pause)(self._closure)

    # -- across restarts

    def learnt(self, now: float, wall: float) -> LearntLimits:
        """Return what was learnt, for the next process; times become those of the `wall` clock."""
        shift = wall - now
        rate, utilisation = self.rate, self.utilisation
        return LearntLimits(
            window=self.window.size,
            ceiling=self.window.ceiling,
            limit=rate.limit,
            rate_ceiling=rate.ceiling,
            allowance=rate.bucket.allowance if rate.bucket.is_known else None,
            penalty=rate.penalty.length,
            utilisation=(utilisation.limit, utilisation.reason, utilisation.since + shift),
            closed_until=self._closure.until + shift if self._closure.until > now else None,
            strikes=self._strikes,
            reasons={kind: (text, at + shift) for kind, (text, at) in self._reasons.items()},
            pins={
                kind: (_moved(kind, pin.value, shift), pin.reason, pin.since + shift)
                for kind, pin in self._pins.items()
            },
        )

    def restore(self, learnt: LearntLimits, now: float, wall: float) -> None:
        """Take up what `learnt` gave, perhaps long ago."""
        shift = now - wall
        self.window.size = float(learnt.window or self.window.size)
        self.window.ceiling = learnt.ceiling
        self.rate.restore(learnt, now)
        if learnt.utilisation is not None:
            worth, reason, since = learnt.utilisation
            if worth is not None:
                self.utilisation.restore(worth, reason, since + shift)
        self._closure.until = learnt.closed_until + shift if learnt.closed_until else 0.0
        self._strikes = learnt.strikes
        self._reasons = {kind: (text, at + shift) for kind, (text, at) in learnt.reasons.items()}
        for kind, (value, reason, since) in learnt.pins.items():
            self.pin(kind, _moved(kind, value, shift), reason, since + shift)

    # -- inside

    def _grow(self, busy: int, seconds: float, now: float) -> None:
        held = EffectKind.CONNECTIONS in self._pins or self.rate.is_binding(now)
        self._connections.learn(busy, seconds, now, held=held)
        size = self.window.allowed()
        if self.utilisation.allowed(size) >= size:
            self.window.grow(busy, now)

    def _limit(self) -> float | None:
        pin = self._pins.get(EffectKind.RATE)
        return pin.value if pin else self._speed.limit()

    def _pause_left(self, now: float) -> float:
        pin = self._pins.get(EffectKind.PAUSE)
        return max(0.0, pin.value - now) if pin else self._pause.left(now)

    def _close(self, seconds: float, reason: str, now: float) -> None:
        seconds = min(PAUSE_LONGEST, seconds) * self._dice.uniform(1.0, 1.1)
        self._closure.brief_until = now + min(CLOSED_FIRST, seconds)
        if now + seconds > self._closure.until:
            self._closure.until = now + seconds
            self._reasons[EffectKind.PAUSE] = (reason, now)

    def _on_policy(self, signal: Signal, reason: str, now: float, delay: float | None) -> None:
        """They do not want our mail this way: less of everything, and a pause that grows."""
        first = REPUTATION_PAUSE if signal is Signal.REPUTATION else POLICY_PAUSE
        pause = delay if delay is not None else first * 2.0 ** min(self._strikes, 10)
        self._strikes += 1
        self.window.shrink(0.5, now)
        self._speed.objected(now, now, cut=DEEP_CUT)
        self._reasons[EffectKind.CONNECTIONS] = self._reasons[EffectKind.RATE] = (reason, now)
        self._close(pause, reason, now)


def _moved(kind: EffectKind, value: float, shift: float) -> float:
    """Return the value of an effect on another clock: that of a pause is a time."""
    return value + shift if kind is EffectKind.PAUSE else value
