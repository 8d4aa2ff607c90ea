"""Postfix's published experiment, with its rules in our model of a receiver.

The rules and the numbers to compare with are those of proto/SCHEDULER_README.
"""

import math
import random
from collections.abc import Callable

from bench.throttle.simulation import Clock, Receiver, Result, always, simulate

Feedback = Callable[[float], float]
PUBLISHED = {"1": 49.7, "1/sqrt N": 24.5, "1/N": 16.5}  # percent deferred
POSTFIX_FEEDBACK: dict[str, Feedback] = {
    "1": lambda _: 1.0,
    "1/sqrt N": lambda n: 1.0 / math.sqrt(n),
    "1/N": lambda n: 1.0 / n,
}


def simulate_postfix(
    receiver: Receiver, seconds: float, feedback: Feedback, *, cap: int = 20, seed: int = 1
) -> Result:
    """Postfix's rules: one connection for each delivery; 421 defers the message that met it."""
    clock, dice, result = Clock(), random.Random(seed), Result()
    result.timeline = [0] * (int(seconds) + 1)
    result.deferrals = [0] * (int(seconds) + 1)
    window, success, failure, busy = 5.0, 0.0, 0.0, 0

    def fill() -> None:
        nonlocal busy
        while busy < int(window):
            busy += 1
            clock.later(receiver.round_trip * dice.uniform(1.4, 1.6), begin)

    def begin() -> None:
        if receiver.connect(clock.now):
            clock.later(receiver.seconds * dice.uniform(0.8, 1.2), good)
        else:
            bad()

    def good() -> None:
        nonlocal window, success, failure, busy
        receiver.open -= 1
        result.delivered += 1
        result.timeline[int(clock.now)] += 1
        failure = 0.0
        if window < cap:
            success += feedback(window)
            while success >= 1.0:
                window, success = min(cap, window + 1.0), success - 1.0
        busy -= 1
        fill()

    def bad() -> None:
        nonlocal window, success, failure, busy
        result.deferred += 1
        result.deferrals[int(clock.now)] += 1
        success = 0.0
        failure -= feedback(window)
        while failure < 0.0:
            window, failure = max(1.0, window - 1.0), failure + 1.0
        busy -= 1
        fill()

    fill()
    clock.run(seconds)
    return result


def postfix_rows() -> list[str]:
    """Return the table: a receiver that answers 421 above 5 connections."""
    lines = [
        "| rules | published | in this model | messages/s |",
        "|---|---|---|---|",
    ]
    for name, feedback in POSTFIX_FEEDBACK.items():
        result = simulate_postfix(Receiver(connections=always(5), round_trip=0.002), 300, feedback)
        lines.append(
            f"| Postfix, feedback {name} | {PUBLISHED[name]} % deferred "
            f"| {100 * result.deferred_share:.1f} % deferred | {result.rate_between(30, 300):.1f} |"
        )
    ours = simulate(Receiver(connections=always(5), round_trip=0.002), 300)
    lines.append(
        f"| Postroad | - | {100 * ours.deferred_share:.1f} % deferred, "
        f"{ours.refused_connections} connections refused | {ours.rate_between(30, 300):.1f} |"
    )
    return lines
