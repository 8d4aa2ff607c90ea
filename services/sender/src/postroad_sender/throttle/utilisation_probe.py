"""What connections gain: a server that only replies more slowly to more of them needs no more.

Slow replies alone say little: a server may be slow by nature, have a bad hour, or get long
messages. They raise a suspicion; a trial settles it. For a moment the lane uses fewer connections
and compares how many messages it gets through. As many: the difference is given back. From time to
time it tries a few more in the same way, which is how the restriction fades.
"""

import math
from dataclasses import dataclass

SUSPICIOUS = 1.6  # times the time that replies took at best
CONVICTED = 1.25  # the same, while a limit is known
AGEING = 1800.0  # seconds; the best is e-folding forgotten
SLOWLY = 0.04  # weight of the newest reply in the average
SLOWER = 0.01  # and in the averages that tell how uneven they are
ENOUGH = 50  # replies until the average is believed
MEASURED = 60.0  # replies in each half of a trial
UNEVEN = 400.0  # more of them, times the square of their coefficient of variation
WORTH = 0.3  # of the messages that connections should bring in proportion
LEAST = 0.25  # of the connections are kept in a trial
MORE = 1.15  # times the connections are tried later
USED = 0.75  # of the connections work, or nothing is learnt
AGAIN_FIRST = 30.0  # seconds between trials, three times as many after each that changes nothing
AGAIN_LONGEST = 600.0
TRIAL_LONGEST = 60.0  # seconds of each half


@dataclass(slots=True)
class _Trial:
    """`before` connections against `size`. `speed` is known when the first half is over."""

    before: int
    size: int
    began: float
    since: float | None = None
    replies: int = 0
    speed: float | None = None  # messages per second


@dataclass(slots=True)
class UtilisationProbe:
    """The state for one lane. `limit` is how many connections were found worth having."""

    limit: int | None = None
    reason: str = ""
    since: float = 0.0
    _reply: float = 0.0  # seconds, averaged
    _mean: float = 0.0
    _square: float = 0.0
    _best: float = math.inf
    _at: float = 0.0
    _seen: int = 0  # since something changed
    _replies: int = 0
    _trial: _Trial | None = None
    _next: float = 0.0
    _wait: float = AGAIN_FIRST

    def allowed(self, size: int) -> int:
        """Of `size` connections, how many are worth having or tried now."""
        trial = self._trial
        if trial is not None:
            return min(size, trial.before if trial.speed is None else trial.size)
        return size if self.limit is None else min(size, self.limit)

    def on_success(self, size: int, busy: int, seconds: float, now: float) -> None:
        """Take up a reply after `seconds`, with `busy` connections in use of `size` allowed."""
        self._note(seconds, now)
        trial, allowed = self._trial, self.allowed(size)
        if busy < USED * allowed:
            self._trial = None
        elif trial is None:
            target = self._target(size, now)
            if target is not None:
                self._trial = _Trial(allowed, target, now)
        elif size < min(trial.before, trial.size) or now - trial.began > TRIAL_LONGEST:
            self._trial = None
            self._later(now)
        elif now - seconds >= trial.began:
            self._measure(trial, size, now)

    def stop(self) -> None:
        """No trial now: it is something else that holds messages back."""
        self._trial = None

    def suppose(self, size: int, seconds: float, now: float) -> None:
        """Take up a reply without a trial: the limit is what would be tried, or nothing."""
        self._note(seconds, now)
        target = self._target(size, now)
        if target is not None and target < size:
            slow, quick = self._reply, self._best
            self.reason = (
                f"replies take {slow:.2g} s, and took {quick:.2g} s with fewer connections"
            )
            self.limit, self.since = target, now
        elif target == size or self._reply < CONVICTED * self._best:
            self.limit = None

    def restore(self, limit: int, reason: str, since: float) -> None:
        """Take up what was found earlier."""
        self.limit, self.reason, self.since = limit, reason, since

    def free(self) -> None:
        """Forget the limit."""
        self.limit = self._trial = None
        self._best = math.inf
        self._seen = 0

    def _note(self, seconds: float, now: float) -> None:
        self._seen += 1
        weight = max(SLOWLY, 1.0 / self._seen)
        self._reply += (seconds - self._reply) * weight
        self._replies += 1
        slower = max(SLOWER, 1.0 / self._replies)
        self._mean += (seconds - self._mean) * slower
        self._square += (seconds * seconds - self._square) * slower
        if self._seen >= ENOUGH:
            aged = self._best * (1.0 + (now - self._at) / AGEING)
            self._best = min(aged, self._reply)
        self._at = now

    def _target(self, size: int, now: float) -> int | None:
        """How many connections to try, if anything is to be tried now."""
        if now < self._next or self._seen < ENOUGH:
            return None
        allowed = self.allowed(size)
        much = SUSPICIOUS if self.limit is None else CONVICTED
        if allowed > 1 and self._reply > much * self._best:
            return max(1, math.ceil(allowed * max(LEAST, self._best / self._reply)))
        if self.limit is not None and self.limit < size:
            return min(size, math.ceil(self.limit * MORE))
        return None

    def _measure(self, trial: _Trial, size: int, now: float) -> None:
        """One more reply to a message that was sent in this half of the trial."""
        if trial.since is None:
            trial.since = now
            return
        trial.replies += 1
        if trial.replies < MEASURED + UNEVEN * self._unevenness():
            return
        speed = trial.replies / max(1e-6, now - trial.since)
        if trial.speed is None:
            trial.speed, trial.replies, trial.since, trial.began = speed, 0, None, now
            return
        self._trial = None
        self._seen = 0
        # 1 if messages come in proportion to connections, 0 if it makes no difference
        worth = math.log(trial.speed / speed) / math.log(trial.before / trial.size)
        larger, smaller = max(trial.before, trial.size), min(trial.before, trial.size)
        found = larger if worth >= WORTH else smaller
        if found == trial.before:
            self._later(now)
            if found == larger:  # slow whatever we do; by Little's law replies take so long
                self._best = trial.before / trial.speed
            return
        self._next, self._wait = now + AGAIN_FIRST / 4, AGAIN_FIRST
        if found < trial.before:
            self.reason = (
                f"replies slow down: {trial.speed:.3g} messages/s with {trial.before} connections, "
                f"{speed:.3g}/s with {trial.size}"
            )
            self.since = now
        self.limit = found if found < size else None

    def _unevenness(self) -> float:
        return max(0.0, self._square / max(1e-9, self._mean * self._mean) - 1.0)

    def _later(self, now: float) -> None:
        self._next = now + self._wait
        self._wait = min(AGAIN_LONGEST, self._wait * 3)
