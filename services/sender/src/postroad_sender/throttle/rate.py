"""How many messages per second a lane sends: unlimited until a server says that it is too much.

Then: multiplicative decrease to what the server really took, a quick way back to just below the
ceiling that was met, a plateau there, and from time to time a look above it that grows ever faster
while nobody objects. What a look costs is known from the last one, and the plateau is as long as
makes that little. Raised only while the limit is really what holds messages back.

What an objection tells about the receiver's limit is in `bucket_estimate`, waiting after one in
`penalty`.
"""

import math

from postroad_common.schemas.lanes import LearntLimits
from postroad_sender.throttle.bucket_estimate import BucketEstimate
from postroad_sender.throttle.meter import Meter
from postroad_sender.throttle.penalty import Penalty

CUT = 0.85  # after an objection
GENTLE_CUT = 0.97  # after one that tells the server's rate: a look, or enough was counted
DEEP_CUT = 0.55  # after one to what was sent just behind the last
BELOW_CEILING = 0.98
NEARLY = 0.8  # of what was pushed was taken: the limit met is close
PLATEAU = 15.0  # seconds at least
PER_OBJECTION = 110.0  # messages of a plateau for each objection since the last look began
PER_LOST = 80.0  # seconds of a plateau for each one that the last look made the lane stand still
PLATEAU_LONGEST = 600.0  # seconds
TRUST = 3  # looks that meet the same ceiling until plateaus have their full length
RETURN_TIME = 2.0  # seconds; the way back to the ceiling is e-folding
LOOK_UNIT = 3.0  # messages that count as a second in slow lanes
LOOK_SPEED, LOOK_ACCELERATION = 0.03, 0.05  # per second, and per second more each second
FIRST_GUESS = 4.0  # messages per second, of a server that has taken next to nothing
GUESSES = 3  # objections until a limit that was guessed is taken for one that was met
GUESS_GROWTH = 0.7  # per second: it doubles
CREEP = 1.02  # a ceiling that was counted rises by so much when a look got twice as far
CREEP_LESS = 1.005  # the same, once the server's allowance is known
LEAP = 0.5  # of the way (of its logarithm) to where the look got, if it was not counted
FEW = 3  # messages that tell nothing
COUNTED = 12  # messages between two objections that tell the server's rate by themselves
FLOOR = 1.0 / 60.0  # messages per second
FADE_AFTER = 300.0  # seconds without objection
_LAG = 1.02  # how far the meter lags behind a limit that rises
_SHORT = 1.5  # seconds; memory of the measured rate
_LONG = 30.0
_BRIEFEST = 0.05  # seconds


