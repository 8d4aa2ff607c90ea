"""The pure controller against a model of a receiver, in virtual time.

A receiver has limits that a client cannot see: connections, above which it answers 421, and
messages per second, above which it answers 450 4.7.1; or its replies just get slower. All of that
may change while it runs. The lane's own queue of messages can be part of it, to see who waits.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from postroad_common.schemas.lanes import EffectKind
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.lanes.lane import Lane
from postroad_sender.throttle.controller import Caps, Controller
from postroad_sender.throttle.signals import Signal

Changing = Callable[[float], float]
_ENOUGH = 100  # attempts that tell whether 1 % is deferred


def always(value: float) -> Changing:
    """Return a limit that never changes."""
    return lambda _: value


def steps(*pairs: tuple[float, float]) -> Changing:
    """Return a limit given by (from when, value), in ascending order."""

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
    each one that is offered meanwhile and then `growth` times as long. `noise` is the share of
    messages deferred for reasons of their own (full mailbox, greylisting), `drops` of those whose
    used connection is gone before the reply to MAIL.

    Above `knee` messages at once it takes (messages / knee) ** `steep` times as long for each: with
    1 it does as much as before and not more, above that the less the more it is given. `load` is
    how many times as long it takes for reasons of its own; `spread` the sigma of the logarithm of
    the time for one message, 0 for nearly constant times.
    """

    connections: Changing = field(default_factory=lambda: always(math.inf))
    rate: Changing = field(default_factory=lambda: always(math.inf))
    seconds: float = 0.1
    round_trip: float = 0.02
    burst: float = 5.0
    penalty: float = 0.0
    growth: float = 1.0
    noise: float = 0.0
    drops: float = 0.0
    knee: float = math.inf
    steep: float = 1.0
    load: Changing = field(default_factory=lambda: always(1.0))
    spread: float = 0.0
    open: int = 0
    busy: int = 0
    _barred_until: float = -math.inf
    _bar: float = 0.0
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
            self._bar = min(60.0, self._bar * self.growth)
            self._barred_until = now + self._bar
            return False
        if math.isnan(self._tokens):
            self._tokens = self.burst
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self._tokens < 1.0:
            self._bar = self.penalty
            self._barred_until = now + self.penalty if self.penalty else now
            return False
        self._tokens -= 1.0
        return True

    def duration(self, now: float, dice: random.Random) -> float:
        """Seconds from the message to its reply; it is one of those that are `busy`."""
        crowded = math.pow(max(1.0, self.busy / self.knee), self.steep)
        each = self.seconds * self.load(now) * crowded
        if self.spread:
            return each * dice.lognormvariate(-(self.spread**2) / 2, self.spread)
        return each * dice.uniform(0.8, 1.2)


@dataclass
class Result:
    """What came of a run. `timeline`: messages taken in each second, `deferrals` those deferred.

    `excused` were deferred for reasons of their own, which no speed would have changed; the
    timeline has them. `attempts`: when each message was offered, and whether it was taken.
    `windows`: connections in each second. `starts`: when a transaction began, and whose;
    `waits`: the seconds from arrival until then, by account.
    """

    delivered: int = 0
    deferred: int = 0
    refused_connections: int = 0
    excused: int = 0
    timeline: list[int] = field(default_factory=list)
    deferrals: list[int] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    attempts: list[tuple[float, bool]] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=dict)
    starts: list[tuple[float, str]] = field(default_factory=list)

    @property
    def deferred_share(self) -> float:
        """Of all attempts, between 0 and 1."""
        return self.deferred / max(1, self.deferred + self.delivered)

    def rate_between(self, start: int, end: int) -> float:
        """Messages per second in the given seconds."""
        return sum(self.timeline[start:end]) / max(1, end - start)

    def deferred_between(self, start: int, end: int) -> float:
        """Return the share deferred in the given seconds."""
        bad, good = sum(self.deferrals[start:end]), sum(self.timeline[start:end])
        return bad / max(1, bad + good)

    def calm_after(self, moment: float) -> float:
        """Seconds from `moment` until at most one of the next 100 messages is deferred."""
        later = [attempt for attempt in self.attempts if attempt[0] >= moment]
        bad = sum(not taken for _, taken in later[:_ENOUGH])
        for at in range(len(later) - _ENOUGH):
            if bad <= 1:
                return later[at][0] - moment
            bad += (not later[at + _ENOUGH][1]) - (not later[at][1])
        return math.inf

    def found_after(self, moment: float, rate: float, share: float = 0.95) -> float:
        """Seconds from `moment` until `share` of `rate` is taken, for 3 s or 60 messages."""
        span = max(3.0, 60.0 / rate)
        taken = deque[float]()
        for at, good in self.attempts:
            if at < moment or not good:
                continue
            taken.append(at)
            while taken[0] <= at - span:
                taken.popleft()
            if at >= moment + span and len(taken) >= share * rate * span:
                return max(0.0, at - span - moment)
        return math.inf


