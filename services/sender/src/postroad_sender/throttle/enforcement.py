"""What a lane does about what it has learnt: enforce it, or only let it be seen (a dry run).

For each kind of restriction there are two objects with the same interface. A simulated one learns
and shows what the lane would do next, not where that would end: the server answers to what is
really sent. A refused connection and a closed site keep their first second even then, so that no
server is called in a loop.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from postroad_sender.throttle.gcra import Gcra
from postroad_sender.throttle.rate import DEEP_CUT, Rate
from postroad_sender.throttle.utilisation_probe import UtilisationProbe
from postroad_sender.throttle.window import Window

SIMULATED_PAUSE = 1.0  # seconds


class Kind(StrEnum):
    """What an effect restricts."""

    CONNECTIONS = "connections"
    RATE = "rate"
    PAUSE = "pause"


class Connections(Protocol):
    """How many connections there may be."""

    simulated: ClassVar[bool]

    def allowed(self, now: float) -> int:
        """Return how many there may be now."""

    def on_success(self, busy: int, seconds: float, now: float, *, held: bool) -> None:
        """Take up a reply; `held`: something else than connections held messages back."""

    def on_refused(self, working: int, now: float) -> None:
        """Take up that one was refused while `working` went on."""


@dataclass(slots=True)
class EnforcedConnections:
    """The window, and less of it where more connections bring nothing."""

    window: Window
    probe: UtilisationProbe
    simulated: ClassVar[bool] = False

    def allowed(self, now: float) -> int:
        """Return what window and probe allow."""
        del now
        return self.probe.allowed(self.window.allowed())

    def on_success(self, busy: int, seconds: float, now: float, *, held: bool) -> None:
        """Go on with a trial, or end it."""
        if held:
            self.probe.stop()
        else:
            self.probe.on_success(self.window.allowed(), busy, seconds, now)

    def on_refused(self, working: int, now: float) -> None:
        """Do nothing: the window has it already."""


@dataclass(slots=True)
class SimulatedConnections:
    """As many as the cap allows, but for a second after a refusal."""

    probe: UtilisationProbe
    most: int
    refused_at: float = -SIMULATED_PAUSE
    working: int = 0
    simulated: ClassVar[bool] = True

    def allowed(self, now: float) -> int:
        """Return the cap, or what works while a refusal is fresh."""
        return self.working if now - self.refused_at < SIMULATED_PAUSE else self.most

    def on_success(self, busy: int, seconds: float, now: float, *, held: bool) -> None:
        """Note how long the reply took; no trial is made."""
        del held
        self.probe.suppose(busy, seconds, now)

    def on_refused(self, working: int, now: float) -> None:
        """Open no other for a second."""
        self.working, self.refused_at = working, now


class Pacing(Protocol):
    """When the next message may go."""

    simulated: ClassVar[bool]

    @property
    def limit(self) -> float | None:
        """Messages per second; None: no limit."""

    def on_held(self, now: float) -> None:
        """Take up that a message waits because of the limit."""

    def on_throttled(self, sent_at: float, now: float, *, deep: bool = False) -> None:
        """Take up an objection to what was sent at `sent_at`; `deep`: cut much."""

    def hold(self, until: float) -> None:
        """Send nothing before `until`."""

    def release(self, now: float) -> None:
        """Forget what was sent."""


@dataclass(slots=True)
class EnforcedPacing:
    """The rate that was learnt, spaced evenly."""

    rate: Rate
    gcra: Gcra
    simulated: ClassVar[bool] = False

    @property
    def limit(self) -> float | None:
        """The smaller of what was learnt and the cap."""
        return self.rate.current()

    def on_held(self, now: float) -> None:
        """Tell the rate, which grows only while it holds messages back."""
        self.rate.held(now)

    def on_throttled(self, sent_at: float, now: float, *, deep: bool = False) -> None:
        """Cut the rate."""
        if deep:
            self.rate.on_throttled(sent_at, now, cut=DEEP_CUT)
        else:
            self.rate.on_throttled(sent_at, now)

    def hold(self, until: float) -> None:
        """Send nothing before `until`."""
        self.gcra.hold(until)

    def release(self, now: float) -> None:
        """Forget what was sent."""
        self.gcra.release(now)


@dataclass(slots=True)
class SimulatedPacing:
    """No limit but the cap."""

    rate: Rate
    cap: float | None
    simulated: ClassVar[bool] = True

    @property
    def limit(self) -> float | None:
        """The cap."""
        return self.cap

    def on_held(self, now: float) -> None:
        """Do nothing: it was not what was learnt that held the message back."""

    def on_throttled(self, sent_at: float, now: float, *, deep: bool = False) -> None:
        """Work out what the rate would be now."""
        del sent_at, deep
        self.rate.suppose(now)

    def hold(self, until: float) -> None:
        """Do nothing."""

    def release(self, now: float) -> None:
        """Do nothing."""


class Pause(Protocol):
    """Until when nothing is sent."""

    simulated: ClassVar[bool]

    def on_closed(self, seconds: float, now: float) -> None:
        """Take up that the lane closes for `seconds`."""

    def until(self, learnt: float) -> float:
        """Return when the lane opens, if it was learnt that this is at `learnt`."""


@dataclass(slots=True)
class EnforcedPause:
    """What was learnt."""

    simulated: ClassVar[bool] = False

    def on_closed(self, seconds: float, now: float) -> None:
        """Do nothing: the controller has it."""

    def until(self, learnt: float) -> float:
        """Return what was learnt."""
        return learnt


@dataclass(slots=True)
class SimulatedPause:
    """The first second of a pause."""

    ends: float = 0.0
    simulated: ClassVar[bool] = True

    def on_closed(self, seconds: float, now: float) -> None:
        """Begin a pause of a second."""
        self.ends = now + min(SIMULATED_PAUSE, seconds)

    def until(self, learnt: float) -> float:
        """Return the end of the first second."""
        return min(self.ends, learnt)


@dataclass(frozen=True, slots=True)
class Enforcement:
    """One object for each kind."""

    connections: Connections
    pacing: Pacing
    pause: Pause

    def is_simulated(self, kind: Kind) -> bool:
        """Whether restrictions of `kind` are only shown."""
        parts = {
            Kind.CONNECTIONS: self.connections.simulated,
            Kind.RATE: self.pacing.simulated,
            Kind.PAUSE: self.pause.simulated,
        }
        return parts[kind]


def enforcement(
    window: Window,
    probe: UtilisationProbe,
    rate: Rate,
    gcra: Gcra,
    *,
    cap: float | None,
    simulate: Collection[Kind] = (),
) -> Enforcement:
    """Return what enforces all kinds but those to `simulate`; `cap` is in messages per second."""
    connections: Connections = EnforcedConnections(window, probe)
    pacing: Pacing = EnforcedPacing(rate, gcra)
    pause: Pause = EnforcedPause()
    if Kind.CONNECTIONS in simulate:
        connections = SimulatedConnections(probe, window.most)
    if Kind.RATE in simulate:
        pacing = SimulatedPacing(rate, cap)
    if Kind.PAUSE in simulate:
        pause = SimulatedPause()
    return Enforcement(connections, pacing, pause)
