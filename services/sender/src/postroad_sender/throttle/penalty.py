"""Penalties: receivers that close after an objection, and for longer if pushed meanwhile.

An objection to the very first message since the last one is not about the rate. So the lane waits,
longer each time, sends one message ahead, and goes on when that one was taken. How long it had to
wait is remembered, and the next time a little less is tried.
"""

AGAIN = 2.0  # messages' worth of time that a server is left alone after any objection
DRAINED = 0.5  # seconds at most until what was on its way at an objection has arrived
GROWTH = 4.0  # a bar may double with each try: waiting has to grow faster
LONGEST = 300.0  # seconds
LESS = 0.25  # of a wait that was long enough is tried the next time
REAL = 10.0  # messages' worth of time; what is over sooner is no bar
REAL_LEAST = 0.5  # seconds


class Penalty:
    """The state for one lane. Times are in seconds."""

    def __init__(self) -> None:
        self.pause = 0.0  # how long the server is left alone now
        self.length: float | None = None  # how long was enough the last time
        self.lost = 0.0  # for how long the lane has stood still since the last look
        self._refused = 0  # in a row with nothing taken between
        self._since = 0.0

    @property
    def is_careful(self) -> bool:
        """Whether one message should go ahead, as long as nothing was taken since the last cut."""
        return self._refused > 0 or self.length is not None

    def begin(self, limit: float, rate: float, on_its_way: float, now: float) -> None:
        """Begin a wait: the rate was cut to `limit`; the server takes about `rate`."""
        if self.length is not None and self.length < max(REAL_LEAST, REAL / rate):
            self.length = None
        self.pause = AGAIN / limit + min(DRAINED, on_its_way)
        if self.length is not None:
            self.pause = max(self.pause, self.length * LESS)
        self._since = now

    def refused(self, now: float) -> None:
        """Wait longer: the message that went ahead was objected to."""
        self._refused += 1
        self.pause = min(LONGEST, GROWTH * self.pause)
        self.lost += now - self._since
        self._since = now

    def lifted(self, now: float) -> None:
        """End the wait: the message that went ahead was taken."""
        self.lost += now - self._since
        self.length = self.pause
        self._refused = 0

    def free(self) -> None:
        """Forget what was learnt."""
        self.length = None
        self._refused = 0