@dataclass(eq=False, slots=True)
class Letter:
    """A message of a lane's queue, that arrives at `since`. `owner` is who waits for it."""

    account: str
    since: float
    owner: str


class Clock:
    """Events in virtual time; `now` is in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it in so many seconds."""
        heapq.heappush(self._heap, (self.now + seconds, next(self._numbers), action))

    def run(self, until: float) -> None:
        """Do all that is to be done until then."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()


def simulate(
    receiver: Receiver,
    seconds: float,
    *,
    caps: Caps | None = None,
    seed: int = 1,
    letters: Sequence[Letter] | None = None,
    simulated: Collection[EffectKind] = (),
) -> Result:
    """Our rules: a backlog for `receiver`, through kept connections, for `seconds`.

    The backlog is endless, or `letters`, each of which arrives at its `since`.
    """
    caps = caps or Caps()
    run = Simulation(receiver, seconds, caps=caps, seed=seed, letters=letters, simulated=simulated)
    return run.run()


class Simulation:
    """One run; `controller` can be looked at while it goes on."""

    def __init__(
        self,
        receiver: Receiver,
        seconds: float,
        *,
        caps: Caps,
        seed: int,
        letters: Sequence[Letter] | None = None,
        simulated: Collection[EffectKind] = (),
    ) -> None:
        self._clock = Clock()
        self._receiver = receiver
        self._seconds = seconds
        self._dice = random.Random(seed)
        self.controller = Controller(caps, 0.0, self._dice)
        self.controller.simulate(simulated)
        self._lane: Lane[Letter] | None = None
        if letters is not None:
            self._lane = Lane(LaneKey("", "receiver"), self.controller, 0.0)
            for letter in letters:
                self._clock.later(letter.since, partial(self._arrived, letter))
        self._opening = 0
        self._working = 0
        self._idle = 0  # of those that work
        self._wakes_at = math.inf
        self._busy = 0
        many = int(seconds) + 1
        self.result = Result(timeline=[0] * many, deferrals=[0] * many, windows=[0] * many)

    def run(self) -> Result:
        """All of it."""
        self._open_more()
        self._tick()
        self._clock.run(self._seconds)
        return self.result

    def _arrived(self, letter: Letter) -> None:
        if self._lane is not None:
            self._lane.put(letter)
            self._schedule()

    def _tick(self) -> None:
        self._schedule()
        self.result.windows[int(self._clock.now)] = self._working
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
            self.controller.on_connected(self._working, now)
            self._next()
        else:
            self.result.refused_connections += 1
            reason = "421 too many connections"
            self.controller.on_connect_failed(self._working, Signal.CONNECTIONS, reason, now)

    def _next(self) -> None:
        """Take note that a connection is idle."""
        self._idle += 1
        self._schedule()

    def _schedule(self) -> None:
        """See what can begin."""
        now = self._clock.now
        while self._idle:
            if self._working > max(1, self.controller.connections(now)):
                self._idle -= 1
                self._close()
                continue
            if self._lane is not None and not len(self._lane):
                return
            wait = self.controller.wait(now)
            if wait > 0.0:
                self._wake_in(min(wait, 1.0))
                return
            self._idle -= 1
            self._send(now)
        self._open_more()

    def _wake_in(self, seconds: float) -> None:
        at = self._clock.now + seconds
        if not self._clock.now < self._wakes_at <= at:
            self._wakes_at = at
            self._clock.later(seconds, self._woken)

    def _woken(self) -> None:
        self._wakes_at = math.inf
        self._schedule()

    def _send(self, now: float) -> None:
        if self._lane is not None:
            letter = self._lane.take()
            if letter is not None:
                self.result.waits.setdefault(letter.owner, []).append(now - letter.since)
                self.result.starts.append((now, letter.owner))
        self.controller.on_sent(now)
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
            self.result.refused_connections += 1
            reason = "421 too many connections"
            self.controller.on_connect_failed(self._working, Signal.CONNECTIONS, reason, now)
            return
        taken = self._receiver.take(now)
        self.result.attempts.append((now, taken))
        if not taken:
            self.result.deferred += 1
            self.result.deferrals[int(now)] += 1
            self._clock.later(self._receiver.round_trip, lambda: self._on_throttled(sent_at))
            return
        self._receiver.busy += 1
        seconds = self._receiver.duration(now, self._dice)
        self._clock.later(seconds, lambda: self._taken(sent_at))

    def _on_throttled(self, sent_at: float) -> None:
        self.controller.on_throttled(Signal.RATE, "450 4.7.1 slow down", sent_at, self._clock.now)
        self._busy -= 1
        self._next()

    def _taken(self, sent_at: float) -> None:
        now = self._clock.now
        self._receiver.busy -= 1
        if self._dice.random() < self._receiver.noise:
            self.result.excused += 1  # says nothing about the lane
        else:
            self.result.delivered += 1
        self.result.timeline[int(now)] += 1
        self.controller.on_success(self._busy, now, now - sent_at)
        self._busy -= 1
        self._next()

    def _close(self) -> None:
        self._working -= 1
        self._receiver.open -= 1