class Rate:
    """The state of the loop. `most` is a cap that is never exceeded."""

    def __init__(self, now: float, most: float | None = None) -> None:
        self.most = most
        self.limit: float | None = None  # messages per second; None while none is known
        self.ceiling: float | None = None
        self.cut_at = -math.inf
        self.bucket = BucketEstimate()
        self.penalty = Penalty()
        self._short = Meter(_SHORT, now)
        self._long = Meter(_LONG, now)
        self._step_at = now
        self._look_since: float | None = None
        self._held_at = -math.inf  # when the limit last held a message back
        self._count_since = now  # the bucket was empty
        self._counts = False  # whether the limit has held messages back ever since
        self._taken = 0  # of what was sent since the last cut
        self._guesses = 0  # the limit is a guess, after so many more objections it is not
        self._measured = False  # the ceiling was counted between two objections
        self._trust = 0  # looks that met the same ceiling
        self._objections = 0  # since the last look

    @property
    def is_careful(self) -> bool:
        """Whether one message should go ahead, and others only when it was taken."""
        return self._taken == 0 and self.penalty.is_careful

    def current(self) -> float | None:
        """Return what holds now: the smaller of limit and cap."""
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
        """Note that a message waits because of the limit."""
        self._held_at = now

    def on_sent(self, now: float) -> None:
        """Count a message that begins."""
        self.bucket.on_sent(now, logged=self.limit is not None)

    def on_success(self, now: float, sent_at: float) -> None:
        """Take up that the message sent at `sent_at` was accepted."""
        self._short.add(now)
        self._long.add(now)
        if sent_at >= self.cut_at:
            if self.is_careful:
                self.penalty.lifted(now)
                self.bucket.emptied()
                self._count_since = now
            self._taken += 1
        if self.limit is not None:
            self._raise(now)

    def on_throttled(self, sent_at: float, now: float, *, cut: float | None = None) -> bool:
        """Take up that the message sent at `sent_at` came too fast for the server.

        `cut` is the share to go down to, if it does not follow. Returns whether the limit was cut
        or is to wait: not for what was sent before the last cut.
        """
        self._objections += 1
        if sent_at < self.cut_at:
            return False
        before = self.bucket.sent_before(sent_at)
        if self.limit is not None and self._taken == 0 and before == 0:
            # not even one: that is no rate but a bar, which pushing may prolong
            self.penalty.refused(now)
            self.bucket.emptied()
            self.cut_at = self._count_since = now
        else:
            self._cut(before, sent_at, now, cut)
        return True

    def suppose(self, now: float) -> None:
        """Work out what the limit would be, where none holds messages back."""
        self.ceiling = self._long.rate(now) or self._short.rate(now) or FIRST_GUESS
        self.limit = max(FLOOR, self.ceiling * CUT)
        self.cut_at = self._step_at = now

    def free(self) -> None:
        """Forget limit and ceiling."""
        self.limit = self.ceiling = self._look_since = None
        self._trust = 0
        self.penalty.free()
        self.bucket.free()

    def restore(self, learnt: LearntLimits, now: float) -> None:
        """Take up what an earlier process has learnt of the rate, if it has a limit."""
        if learnt.limit is None:
            return
        self.limit = float(learnt.limit)
        self.ceiling = self.limit if learnt.rate_ceiling is None else float(learnt.rate_ceiling)
        self.penalty.length = None if learnt.penalty is None else float(learnt.penalty)
        if learnt.allowance is not None:
            self.bucket.allowance, self.bucket.is_known = float(learnt.allowance), True
        self.cut_at = now

    # -- inside

    def _cut(self, before: int, sent_at: float, now: float, cut: float | None) -> None:
        looked, known, pushed = self._look_since is not None, self.ceiling, self.current()
        enough = self._counts and not self._guesses and before >= COUNTED
        base = self._estimate(pushed, before, sent_at, now)
        moved = known is None or not NEARLY * known <= base <= known / NEARLY
        if cut is None:
            if before < FEW:
                cut = DEEP_CUT
            else:
                cut = GENTLE_CUT if not moved and (looked or enough) else CUT
        if moved:
            self._trust = 0
        if looked:
            self._measured = self._measured and not moved
            self._trust = min(TRUST, self._trust + 1)
            self._objections, self.penalty.lost = 1, 0.0
        else:
            self._measured = enough
        self._guesses = GUESSES if pushed is None else max(0, self._guesses - 1)
        self.ceiling = max(FLOOR, base)
        self.limit = max(FLOOR, base * cut)
        self.penalty.begin(self.limit, self.ceiling, now - sent_at, now)
        self.bucket.emptied()
        self.cut_at = self._step_at = self._count_since = now
        self._look_since = None
        self._taken = 0
        self._counts = True
        self._short.restart(now)

    def _estimate(self, pushed: float | None, before: int, sent_at: float, now: float) -> float:
        """Return the server's rate as this objection tells it; `before` were sent since the last.

        The bucket was empty then and is empty now, so what was sent between is the rate, if nothing
        ran over. Below the rate it does: so behind a plateau only the look tells.
        """
        taken = self._short.rate(now)
        if pushed is None:
            return taken or self._long.rate(now) or FIRST_GUESS
        most = pushed / _LAG if taken is None or taken > NEARLY * pushed else taken
        if not self._counts:
            return most
        if self._look_since is not None and self.ceiling is not None:
            return self._estimate_of_look(most, self.ceiling, sent_at, self._look_since)
        seconds = max(_BRIEFEST, sent_at - self._count_since)
        if self._guesses:  # it had to grow from far below: much ran over, and it was pushed too far
            return math.sqrt(most * min(most, max((before + 1) / seconds, taken or 0.0)))
        counted = (before + 0.5 * (before < COUNTED)) / seconds
        if before >= COUNTED:
            self.bucket.counted(counted)
        return min(most, counted)

    def _estimate_of_look(self, most: float, ceiling: float, sent_at: float, since: float) -> float:
        """Not below the ceiling that was known: that would have been met before."""
        since = max(since, self._count_since)
        higher = max(1.0, most / ceiling)
        if self._measured:
            self.bucket.suppose(ceiling, sent_at, since)
            creep = CREEP_LESS if self.bucket.is_known else CREEP
            least = ceiling * min(creep, math.sqrt(higher))
        else:
            least = ceiling * math.pow(higher, LEAP)
        return max(least, min(most, self.bucket.rate_at(sent_at, since)))

    def _raise(self, now: float) -> None:
        limit, ceiling = self.limit, self.ceiling
        if limit is None or ceiling is None:
            return
        passed = min(now - self._step_at, 1.0)
        self._step_at = now
        if not self.is_binding(now):
            self._look_since = None
            self._counts = False
            self._fade(limit, passed, now)
            return
        unit = max(1.0, LOOK_UNIT / limit)  # seconds for fast lanes, messages for slow ones
        target = ceiling * BELOW_CEILING
        if self._guesses:
            # made of the first few replies: find out quickly how much too low it is
            self.limit = limit * math.exp(GUESS_GROWTH * passed / unit)
        elif limit < target * 0.995:
            self.limit = limit + (target - limit) * (1.0 - math.exp(-passed / RETURN_TIME))
        elif now - self.cut_at >= self._plateau(limit):
            if self._look_since is None:
                self._look_since = now
            speed = LOOK_SPEED + LOOK_ACCELERATION * (now - self._look_since) / unit
            self.limit = limit * math.exp(speed * passed / unit)

    def _plateau(self, limit: float) -> float:
        """Seconds between looks: as many as make what the last one has cost little."""
        seconds = PLATEAU
        if self.penalty.length is not None:
            seconds = max(seconds, min(PLATEAU_LONGEST, PER_LOST * self.penalty.lost))
        seconds /= 1 << (TRUST - self._trust)
        # what finding the limit has cost is paid for only once
        most = self._objections if self._trust and self.penalty.length is not None else 2
        messages = PER_OBJECTION * max(1, min(most, self._objections))
        return min(PLATEAU_LONGEST, max(seconds, messages / limit))

    def _fade(self, limit: float, passed: float, now: float) -> None:
        """Let a limit fade slowly that is not used, and so neither proven nor refuted."""
        if now - self.cut_at < FADE_AFTER:
            return
        self.limit = limit * math.exp(passed / 60.0)
        self.ceiling = max(self.ceiling or 0.0, self.limit)
        usual = self._long.rate(now) or 1.0
        if self.limit > max(50.0, 20.0 * usual):
            self.free()
