"""The pure controller against a model of a receiver, in virtual time.

A receiver has limits that a client cannot see: connections, above which it answers 421, and
messages per second, above which it answers 450 4.7.1. Both may change while it runs. The same
model can be driven by the rules that Postfix publishes (proto/SCHEDULER_README), for comparison.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad_sender.control import Caps, Controller
from postroad_sender.signals import Signal

Changing = Callable[[float], float]


def always(value: float) -> Changing:
    """A limit that never changes."""
    return lambda _: value


def steps(*pairs: tuple[float, float]) -> Changing:
    """A limit given by (from when, value), in ascending order."""

    def at(now: float) -> float:
        value = pairs[0][1]
        for since, level in pairs:
            if now >= since:
                value = level
        return value

    return at


@dataclass
class Receiver:
    """The model. `seconds` is how long one message takes it; `burst` the depth of its bucket.

    With a `penalty` (seconds) a message above the rate closes it for so long, beginning anew with
    each one that is offered meanwhile. `noise` is the share of messages deferred for reasons of
    their own (full mailbox, greylisting), `drops` of those whose used connection is gone before
    the reply to MAIL.
    """

    connections: Changing = field(default_factory=lambda: always(math.inf))
    rate: Changing = field(default_factory=lambda: always(math.inf))
    seconds: float = 0.1
    round_trip: float = 0.02
    burst: float = 5.0
    penalty: float = 0.0
    noise: float = 0.0
    drops: float = 0.0
    open: int = 0
    _barred_until: float = -math.inf
    _tokens: float = math.nan
    _filled: float = 0.0

    def connect(self, now: float) -> bool:
        """Whether one more connection is taken."""
        if self.open >= self.connections(now):
            return False
        self.open += 1
        return True

    def is_crowded(self, now: float) -> bool:
        """Whether its limit has fallen below what is open."""
        return self.open > self.connections(now)

    def take(self, now: float) -> bool:
        """Whether a message is taken, by a token bucket."""
        rate = self.rate(now)
        if math.isinf(rate):
            return True
        if now < self._barred_until:
            self._barred_until = now + self.penalty
            return False
        if math.isnan(self._tokens):
            self._tokens = self.burst
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self._tokens < 1.0:
            if self.penalty:
                self._barred_until = now + self.penalty
            return False
        self._tokens -= 1.0
        return True


@dataclass
class Result:
    """What came of a run. `timeline`: messages taken in each second, `deferrals` those deferred.

    `excused` were deferred for reasons of their own, which no speed would have changed.
    """

    delivered: int = 0
    deferred: int = 0
    refused_connections: int = 0
    excused: int = 0
    timeline: list[int] = field(default_factory=list)
    deferrals: list[int] = field(default_factory=list)

    @property
    def deferred_share(self) -> float:
        """Of all attempts, between 0 and 1."""
        return self.deferred / max(1, self.deferred + self.delivered)

    def rate_between(self, start: int, end: int) -> float:
        """Messages per second in the given seconds."""
        return sum(self.timeline[start:end]) / max(1, end - start)

    def deferred_between(self, start: int, end: int) -> float:
        """The share deferred in the given seconds."""
        bad, good = sum(self.deferrals[start:end]), sum(self.timeline[start:end])
        return bad / max(1, bad + good)


class _Clock:
    """Events in virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._numbers), action))

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()


def simulate(
    receiver: Receiver, seconds: float, *, caps: Caps | None = None, seed: int = 1
) -> Result:
    """Our rules: an endless backlog for `receiver`, through kept connections, for `seconds`."""
    return _Ours(receiver, seconds, caps or Caps(), random.Random(seed)).run()


