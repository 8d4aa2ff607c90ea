"""Gates, and the bounds that a lane has by them.

A gate is what all lanes that are counted together have to pass: connections (`slots`), messages
per second (`pace`) and messages per day (`tallies`), each if there is a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from postroad_sender.limits.cluster_limit import Demand
from postroad_sender.limits.connection_limit import Idler, Slots, Waiter
from postroad_sender.limits.daily_quota import Tally
from postroad_sender.limits.rate_limit import Pace, may_pass


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit in force, as it is shown: `kind` is `cap` or `warmup`; times are Unix seconds.

    It has `until` if nothing begins because of it, and then begins again.
    """

    kind: str
    value: float
    reason: str
    since: float
    until: float | None = None


class Gate:
    """One subject's limits. `home` is the shard that it is local to; empty: to none."""

    __slots__ = ("__weakref__", "demand", "home", "pace", "since", "slots", "subject", "tallies")

    def __init__(
        self,
        subject: str,
        home: str,
        *,
        since: float,
        slots: Slots | None = None,
        pace: Pace | None = None,
        tallies: tuple[Tally, ...] = (),
        demand: Demand | None = None,
    ) -> None:
        self.subject = subject
        self.home = home
        self.since = since
        self.slots = slots
        self.pace = pace
        self.tallies = tallies
        self.demand = demand

    def standings(self) -> list[Standing]:
        """The limits in force."""
        found = []
        if self.slots is not None:
            slots = self.slots
            text = f"cap of {self.subject}: {slots.used} of {slots.most} connections"
            found.append(Standing("cap", slots.most, text, self.since))
        if self.pace is not None:
            text = f"cap of {self.subject}: {self.pace.rate:g} messages per second"
            found.append(Standing("cap", self.pace.rate, text, self.since))
        found += [
            Standing(tally.kind, most, tally.why(), self.since, tally.opens_at())
            for tally in self.tallies
            if (most := tally.most) is not None
        ]
        return found


class Bounds:
    """The gates of one lane."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gates)
        self._slots = tuple(gate.slots for gate in gates if gate.slots is not None)
        self._paces = tuple(gate.pace for gate in gates if gate.pace is not None)
        self._tallies = tuple(tally for gate in gates for tally in gate.tallies)
        self._demands = tuple(gate.demand for gate in gates if gate.demand is not None)

    # -- connections

    def take(self, waiter: Waiter) -> bool:
        """Whether one more connection may be opened now. If not, `waiter` is kicked when it may."""
        for slots in self._slots:
            if not slots.ask(waiter):
                self._wait(waiter)
                return False
        for slots in self._slots:
            slots.take(waiter)
        return True

    def give_back(self) -> None:
        """A connection is gone."""
        for slots in self._slots:
            slots.give_back()

    def is_over(self) -> bool:
        """Whether a connection has to go: there are more than there may be now."""
        return any(slots.is_over for slots in self._slots)

    def idle(self, idler: Idler) -> None:
        """A connection carries nothing now."""
        for slots in self._slots:
            slots.idle[idler] = None

    def busy(self, idler: Idler) -> None:
        """It does again, or is gone."""
        for slots in self._slots:
            slots.idle.pop(idler, None)

    # -- messages

    def may(self, waiter: Waiter, now: float, *, ready: bool) -> bool:
        """Whether a message may begin now. If not, `waiter` is kicked when it is its turn."""
        if not all([tally.may(waiter) for tally in self._tallies]):  # noqa: C419 - ask them all
            return False
        if may_pass(self._paces, waiter, now, ready=ready):
            return True
        self._wait(waiter)
        return False

    def begin(self, now: float) -> None:
        """A message begins."""
        for tally in self._tallies:
            tally.spend()
        for pace in self._paces:
            pace.spend(now)

    def _wait(self, waiter: Waiter) -> None:
        for demand in self._demands:
            demand.add(waiter)

    def closed_for(self) -> float:
        """Seconds for which no message begins, because of limits for a day."""
        return max((tally.closed_for() for tally in self._tallies), default=0.0)

    def why_closed(self) -> str:
        """The limit that is used up for longest."""
        closed = [(tally.closed_for(), tally) for tally in self._tallies]
        longest = max(closed, key=lambda pair: pair[0], default=None)
        return "" if longest is None or longest[0] <= 0.0 else longest[1].why()

    def kind_closed(self) -> str:
        """Its kind."""
        return next((tally.kind for tally in self._tallies if tally.closed_for() > 0.0), "")

    def share_left(self) -> float:
        """What is left of today, from 0.0 to 1.0."""
        return min((tally.share_left() for tally in self._tallies), default=1.0)

    def forget(self, waiter: Waiter) -> None:
        """It waits for nothing any more."""
        for slots in self._slots:
            slots.forget(waiter)
        for pace in self._paces:
            pace.forget(waiter)
        for tally in self._tallies:
            tally.forget(waiter)

    def standings(self) -> list[Standing]:
        """The limits in force."""
        return [standing for gate in self.gates for standing in gate.standings()]
