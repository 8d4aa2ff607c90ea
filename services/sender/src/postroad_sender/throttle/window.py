"""How many connections a lane may have: fractional feedback below a ceiling that is remembered.

The window grows by one for each window full of successes (faster while no limit is known), and
only while it is really used. A fault with one connection too many tells the limit exactly: it is
the number that stayed open. The window goes there at once, at the start of a run of faults, and
looks above only now and then, with one connection, and where that is taken soon with two, four,
eight: where one is refused no message is lost, for the others carry them.
"""

from dataclasses import dataclass

PROBE_FIRST = 3.0  # seconds between looks above the ceiling
PROBE_LONGEST = 20.0
PROBE_NEXT = 0.5  # seconds until the next look, behind one that was not refused
PROBE_MOST = 8  # connections
_STEP = 0.5  # growth for each success while no ceiling is known: by half each round


@dataclass(slots=True)
class Window:
    """The state of the loop. `most` is the cap that is never exceeded."""

    most: int = 20
    size: float = 2.0
    ceiling: int | None = None
    probe_at: float = 0.0
    probe_wait: float = PROBE_FIRST
    probe_step: int = 1
    exceeded_at: float = -1.0
    """When there was last one connection too many; `left_open` went on then."""
    left_open: int = 0

    def allowed(self) -> int:
        """How many connections there may be now."""
        return max(1, min(self.most, int(self.size)))

    def grow(self, busy: int, now: float) -> None:
        """Take up that a message went well while `busy` connections were in use."""
        if busy < self.allowed():
            return  # not used: nothing is learnt about more
        if self.ceiling is None:
            self.size = min(float(self.most), self.size + _STEP)
        elif self.size < self.ceiling:
            self.size = min(float(self.ceiling), self.size + max(1.0 / self.size, 0.25))
        elif now >= self.probe_at and self.ceiling < self.most:
            self.size = float(self.ceiling + self.probe_step)
            self.probe_at = now + self.probe_wait

    def on_connected(self, count: int, now: float) -> None:
        """There are `count` working connections, the newest one just opened."""
        if self.ceiling is not None and count > self.ceiling:
            # the limit is not where it was: look again soon, and for more
            self.ceiling = count
            self.probe_wait = PROBE_FIRST
            self.probe_at = now + PROBE_NEXT
            if count >= int(self.size):
                self.probe_step = min(PROBE_MOST, self.probe_step * 2)

    def exceeded(self, working: int, now: float) -> None:
        """One connection too many was refused, dropped or not answered; `working` go on."""
        probed = self.ceiling is not None and working >= self.ceiling
        self.ceiling = max(1, working)
        self.size = float(self.ceiling)
        self.probe_step = 1
        if probed:
            self.probe_wait = min(PROBE_LONGEST, self.probe_wait * 2)
        else:
            self.probe_wait = PROBE_FIRST
        self.probe_at = now + self.probe_wait
        self.exceeded_at, self.left_open = now, working

    def shrink(self, share: float, now: float) -> None:
        """Use only `share` of what is used now; find the way up as behind a limit."""
        self.ceiling = max(1, int(self.size * share))
        self.size = float(self.ceiling)
        self.probe_wait = PROBE_LONGEST
        self.probe_at = now + self.probe_wait

    def collapse(self) -> None:
        """Nothing works: begin again with one."""
        self.size = 1.0

    def free(self) -> None:
        """Forget the ceiling."""
        self.ceiling = None
        self.probe_step = 1
        self.probe_wait = PROBE_FIRST