class _Ours:
    def __init__(self, receiver: Receiver, seconds: float, caps: Caps, dice: random.Random) -> None:
        self._clock = _Clock()
        self._receiver = receiver
        self._seconds = seconds
        self._dice = dice
        self.controller = Controller(caps, 0.0, dice)
        self._opening = 0
        self._working = 0
        self._busy = 0
        self._result = Result(timeline=[0] * (int(seconds) + 1), deferrals=[0] * (int(seconds) + 1))

    def run(self) -> Result:
        self._open_more()
        self._tick()
        self._clock.run(self._seconds)
        return self._result

    def _tick(self) -> None:
        self._open_more()
        self._clock.later(0.1, self._tick)

    def _open_more(self) -> None:
        now = self._clock.now
        while self._working + self._opening < self.controller.connections(now):
            self._opening += 1
            self._clock.later(self._receiver.round_trip * 1.5, self._opened)

    def _opened(self) -> None:
        now = self._clock.now
        self._opening -= 1
        if self._receiver.connect(now):
            self._working += 1
            self.controller.opened(self._working, now)
            self._next()
        else:
            self._result.refused_connections += 1
            reason = "421 too many connections"
            self.controller.not_opened(self._working, Signal.CONNECTIONS, reason, now)

    def _next(self) -> None:
        now = self._clock.now
        if self._working > max(1, self.controller.connections(now)):
            self._close()
            return
        wait = self.controller.wait(now)
        if wait > 0.0:
            self._clock.later(min(wait, 1.0), self._next)
            return
        self.controller.sent(now)
        self._busy += 1
        self._clock.later(self._receiver.round_trip, lambda: self._offered(now))

    def _offered(self, sent_at: float) -> None:
        now = self._clock.now
        if self._dice.random() < self._receiver.drops:
            # a used connection that ends says nothing: the message goes on through another one
            self._busy -= 1
            self._close()
            return
        if self._receiver.is_crowded(now):
            # gone in place of a reply to MAIL: the message goes back into the lane, unharmed
            self._busy -= 1
            self._close()
            self._result.refused_connections += 1
            reason = "421 too many connections"
            self.controller.not_opened(self._working, Signal.CONNECTIONS, reason, now)
            return
        if not self._receiver.take(now):
            self._result.deferred += 1
            self._result.deferrals[int(now)] += 1
            self._clock.later(self._receiver.round_trip, lambda: self._objected(sent_at))
            return
        spread = self._dice.uniform(0.8, 1.2)
        self._clock.later(self._receiver.seconds * spread, self._taken)

    def _objected(self, sent_at: float) -> None:
        self._busy -= 1
        self.controller.objected(Signal.RATE, "450 4.7.1 slow down", sent_at, self._clock.now)
        self._next()

    def _taken(self) -> None:
        now = self._clock.now
        if self._dice.random() < self._receiver.noise:
            self._result.excused += 1  # says nothing about the lane
        else:
            self._result.delivered += 1
            self._result.timeline[int(now)] += 1
        self.controller.took(self._busy, now)
        self._busy -= 1
        self._next()
        self._open_more()

    def _close(self) -> None:
        self._working -= 1
        self._receiver.open -= 1


Feedback = Callable[[float], float]
POSTFIX_FEEDBACK: dict[str, Feedback] = {
    "1": lambda _: 1.0,
    "1/sqrt N": lambda n: 1.0 / math.sqrt(n),
    "1/N": lambda n: 1.0 / n,
}


def simulate_postfix(
    receiver: Receiver, seconds: float, feedback: Feedback, *, cap: int = 20, seed: int = 1
) -> Result:
    """Postfix's rules: one connection for each delivery; 421 defers the message that met it."""
    clock, dice, result = _Clock(), random.Random(seed), Result()
    result.timeline = [0] * (int(seconds) + 1)
    result.deferrals = [0] * (int(seconds) + 1)
    window, success, failure, busy = 5.0, 0.0, 0.0, 0

    def fill() -> None:
        nonlocal busy
        while busy < int(window):
            busy += 1
            clock.later(receiver.round_trip * dice.uniform(1.4, 1.6), begin)

    def begin() -> None:
        if receiver.connect(clock.now):
            clock.later(receiver.seconds * dice.uniform(0.8, 1.2), good)
        else:
            bad()

    def good() -> None:
        nonlocal window, success, failure, busy
        receiver.open -= 1
        result.delivered += 1
        result.timeline[int(clock.now)] += 1
        failure = 0.0
        if window < cap:
            success += feedback(window)
            while success >= 1.0:
                window, success = min(cap, window + 1.0), success - 1.0
        busy -= 1
        fill()

    def bad() -> None:
        nonlocal window, success, failure, busy
        result.deferred += 1
        result.deferrals[int(clock.now)] += 1
        success = 0.0
        failure -= feedback(window)
        while failure < 0.0:
            window, failure = max(1.0, window - 1.0), failure + 1.0
        busy -= 1
        fill()

    fill()
    clock.run(seconds)
    return result
