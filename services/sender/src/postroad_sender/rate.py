"""How many messages per second a lane sends: unlimited until a server says that it is too much.

Then: multiplicative decrease to what the server really took, a quick way back to just below the
ceiling that was met, a plateau there, and from time to time a look above it that grows ever faster
while nobody objects. Raised only while the limit is really what holds messages back.
"""

import math

CUT = 0.85  # after the first objection
GENTLE_CUT = 0.94  # after the objection that a look above the ceiling was made for
DEEP_CUT = 0.55  # after another one to what was sent since
BELOW_CEILING = 0.975
NEARLY = 0.8  # of what was pushed was taken: the limit met is close
PLATEAU = 8.0  # seconds at least
PLATEAU_MESSAGES = 90.0  # and at least that many: what a look above costs stays below 1 %
PLATEAU_LONGEST = 120.0  # seconds
RETURN_TIME = 2.0  # seconds; the way back to the ceiling is e-folding
FIRST_GUESS = 4.0  # messages per second, of a server that has taken next to nothing
GUESSES = 3  # objections until a limit that was guessed is taken for one that was met
GUESS_GROWTH = 0.7  # per second: it doubles
BARRED_LONGEST = 300.0  # seconds
FLOOR = 1.0 / 60.0  # messages per second
FADE_AFTER = 300.0  # seconds without objection
_SHORT = 1.5  # seconds; memory of the measured rate
_LONG = 30.0
ALLOWANCE = 12.0  # messages that a server lets through in a burst
COUNTING_LONGEST = 300.0  # seconds
COUNTABLE = 15.0  # per second; faster, what is on its way spoils the count
COUNTED = 12  # messages between two objections that tell the server's rate by themselves
MISJUDGED = 0.88  # of what was pushed, at least, is taken to be the server's rate then
_ENOUGH = 5.0  # messages in a memory before it is believed


class _Meter:
    """An exponentially forgetting counter."""

    __slots__ = ("_count", "_last", "_span", "_start")

    def __init__(self, span: float, now: float) -> None:
        self._span = span
        self._count = 0.0
        self._start = self._last = now

    def add(self, now: float) -> None:
        self._count = self._now(now) + 1.0
        self._last = now

    def restart(self, now: float) -> None:
        self._count = 0.0
        self._start = self._last = now

    def rate(self, now: float) -> float | None:
        """Per second, or None as long as too little was seen."""
        count = self._now(now)
        seen = now - self._start
        if count < _ENOUGH or seen <= 0.0:
            return None
        return count / (self._span * (1.0 - math.exp(-max(seen, 0.05) / self._span)))

    def _now(self, now: float) -> float:
        return self._count * math.exp((self._last - now) / self._span)


