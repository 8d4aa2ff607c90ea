"""The controller of one lane: when to connect, when to send, and what the answers teach.

Two loops, for connections (`window`) and for messages per second (`rate`), and pauses. It knows
no clock and no network: the time comes in as an argument, so that it runs in simulations as it
does in service. Every restriction it makes is an effect with a reason, which an operator can
cancel or replace by a pinned one.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from postroad_sender.gcra import Gcra
from postroad_sender.rate import DEEP_CUT, Rate
from postroad_sender.signals import Signal
from postroad_sender.window import Window

CLOSED_FIRST = 1.0  # seconds; doubled with each failure in a row
CLOSED_LONGEST = 300.0
OBJECTION_PAUSE = 0.25
POLICY_PAUSE = 15.0
REPUTATION_PAUSE = 60.0
PAUSE_LONGEST = 1800.0
CONVINCED = 2.0  # objections before one is taken to be about the lane and not about the message
FORGIVEN = 0.03  # of an objection, by each message taken


class Kind(StrEnum):
    """What an effect restricts."""

    CONNECTIONS = "connections"
    RATE = "rate"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Effect:
    """A restriction in force. `value`: connections, messages per second, or when a pause ends."""

    kind: Kind
    value: float
    reason: str
    since: float
    pinned: bool = False


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
        self.rate = Rate(now, caps.messages_per_second)
        self._gcra = Gcra()
        self._closed_until = 0.0
        self._failures = 0  # in a row, with nothing working
        self._strikes = 0  # policy and reputation, forgotten by successes
        self._doubt = 0.0  # objections, less what was taken since
        self._reasons: dict[Kind, tuple[str, float]] = {}
        self._pins: dict[Kind, Effect] = {}

    # -- questions

    def connections(self, now: float) -> int:
        """How many connections there may be."""
        if self._pause_left(now) > 0.0:
            return 0
        pin = self._pins.get(Kind.CONNECTIONS)
        return int(pin.value) if pin else self.window.allowed()

    def wait(self, now: float) -> float:
        """Seconds until the next message may be sent; 0.0 if it may now."""
        closed = self._pause_left(now)
        if closed > 0.0:
            return closed
        if self._limit() is None:
            return 0.0
        left = self._gcra.wait(now)
        if left > 0.0:
            self.rate.held(now)
        return left

    def closed_for(self, now: float) -> float:
        """Seconds for which nothing at all is sent; 0.0 if the lane is open."""
        return self._pause_left(now)

    def why_closed(self) -> str:
        """The reason of the pause in force."""
        pin = self._pins.get(Kind.PAUSE)
        return pin.reason if pin else self._reasons.get(Kind.PAUSE, ("", 0.0))[0]

    def effects(self, now: float) -> list[Effect]:
        """All restrictions in force, pinned ones instead of learnt ones."""
        found = list(self._pins.values())
        learnt: list[tuple[Kind, float | None]] = [
            (Kind.CONNECTIONS, self.window.ceiling),
            (Kind.RATE, self.rate.limit),
            (Kind.PAUSE, self._closed_until if self._closed_until > now else None),
        ]
        for kind, value in learnt:
            if value is not None and kind not in self._pins:
                reason, since = self._reasons.get(kind, ("", now))
                found.append(Effect(kind, float(value), reason, since))
        return found

    # -- what happened

    def sent(self, now: float) -> None:
        """A message begins."""
        limit = self._limit()
        if limit is not None:
            self._gcra.spend(now, limit)

    def opened(self, count: int, now: float) -> None:
        """A connection was opened; `count` work now."""
        self._failures = 0
        self.window.opened(count, now)

    def took(self, busy: int, now: float) -> None:
        """The server took a message, or answered about it without complaint about us."""
        self._failures = 0
        self.window.grow(busy, now)
        self.rate.took(now)
        self._doubt = max(0.0, self._doubt - FORGIVEN)
        if self._strikes and now - self._reasons.get(Kind.PAUSE, ("", 0.0))[1] > POLICY_PAUSE * 4:
            self._strikes -= 1
            self._reasons[Kind.PAUSE] = (self._reasons[Kind.PAUSE][0], now)

    def not_opened(
        self, working: int, signal: Signal, reason: str, now: float, delay: float | None = None
    ) -> None:
        """A connection could not be opened, or was ended instead of used; `working` are left."""
        if signal in {Signal.POLICY, Signal.REPUTATION}:
            self._punished(signal, reason, now, delay)
        elif working > 0:
            self.window.exceeded(working, now)
            self._reasons[Kind.CONNECTIONS] = (reason, now)
        else:
            self._failures += 1
            self.window.collapse()
            pause = min(
                self._caps.closed_longest, CLOSED_FIRST * 2.0 ** min(self._failures - 1, 10)
            )
            self._close(max(pause, delay or 0.0), reason, now)

    def objected(
        self, signal: Signal, reason: str, sent_at: float, now: float, delay: float | None = None
    ) -> None:
        """The server answered a message sent at `sent_at` with trouble about our speed or name.

        One objection may be about the message; a second one, or one at a limit that we are
        pushing against, is about us. What was sent before the last cut teaches nothing new.
        """
        if sent_at < self.rate.cut_at:
            return
        self._doubt += 1.0
        if self._doubt < CONVINCED and not self.rate.is_binding(now):
            self._gcra.hold(now + OBJECTION_PAUSE)
            return
        self._doubt = CONVINCED / 2
        if signal in {Signal.POLICY, Signal.REPUTATION}:
            self._punished(signal, reason, now, delay)
        elif self.rate.objected(sent_at, now):
            self._reasons[Kind.RATE] = (reason, now)
            if delay is not None:
                self._close(delay, reason, now)
            self._gcra.hold(now + max(OBJECTION_PAUSE, self.rate.pause()))

    # -- the operator

    def cancel(self, kind: Kind, now: float) -> None:
        """Lift the restriction of that kind, learnt or pinned."""
        self.unpin(kind)
        self.cancel_learnt(kind, now, since=now)

    def cancel_learnt(self, kind: Kind, now: float, *, since: float) -> None:
        """Lift what was learnt of that kind, unless it was learnt after `since`."""
        if self._reasons.get(kind, ("", now))[1] > since:
            return
        self._reasons.pop(kind, None)
        if kind is Kind.CONNECTIONS:
            self.window.free()
        elif kind is Kind.RATE:
            self.rate.free()
            self._gcra.release(now)
        else:
            self._closed_until = 0.0
            self._failures = 0
            self._strikes = 0

    def unpin(self, kind: Kind) -> None:
        """What is learnt holds again."""
        self._pins.pop(kind, None)

    def pin(self, kind: Kind, value: float, reason: str, now: float) -> None:
        """Fix a restriction until it is cancelled, whatever is learnt meanwhile."""
        self._pins[kind] = Effect(kind, value, reason, now, pinned=True)

    # -- across restarts

    def to_state(self, now: float, wall: float) -> dict[str, Any]:
        """What was learnt, as JSON values; times become those of the `wall` clock."""
        shift = wall - now
        return {
            "window": self.window.size,
            "ceiling": self.window.ceiling,
            "limit": self.rate.limit,
            "rate_ceiling": self.rate.ceiling,
            "closed_until": self._closed_until + shift if self._closed_until > now else None,
            "strikes": self._strikes,
            "reasons": {kind: [text, at + shift] for kind, (text, at) in self._reasons.items()},
            "pins": {
                kind: [
                    pin.value + (shift if kind is Kind.PAUSE else 0.0),
                    pin.reason,
                    pin.since + shift,
                ]
                for kind, pin in self._pins.items()
            },
        }

    def restore(self, state: dict[str, Any], now: float, wall: float) -> None:
        """Take up what `to_state` gave, perhaps long ago."""
        shift = now - wall
        ceiling, limit = state.get("ceiling"), state.get("limit")
        self.window.size = float(state.get("window") or self.window.size)
        self.window.ceiling = int(ceiling) if ceiling is not None else None
        self.rate.limit = float(limit) if limit is not None else None
        rate_ceiling = state.get("rate_ceiling")
        self.rate.ceiling = float(rate_ceiling) if rate_ceiling is not None else None
        if self.rate.limit is not None:
            self.rate.cut_at = now
        closed = state.get("closed_until")
        self._closed_until = float(closed) + shift if closed else 0.0
        self._strikes = int(state.get("strikes") or 0)
        self._reasons = {
            Kind(kind): (str(text), float(at) + shift)
            for kind, (text, at) in dict(state.get("reasons") or {}).items()
        }
        for name, (value, reason, since) in dict(state.get("pins") or {}).items():
            kind = Kind(name)
            moved = float(value) + (shift if kind is Kind.PAUSE else 0.0)
            self._pins[kind] = Effect(kind, moved, str(reason), float(since) + shift, pinned=True)

    # -- inside

    def _limit(self) -> float | None:
        pin = self._pins.get(Kind.RATE)
        return pin.value if pin else self.rate.current()

    def _pause_left(self, now: float) -> float:
        pin = self._pins.get(Kind.PAUSE)
        until = pin.value if pin else self._closed_until
        return max(0.0, until - now)

    def _close(self, seconds: float, reason: str, now: float) -> None:
        seconds = min(PAUSE_LONGEST, seconds) * self._dice.uniform(1.0, 1.1)
        if now + seconds > self._closed_until:
            self._closed_until = now + seconds
            self._reasons[Kind.PAUSE] = (reason, now)

    def _punished(self, signal: Signal, reason: str, now: float, delay: float | None) -> None:
        """They do not want our mail this way: less of everything, and a pause that grows."""
        first = REPUTATION_PAUSE if signal is Signal.REPUTATION else POLICY_PAUSE
        pause = delay if delay is not None else first * 2.0 ** min(self._strikes, 10)
        self._strikes += 1
        self.window.shrink(0.5, now)
        self.rate.objected(now, now, cut=DEEP_CUT)
        self._reasons[Kind.CONNECTIONS] = self._reasons[Kind.RATE] = (reason, now)
        self._close(pause, reason, now)
