"""Receivers with limits that a client cannot see, in virtual time, and what our rules make of them.

Each is run with several seeds, and the worst of them is what counts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.throttle.simulation import Receiver, Result, always, simulate, steps
from postroad_sender.throttle.controller import Caps

HEAD = (
    "| receiver | deferred | used | calm | used again | found | open | refused |",
    "|---|---|---|---|---|---|---|---|",
)
SEEDS = (1, 2, 3, 4, 5, 6, 7, 8)
_SETTLING = 30.0  # seconds after a change of the limits that are not yet counted as steady
_SETTLING_MESSAGES = 150.0  # and so many messages, for slow ones
_LATEST = 10.0  # seconds; how much later the limits change in some runs


@dataclass(frozen=True)
class Scenario:
    """One receiver. `make` gives a fresh one; what is counted begins at `steady` seconds.

    The limits fall at `halved` and rise at `doubled` seconds, and in each run a bit later (by what
    `make` is given, and twice as much), so that they meet the sender in different states.
    `capacity` is what the receiver can take in a second, where that does not follow from
    connections and rate.
    """

    name: str
    title: str
    make: Callable[[float], Receiver]
    seconds: int = 300
    steady: int = 60
    connections: int = 50
    halved: int | None = None
    doubled: int | None = None
    capacity: Callable[[float], float] | None = None

    def capacities(self) -> list[float]:
        """Return what the receiver could have taken in each second."""
        if self.capacity is not None:
            return [self.capacity(second) for second in range(self.seconds)]
        receiver = self.make(0.0)
        return [
            min(
                receiver.rate(second),
                min(receiver.connections(second), self.connections)
                / (receiver.seconds * receiver.load(second) + receiver.round_trip),
            )
            for second in range(self.seconds)
        ]

    def steady_seconds(self) -> list[int]:
        """Those behind the start and not just behind a change."""
        changes = [at for at in (self.halved, self.doubled) if at is not None]
        settling = max(_SETTLING, _SETTLING_MESSAGES / min(self.capacities()))
        return [
            second
            for second in range(self.steady, self.seconds)
            if not any(at <= second < at + 2 * _LATEST + settling for at in changes)
        ]


def _rate(limit: float, seconds: int = 300, steady: int = 60) -> Scenario:
    name = f"rate-{limit:g}"
    return Scenario(
        name, f"450 above {limit:g}/s", lambda _: Receiver(rate=always(limit)), seconds, steady
    )


def _rate_steps(high: float, every: int) -> Scenario:
    low = high / 2
    return Scenario(
        f"rate-steps-{high:g}",
        f"450 above {high:g}/s, from {every} s {low:g}/s, from {2 * every} s {high:g}/s",
        lambda late: Receiver(
            rate=steps((0, high), (every + late, low), (2 * every + 2 * late, high))
        ),
        3 * every,
        min(every, 240) // 2,
        halved=every,
        doubled=2 * every,
    )


def _connection_steps(high: int) -> Scenario:
    low = high // 2
    return Scenario(
        f"connection-steps-{high}",
        f"421 above {high} connections, from 100 s {low}, from 200 s {high}",
        lambda late: Receiver(
            connections=steps((0, high), (100 + late, low), (200 + 2 * late, high))
        ),
        halved=100,
        doubled=200,
    )


SCENARIOS = (
    Scenario("connections", "421 above 5 connections", lambda _: Receiver(connections=always(5))),
    _rate(1, 1200, 240),
    _rate(5, 1200, 240),
    _rate(20, 600),
    _rate(50),
    _rate(200),
    Scenario(
        "both",
        "421 above 5 connections, 450 above 20/s",
        lambda _: Receiver(connections=always(5), rate=always(20)),
        600,
    ),
    Scenario(
        "no-burst",
        "450 above 20/s, not even two at once",
        lambda _: Receiver(rate=always(20), burst=1.0),
        600,
    ),
    Scenario(
        "burst",
        "450 above 20/s, 60 at once",
        lambda _: Receiver(rate=always(20), burst=60.0),
        600,
    ),
    _rate_steps(200, 100),
    _rate_steps(50, 100),
    _rate_steps(5, 300),
    _rate_steps(2, 600),
    _connection_steps(10),
    _connection_steps(40),
    Scenario(
        "penalty",
        "450 above 10/s, and for 2 s after each attempt that was too early",
        lambda _: Receiver(rate=always(10), penalty=2.0),
        1200,
        300,
    ),
    Scenario(
        "penalty-grows",
        "450 above 10/s and then for 1 s, twice as long after each attempt meanwhile",
        lambda _: Receiver(rate=always(10), penalty=1.0, growth=2.0),
        1200,
        300,
    ),
    Scenario(
        "slow-replies",
        "421 above 5 connections, replies take 2 s",
        lambda _: Receiver(connections=always(5), seconds=2.0),
    ),
    Scenario(
        "knee",
        "replies slow down above 10 connections, nothing is gained by more",
        lambda _: Receiver(knee=10.0),
        capacity=lambda _: 100.0,
    ),
    Scenario(
        "tarpit",
        "tarpitting: above 10 connections it takes fewer messages with each one more",
        lambda _: Receiver(knee=10.0, steep=2.0),
        capacity=lambda _: 89.5,  # with 12 connections
    ),
    Scenario(
        "busy-spell",
        "replies take three times as long from 100 s to 200 s, whatever we do",
        lambda _: Receiver(load=steps((0, 1.0), (100, 3.0), (200, 1.0))),
        connections=20,
    ),
    Scenario(
        "uneven",
        "replies take 0.1 s on average, some ten times as long",
        lambda _: Receiver(spread=1.0),
        connections=20,
    ),
    Scenario(
        "drops",
        "421 above 10 connections, 2 % of connections dropped at MAIL",
        lambda _: Receiver(connections=always(10), drops=0.02),
    ),
    Scenario(
        "noise",
        "421 above 5 connections, 30 % greylisted or mailbox full",
        lambda _: Receiver(connections=always(5), noise=0.3),
    ),
)


@dataclass(frozen=True)
class Score:
    """The worst of several runs: shares between 0 and 1, seconds, connections."""

    deferred: float
    used: float
    calm: float | None
    settled: float | None
    found: float | None
    connections: float
    refused: int


def lateness(seed: int) -> float:
    """Seconds by which the limits change later in the run with that seed."""
    return (seed - 1) * 3.1 % _LATEST


def run(scenario: Scenario, seed: int = SEEDS[0]) -> Result:
    """Return what our rules make of it."""
    caps = Caps(connections=scenario.connections)
    receiver = scenario.make(lateness(seed))
    return simulate(receiver, scenario.seconds, caps=caps, seed=seed)


def score(scenario: Scenario, results: Sequence[tuple[Result, float]]) -> Score:
    """Return the worst results, and with each by how much the limits changed later."""
    capacities, steady = scenario.capacities(), scenario.steady_seconds()
    could = sum(capacities[second] for second in steady)
    used, deferred = [], []
    for result, _ in results:
        good = sum(result.timeline[second] for second in steady)
        bad = sum(result.deferrals[second] for second in steady)
        used.append(good / could)
        deferred.append(bad / max(1, bad + good))
    calm = settled = found = None
    if scenario.halved is not None:
        new = capacities[scenario.halved]
        at = scenario.halved
        calm = max(result.calm_after(at + late) for result, late in results)
        settled = max(result.found_after(at + late, new) for result, late in results)
    if scenario.doubled is not None:
        new = capacities[scenario.doubled]
        at = scenario.doubled
        found = max(result.found_after(at + 2 * late, new) for result, late in results)
    refused = max(result.refused_connections for result, _ in results)
    open_ = max(sum(result.windows[at] for at in steady) / len(steady) for result, _ in results)
    return Score(max(deferred), min(used), calm, settled, found, open_, refused)


def rows(scenarios: Sequence[Scenario] = SCENARIOS, seeds: Sequence[int] = SEEDS) -> list[str]:
    """Return the table of all scenarios, in Markdown."""
    return [
        *HEAD,
        *(
            row(scenario, [(run(scenario, seed), lateness(seed)) for seed in seeds])
            for scenario in scenarios
        ),
    ]


def row(scenario: Scenario, results: Sequence[tuple[Result, float]]) -> str:
    """Its line in the table."""
    worst = score(scenario, results)
    return (
        f"| {scenario.title} | {100 * worst.deferred:.2f} % | {100 * worst.used:.1f} % "
        f"| {_seconds(worst.calm)} | {_seconds(worst.settled)} | {_seconds(worst.found)} "
        f"| {worst.connections:.0f} | {worst.refused} |"
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return "never" if math.isinf(value) else f"{value:.1f} s"
