"""What a lane does about what it has learnt: it acts on it, or only shows what it would do.

For connections, speed and pauses there are two objects with the same methods, over the same
learnt state: one that acts, and one for a simulation that an operator has asked for (`simulate`).
A simulation keeps to the caps, and to the first second after a refused connection and of a closed
site, so that nobody is called in a loop. What it learns holds when the lane acts again; it is what
the lane would do next, not where it would end, for the server answers to what is really sent.
"""

from dataclasses import dataclass

from postroad_sender.throttle.gcra import Gcra
from postroad_sender.throttle.rate import Rate
from postroad_sender.throttle.utilisation_probe import UtilisationProbe
from postroad_sender.throttle.window import Window

CLOSED_FIRST = 1.0  # seconds that a site is left alone at first; doubled with each failure in a row


class Connections:
    """How many connections there may be, by the window and by how many are worth having."""

    simulated = False

    def __init__(self, window: Window, utilisation: UtilisationProbe) -> None:
        self._window = window
        self._utilisation = utilisation

    def allowed(self, now: float) -> int:
        """How many there may be."""
        del now
        return self._utilisation.allowed(self._window.allowed())

    def learn(self, busy: int, seconds: float, now: float, *, held: bool) -> None:
        """Take up a reply after `seconds`, with `busy` in use; `held` if something else limits."""
        if held:
            self._utilisation.stop()
        else:
            self._utilisation.on_success(self._window.allowed(), busy, seconds, now)


class SimulatedConnections(Connections):
    """As many as the cap allows, but for the moment after one was refused."""

    simulated = True

    def allowed(self, now: float) -> int:
        """How many there may be."""
        window = self._window
        return window.left_open if now - window.exceeded_at < CLOSED_FIRST else window.most

    def learn(self, busy: int, seconds: float, now: float, *, held: bool) -> None:
        """Take up a reply: without a limit there is no trial."""
        del held
        self._utilisation.suppose(busy, seconds, now)


class Speed:
    """When the next message may be sent, by the rate that the receiver was found to allow."""

    simulated = False

    def __init__(self, rate: Rate, cap: float | None) -> None:
        self._rate = rate
        self._cap = cap
        self.spacing = Gcra()

    def limit(self) -> float | None:
        """Return the messages per second that are allowed, if they are limited."""
        return self._rate.current()

    def held(self, now: float) -> None:
        """Note that a message waits because of the limit."""
        self._rate.held(now)

    def hold(self, until: float) -> None:
        """Send nothing before `until`."""
        self.spacing.hold(until)

    def go_on(self, now: float) -> None:
        """Send again: the message that was sent ahead was taken."""
        self.spacing.release(now)

    def back_off(self, now: float) -> None:
        """Leave the receiver alone for as long as its last objection asks for."""
        self.spacing.release(now)
        self.spacing.hold(now + self._rate.penalty.pause)

    def objected(self, sent_at: float, now: float, cut: float | None = None) -> None:
        """Take up an objection to a message sent at `sent_at`; `cut` instead of the usual one."""
        self._rate.on_throttled(sent_at, now, cut=cut)


class SimulatedSpeed(Speed):
    """As fast as the cap allows; an objection makes the limit that would hold."""

    simulated = True

    def limit(self) -> float | None:
        """Return the cap, if there is one."""
        return self._cap

    def held(self, now: float) -> None:
        """Learn nothing from a message that waits because of the cap."""

    def hold(self, until: float) -> None:
        """Go on."""

    def go_on(self, now: float) -> None:
        """Go on."""

    def back_off(self, now: float) -> None:
        """Go on."""

    def objected(self, sent_at: float, now: float, cut: float | None = None) -> None:
        """Take up an objection: work out what the limit would be."""
        del sent_at, cut
        self._rate.suppose(now)


@dataclass(slots=True)
class Closure:
    """Until when nothing is sent, and until when a simulation keeps to that."""

    until: float = 0.0
    brief_until: float = 0.0


class Pause:
    """For how long nothing is sent."""

    simulated = False

    def __init__(self, closure: Closure) -> None:
        self._closure = closure

    def left(self, now: float) -> float:
        """Return the seconds that are left."""
        return max(0.0, self._closure.until - now)


class SimulatedPause(Pause):
    """The first second of it."""

    simulated = True

    def left(self, now: float) -> float:
        """Return the seconds that are left."""
        return max(0.0, self._closure.brief_until - now)
