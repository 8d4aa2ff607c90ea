"""What pipelining gains against a receiver that is far away, over real sockets."""

import asyncio

from bench.throttle.receiver import ScriptedReceiver
from bench.throttle.simulation import Receiver
from bench.throttle.wire import drive

DISTANCE = 0.02  # seconds in one direction: 40 ms of latency
SECONDS, STEADY = 12, 4
_QUICK = 0.001  # seconds that the receiver needs for a message


async def _speed(connections: int, *, pipelining: bool) -> float:
    receiver = ScriptedReceiver(Receiver(seconds=_QUICK), distance=DISTANCE)
    result = await drive(receiver, SECONDS, connections=connections, pipelining=pipelining)
    return result.rate_between(STEADY, SECONDS)


async def rows() -> list[str]:
    """Return the table: one and ten connections, with and without pipelining."""
    lines = [
        "| connections | one by one | pipelining | each connection | gain |",
        "|---|---|---|---|---|",
    ]
    for connections in (1, 10):
        single, grouped = await asyncio.gather(
            _speed(connections, pipelining=False), _speed(connections, pipelining=True)
        )
        lines.append(
            f"| {connections} | {single:.1f}/s | {grouped:.1f}/s "
            f"| {single / connections:.1f}/s, {grouped / connections:.1f}/s "
            f"| {grouped / single:.2f} times |"
        )
    return lines
