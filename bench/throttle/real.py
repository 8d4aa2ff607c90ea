"""Some of the receivers again, over real sockets and in real time; all at the same time."""

import asyncio

from bench.throttle.receiver import ScriptedReceiver
from bench.throttle.scenarios import HEAD, Scenario, row
from bench.throttle.simulation import Receiver, Result, always, steps
from bench.throttle.wire import drive

SECONDS = 180
SLOW = 0.5  # seconds for a message, beside which those for the way hardly count
_CHANGES = (60, 120)


def _scenario(title: str, model: Receiver, *, steady: int = 30, **values: object) -> Scenario:
    model.round_trip = 0.0  # over a socket it takes its own time
    return Scenario(title, title, lambda _: model, SECONDS, steady, **values)  # type: ignore[arg-type]


def scenarios() -> list[Scenario]:
    """Fresh ones."""
    halved, doubled = _CHANGES
    return [
        _scenario("421 above 5 connections", Receiver(connections=always(5), seconds=SLOW)),
        _scenario("450 above 50/s", Receiver(rate=always(50))),
        _scenario("both", Receiver(connections=always(3), rate=always(20))),
        _scenario(
            f"450 above 40/s, from {halved} s 20/s, from {doubled} s 40/s",
            Receiver(rate=steps((0, 40), (halved, 20), (doubled, 40))),
            steady=30,
            halved=halved,
            doubled=doubled,
        ),
        _scenario(
            f"421 above 6 connections, from {halved} s 3, from {doubled} s 6",
            Receiver(connections=steps((0, 6), (halved, 3), (doubled, 6)), seconds=SLOW),
            steady=30,
            halved=halved,
            doubled=doubled,
        ),
        _scenario(
            "450 above 10/s and then for 1 s, twice as long after each attempt meanwhile",
            Receiver(rate=always(10), penalty=1.0, growth=2.0),
            steady=130,
        ),
        _scenario(
            "421 above 5 connections, replies take 2 s",
            Receiver(connections=always(5), seconds=2.0),
        ),
        _scenario(
            "replies slow down above 5 connections",
            Receiver(knee=5.0, seconds=SLOW),
            connections=20,
            capacity=lambda _: 5 / SLOW,
        ),
        _scenario(
            "421 above 5 connections, 2 % of connections dropped at MAIL",
            Receiver(connections=always(5), seconds=SLOW, drops=0.02),
        ),
        _scenario(
            "421 above 5 connections, 30 % greylisted or mailbox full",
            Receiver(connections=always(5), seconds=SLOW, noise=0.3),
            capacity=lambda _: 5 / (SLOW * 0.7),  # those 30 % are answered at once
        ),
    ]


async def _run(scenario: Scenario) -> Result:
    model = scenario.make(0.0)
    return await drive(ScriptedReceiver(model), scenario.seconds, connections=scenario.connections)


async def rows() -> list[str]:
    """Return the table."""
    known = scenarios()
    results = await asyncio.gather(*map(_run, known))
    return [
        *HEAD,
        *(row(each, [(result, 0.0)]) for each, result in zip(known, results, strict=True)),
    ]
