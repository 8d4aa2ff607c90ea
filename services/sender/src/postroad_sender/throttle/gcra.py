"""The generic cell rate algorithm: an even rate, from one number of state."""


class Gcra:
    """Spaces events evenly. `tolerance` seconds of lateness may be made up for in a burst."""

    __slots__ = ("_due", "tolerance")

    def __init__(self, tolerance: float = 0.02) -> None:
        self._due = 0.0
        self.tolerance = tolerance

    def wait(self, now: float) -> float:
        """Seconds until the next event may happen; 0.0 if it may now."""
        return max(0.0, self._due - self.tolerance - now)

    def spend(self, now: float, rate: float) -> None:
        """Count an event of a stream with `rate` events per second."""
        self._due = max(self._due, now) + 1.0 / rate

    def hold(self, until: float) -> None:
        """Nothing before `until`."""
        self._due = max(self._due, until + self.tolerance)

    def release(self, now: float) -> None:
        """Forget what was spent."""
        self._due = now
