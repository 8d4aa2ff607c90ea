"""Teams: the lanes of one site from several sources, and which of them gets the next message.

Sources take turns by their weight. One that is closed or used up for today is passed over while
another is open; one whose warm-up goes down gets less, one that cannot keep up gets less, too.
"""

import random
from collections.abc import Sequence

from postroad_sender.lanes.worker import Crew

SPARING = 0.05  # of its weight, for a source with next to nothing left today
CROWD = 8  # messages that may wait in a lane whatever its speed


class Team:
    """The crews of one site, one for each source of a pool; all have the same home."""

    def __init__(self, crews: Sequence[Crew]) -> None:
        self.crews = tuple(crews)
        # at sites with one message each, the first choices alone are to go by the weights
        self._turns = [random.expovariate(_weight(crew)) for crew in self.crews]
        self._now = 0.0  # the turn that was given last

    def choose(self, now: float) -> Crew:
        """The crew for the next message; if all are closed, the one that opens first."""
        best, first = -1, 0.0
        for number, crew in enumerate(self.crews):
            if crew.lane.closed_for(now) > 0.0:
                continue
            turn = max(self._turns[number], self._now)
            if best < 0 or turn < first:
                best, first = number, turn
        if best < 0:
            return min(self.crews, key=lambda crew: crew.lane.closed_for(now))
        crew = self.crews[best]
        self._now = first
        self._turns[best] = first + _cost(crew, now)
        return crew


def _weight(crew: Crew) -> float:
    weight = crew.destination.source.weight
    bounds = crew.lane.bounds
    return weight if bounds is None else weight * max(SPARING, bounds.share_left())


def _cost(crew: Crew, now: float) -> float:
    lane, many = crew.lane, len(crew.lane)
    return (1.0 + many if many > CROWD and lane.is_slow(now) else 1.0) / _weight(crew)


def team_of(crews: Sequence[Crew]) -> Team:
    """Make these crews know each other."""
    team = Team(crews)
    for crew in team.crews:
        if crew.siblings:
            crew.is_mixed = crew.is_mixed or {one.lane.key for one in crew.siblings} != {
                one.lane.key for one in team.crews
            }
        crew.siblings = team.crews
    return team
