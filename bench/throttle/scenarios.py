"""Receivers with limits that a client cannot see, in virtual time; and Postfix's own experiment."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from postroad_sender.control import Caps
from postroad_sender.simulation import (
    POSTFIX_FEEDBACK,
    Receiver,
    Result,
    always,
    simulate,
    simulate_postfix,
    steps,
)

_PUBLISHED = {"1": 49.7, "1/sqrt N": 24.5, "1/N": 16.5}  # proto/SCHEDULER_README, percent


@dataclass(frozen=True)
class Scenario:
    """One receiver. `make` gives a fresh one; what is counted begins at `steady` seconds."""

    name: str
    title: str
    make: Callable[[], Receiver]
    seconds: int = 300
    steady: int = 60
    connections: int = 50

    def capacities(self) -> list[float]:
        """What the receiver could have taken in each second."""
        receiver = self.make()
        each = receiver.seconds + receiver.round_trip
        return [
            min(
                receiver.rate(second),
                min(receiver.connections(second), self.connections) / each,
            )
            for second in range(self.seconds)
        ]


SCENARIOS = (
    Scenario("connections", "421 above 5 connections", lambda: Receiver(connections=always(5))),
    Scenario("rate-1", "450 above 1/s", lambda: Receiver(rate=always(1)), 1200, 240),
    Scenario("rate-5", "450 above 5/s", lambda: Receiver(rate=always(5)), 1200, 240),
    Scenario("rate-50", "450 above 50/s", lambda: Receiver(rate=always(50))),
    Scenario("rate-200", "450 above 200/s", lambda: Receiver(rate=always(200))),
    Scenario(
        "rate-steps",
        "450 above 50/s, from 100 s 25/s, from 200 s 50/s",
        lambda: Receiver(rate=steps((0, 50), (100, 25), (200, 50))),
    ),
    Scenario(
        "slow-steps",
        "450 above 5/s, from 300 s 2.5/s, from 600 s 5/s",
        lambda: Receiver(rate=steps((0, 5), (300, 2.5), (600, 5))),
        900,
    ),
    Scenario(
        "connection-steps",
        "421 above 10 connections, from 100 s 5, from 200 s 10",
        lambda: Receiver(connections=steps((0, 10), (100, 5), (200, 10))),
    ),
    Scenario(
        "penalty",
        "450 above 10/s, and for 2 s after each attempt that was too early",
        lambda: Receiver(rate=always(10), penalty=2.0),
        600,
        120,
    ),
    Scenario(
        "slow-replies",
        "421 above 5 connections, replies take 2 s",
        lambda: Receiver(connections=always(5), seconds=2.0),
    ),
    Scenario(
        "drops",
        "421 above 10 connections, 2 % of connections dropped at MAIL",
        lambda: Receiver(connections=always(10), drops=0.02),
    ),
    Scenario(
        "noise",
        "421 above 5 connections, 30 % greylisted or mailbox full",
        lambda: Receiver(connections=always(5), noise=0.3),
    ),
)


def run(scenario: Scenario) -> Result:
    """What our rules make of it."""
    caps = Caps(connections=scenario.connections)
    return simulate(scenario.make(), scenario.seconds, caps=caps)


def rows() -> list[str]:
    """The table of all scenarios, in Markdown."""
    lines = [
        "| receiver | deferred | of its capacity used | connections refused |",
        "|---|---|---|---|",
    ]
    for scenario in SCENARIOS:
        result = run(scenario)
        start, end = scenario.steady, scenario.seconds
        could = sum(scenario.capacities()[start:end])
        took = sum(result.timeline[start:end])
        took += math.ceil(result.excused * (end - start) / end)
        lines.append(
            f"| {scenario.title} | {100 * result.deferred_between(start, end):.2f} % "
            f"| {100 * took / could:.1f} % | {result.refused_connections} |"
        )
    return lines


def postfix_rows() -> list[str]:
    """Postfix's published experiment: a receiver that answers 421 above 5 connections."""
    lines = [
        "| rules | published | in this model | messages/s |",
        "|---|---|---|---|",
    ]
    for name, feedback in POSTFIX_FEEDBACK.items():
        result = simulate_postfix(Receiver(connections=always(5), round_trip=0.002), 300, feedback)
        lines.append(
            f"| Postfix, feedback {name} | {_PUBLISHED[name]} % deferred "
            f"| {100 * result.deferred_share:.1f} % deferred | {result.rate_between(30, 300):.1f} |"
        )
    ours = simulate(Receiver(connections=always(5), round_trip=0.002), 300)
    lines.append(
        f"| Postroad | - | {100 * ours.deferred_share:.1f} % deferred, "
        f"{ours.refused_connections} connections refused | {ours.rate_between(30, 300):.1f} |"
    )
    return lines