class Rate:
    """The state of the loop. `most` is a cap that is never exceeded."""

    def __init__(self, now: float, most: float | None = None) -> None:
        self.most = most
        self.limit: float | None = None  # messages per second; None while none is known
        self.ceiling: float | None = None
        self.cut_at = -math.inf
        self._step_at = now
        self._probe_since: float | None = None
        self._short = _Meter(_SHORT, now)
        self._long = _Meter(_LONG, now)
        self._held_at = -math.inf  # when the limit last held a message back
        self._taken_since_cut = 0
        self._taken_in_probe = 0
        self._barred = 0  # objections in a row with nothing taken between
        self._guesses = 0  # the limit is a guess, after so many more objections it is not

    def pause(self) -> float:
        """Seconds to wait after an objection; longer each time that nothing was taken since."""
        if not self._barred:
            return 1.0 / (self.limit or 1.0)
        return min(BARRED_LONGEST, 2.0 ** (self._barred - 1))

    def current(self) -> float | None:
        """What holds now: the smaller of limit and cap."""
        if self.limit is None:
            return self.most
        return self.limit if self.most is None else min(self.limit, self.most)

    def measured(self, now: float) -> float | None:
        """Messages per second that the server has taken lately."""
        return self._short.rate(now) or self._long.rate(now)

    def is_binding(self, now: float) -> bool:
        """Whether the limit is what holds messages back."""
        limit = self.current()
        return limit is not None and now - self._held_at <= max(1.0, 3.0 / limit)

    def held(self, now: float) -> None:
        """A message waits because of the limit."""
        self._held_at = now

    def took(self, now: float) -> None:
        """The server took a message."""
        self._short.add(now)
        self._long.add(now)
        self._taken_since_cut += 1
        self._taken_in_probe += 1
        self._barred = 0
        if self.limit is not None:
            self._raise(now)

    def objected(self, sent_at: float, now: float, *, cut: float = CUT) -> bool:
        """The server said that the message sent at `sent_at` came too fast.

        Returns whether the limit was cut: not for what was sent before the last cut.
        """
        if sent_at < self.cut_at:
            return False
        pushed = self.current()
        if self.limit is None:
            self._guesses = GUESSES
        elif self._taken_since_cut >= COUNTED:
            self._guesses = 0
        elif self._taken_since_cut:
            self._guesses = max(0, self._guesses - 1)
        if self.limit is not None and self._taken_since_cut == 0:
            # not even one: that is no rate but a bar, which pushing may prolong
            self._barred += 1
            self.cut_at = now
            return True
        taken = self._short.rate(now)
        if pushed is None:
            base = taken or self._long.rate(now) or FIRST_GUESS
        elif taken is None or taken > NEARLY * pushed:
            base = pushed / 1.02  # the meter lags behind a limit that rises
        else:
            base = taken
        base = self._judged(base, now)
        if self._taken_since_cut < 3:
            cut = min(cut, DEEP_CUT)
        elif self._probe_since is not None and base >= NEARLY * (self.ceiling or 0.0):
            cut = max(cut, GENTLE_CUT) if cut == CUT else cut  # met the same ceiling again
        self.ceiling = max(FLOOR, base)
        self.limit = max(FLOOR, base * cut)
        self.cut_at = self._step_at = now
        self._probe_since = None
        self._taken_since_cut = 0
        self._short.restart(now)
        return True

    def _judged(self, base: float, now: float) -> float:
        """A better guess than `base`, if enough was sent since the last objection.

        Servers let bursts through: a little too much is objected to late, when the allowance is
        used up. It was used up at the last objection, too, so what was taken between is the rate.
        """
        span = now - self.cut_at
        if base > COUNTABLE or self._taken_since_cut < COUNTED or not span < COUNTING_LONGEST:
            return base
        counted = self._taken_since_cut / span
        if self._probe_since is None or self.ceiling is None:
            return min(base, max(counted, MISJUDGED * base))
        more = self._taken_in_probe - self.ceiling * (now - self._probe_since)
        if more > ALLOWANCE:
            return base  # far above the ceiling that was known: it has moved
        return max(self.ceiling, min(base, counted))

    def free(self) -> None:
        """Forget limit and ceiling."""
        self.limit = self.ceiling = self._probe_since = None

    def _raise(self, now: float) -> None:
        limit, ceiling = self.limit, self.ceiling
        if limit is None or ceiling is None:
            return
        passed = min(now - self._step_at, 1.0)
        self._step_at = now
        if not self.is_binding(now):
            self._probe_since = None
            self._fade(limit, passed, now)
            return
        if self._guesses:
            # made of the first few replies: find out quickly how much too low it is
            self.limit = limit * math.exp(GUESS_GROWTH * passed)
            return
        target = ceiling * BELOW_CEILING
        if limit < target * 0.995:
            self.limit = limit + (target - limit) * (1.0 - math.exp(-passed / RETURN_TIME))
            return
        if now - self.cut_at < max(PLATEAU, min(PLATEAU_LONGEST, PLATEAU_MESSAGES / limit)):
            return
        if self._probe_since is None:
            self._probe_since = now
            self._taken_in_probe = 0
        # time is counted in seconds for fast lanes, in messages for slow ones
        unit = max(1.0, 10.0 / limit)
        age = (now - self._probe_since) / unit
        self.limit = limit * math.exp((0.03 + 0.05 * age) * passed / unit)

    def _fade(self, limit: float, passed: float, now: float) -> None:
        """An unused limit is neither proven nor refuted; without objection it fades slowly."""
        if now - self.cut_at < FADE_AFTER:
            return
        self.limit = limit * math.exp(passed / 60.0)
        self.ceiling = max(self.ceiling or 0.0, self.limit)
        usual = self._long.rate(now) or 1.0
        if self.limit > max(50.0, 20.0 * usual):
            self.free()
