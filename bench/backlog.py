"""What slow and closed destinations cost others: `python -m bench.backlog`.

First 200 quick domains get a moderate load beside one more domain of the same shard, which is quick
as well in one half of a round and slow in some manner in the other. Then very many messages wait
for one closed destination (`--messages`), while the load goes on: how much memory and processor
time that takes, and whether all of it is still there and flows when the destination opens.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import running
from bench.receiver import Manner, Receiver, receiving
from bench.report import say
from bench.shards import (
    SHARDS,
    Filler,
    Servers,
    depths,
    filler,
    running_sender,
    running_servers,
    scratch,
)
from bench.stack import StackError
from bench.usage import Watch
from postroad_common.broker import topology
from postroad_common.errors import BrokerAway
from postroad_common.store.database import Database

DOMAINS = 200
SAME = f"f{DOMAINS}.test"  # the other domain when it is quick
SLOW = "a.slow.test"
_TIERS = [tier.name for tier in topology.RETRY_TIERS]
_LATE_SECONDS = 20.0  # for the last messages of a round
_TURN = 0.002  # seconds
_LOOK_EVERY = 0.02  # seconds
_MOST_AHEAD = 500  # messages in the shard before more are put there: the others wait behind them
_LAST_SECONDS = 60.0  # until these have left it


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit with 2 and a message if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.backlog",
        description="Measures what slow and closed destinations cost. See bench/README.md.",
    )
    parser.add_argument("--messages", type=int, default=100_000, help="that wait (default 100000)")
    parser.add_argument(
        "--through", type=int, help="of them by way of the sender (default: all); the others are "
        "put where it would put them, which is faster"
    )  # fmt: skip
    parser.add_argument("--rate", type=float, default=300.0, help="quick mails/s (default 300)")
    parser.add_argument(
        "--share", type=float, default=1.0, help="mails to the other domain for each of these"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each manner (default 5; 0: none)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a half round (default 3)")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for the second part")
    manners = [str(manner) for manner in Manner if manner is not Manner.QUICK]
    parser.add_argument("--manners", default=",".join(manners), help=f"of {', '.join(manners)}")
    options = parser.parse_args(words)
    options.manners = [word for word in options.manners.split(",") if word]
    if not set(options.manners) <= set(manners):
        parser.error("no such manner")
    if min(options.rate, options.seconds, options.share) <= 0:
        parser.error("--rate, --seconds and --share must be above 0")
    if min(options.messages, options.rounds) < 0:
        parser.error("--messages and --rounds must not be below 0")
    return options


@dataclass
class Half:
    """Half a round: milliseconds from the hand-over to the receiver."""

    p50: float
    p99: float


def _quantile(waits: Sequence[float], share: float) -> float:
    ordered = sorted(waits) or [0.0]
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def offer(put: Callable[[int], Awaitable[None]], rate: float, until: asyncio.Event) -> int:
    """Call `put` with 0, 1, 2, … at that rate per second until told to stop; how many there were.

    No call waits for another: a slow answer does not slow the load down.
    """
    began, count = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while not until.is_set():
            while count < (time.monotonic() - began) * rate:
                group.create_task(_put(put, count))
                count += 1
            await asyncio.sleep(_TURN)
    return count


async def _put(put: Callable[[int], Awaitable[None]], number: int) -> None:
    await put(number)


class Scene:
    """Quick receivers, one other, and a sender between the queues and them."""

    def __init__(self, fill: Filler, quick: Receiver, shard: str, rate: float) -> None:
        self.fill = fill
        self.quick = quick
        self.shard = shard
        self.rate = rate
        self.sent = 0

    async def to_quick(self, number: int) -> None:
        """Return the next message to one of the quick domains."""
        self.sent += 1
        await self.fill.put(self.shard, f"u{self.sent}@f{number % DOMAINS}.test")

    async def half(self, seconds: float, other: str = "", share: float = 1.0) -> Half:
        """Send the load for `seconds`, and `share` as much to the domain `other` if given."""
        quick, over = self.quick, asyncio.Event()
        quick.waits.clear()
        before = quick.total
        asyncio.get_running_loop().call_later(seconds, over.set)

        async def to_other(number: int) -> None:
            await self.fill.put(self.shard, f"u{number}@{other}")

        async with asyncio.TaskGroup() as group:
            sent = group.create_task(offer(self.to_quick, self.rate, over))
            if other:
                more = group.create_task(offer(to_other, self.rate * share, over))
        expected = sent.result() + (more.result() if other == SAME else 0)
        async with asyncio.timeout(_LATE_SECONDS):
            while quick.total < before + expected:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(_TURN)
        return Half(_quantile(quick.waits, 0.5), _quantile(quick.waits, 0.99))


def routes(quick: Receiver, slow: Receiver) -> list[dict[str, Any]]:
    """201 lanes to the quick receiver, one to the other."""
    fast = [
        {
            "domain": f"f{number}.test",
            "host": "127.0.0.1",
            "port": quick.port,
            "tls": "none",
            "source": f"127.1.0.{number + 1}",
        }
        for number in range(DOMAINS + 1)
    ]
    return [{"domain": "*.slow.test", "host": "127.0.0.1", "port": slow.port, "tls": "none"}, *fast]


def lane_of(receiver: Receiver) -> str:
    """Return the key of the lane to it."""
    return f"|127.0.0.1:{receiver.port}"


def home_of(lane: str) -> str:
    """Return the shard that owns the lane."""
    return SHARDS[zlib.crc32(lane.encode()) % len(SHARDS)]


async def beside(
    servers: Servers, folder: Path, manner: Manner, options: argparse.Namespace
) -> dict[str, Any]:
    """Run rounds of the load beside another quick destination, and beside one of that kind."""
    async with AsyncExitStack() as stack:
        quick = await stack.enter_async_context(receiving(Manner.QUICK))
        slow = await stack.enter_async_context(receiving(manner))
        fill = await stack.enter_async_context(filler(servers))
        lane = lane_of(slow)
        if manner is Manner.CLOSED:
            await _pause(servers, lane, paused=True)
        await stack.enter_async_context(running_sender(servers, routes(quick, slow), folder))
        scene = Scene(fill, quick, home_of(lane), options.rate)
        await scene.half(options.seconds)  # opens the lanes
        alike, mixed = [], []
        for _ in range(options.rounds):
            alike.append(await scene.half(options.seconds, SAME, options.share))
            mixed.append(await scene.half(options.seconds, SLOW, options.share))
        middle = statistics.median
        p50 = middle(half.p50 for half in alike), middle(half.p50 for half in mixed)
        p99 = middle(half.p99 for half in alike), middle(half.p99 for half in mixed)
        return {
            "row": f"beside {manner}",
            "rounds": options.rounds,
            "p50_ms_alike": round(p50[0], 2),
            "p50_ms_beside": round(p50[1], 2),
            "p99_ms_alike": round(p99[0], 2),
            "p99_ms_beside": round(p99[1], 2),
            "slow_taken": slow.total,
        }


async def _pause(servers: Servers, lane: str, *, paused: bool) -> None:
    database = Database(servers.mongodb)
    changes = {"paused": True, "reason": "maintenance"} if paused else {"paused": None}
    try:
        await database.lanes.direct(lane, changes)
    finally:
        await database.close()


class Waiting:
    """Many messages for one closed destination, and what they cost in each phase."""

    def __init__(self, servers: Servers, scene: Scene, sender: int, closed: Receiver) -> None:
        self._servers = servers
        self._scene = scene
        self._sender = sender
        self._closed = closed
        self._watch = Watch({**servers.pids, "sender": [sender]})
        self._queue = topology.parked_queue(lane_of(closed)).name
        self.rows: list[dict[str, Any]] = []

    async def phase(self, name: str, work: Awaitable[Any]) -> None:
        """Measure while `work` goes on and the load with it."""
        say(f"{name} …")
        quick, over = self._scene.quick, asyncio.Event()
        quick.waits.clear()
        before, began, taken = self._watch.read().cpu, time.monotonic(), self._closed.total
        load = asyncio.create_task(offer(self._scene.to_quick, self._scene.rate, over))
        try:
            await work
        finally:
            over.set()
            await load
        seconds = time.monotonic() - began
        after = self._watch.read().cpu
        memory = psutil.Process(self._sender).memory_info().rss
        broker = sum(
            psutil.Process(pid).memory_info().rss for pid in self._servers.pids["rabbitmq"]
        )
        self.rows.append(
            {
                "row": name,
                "seconds": round(seconds, 1),
                "parked": await depths(self._servers, self._queue),
                "flowed_per_s": round((self._closed.total - taken) / seconds),
                "sender_cpu": round((after["sender"] - before["sender"]) / seconds, 3),
                "rabbitmq_cpu": round((after["rabbitmq"] - before["rabbitmq"]) / seconds, 3),
                "sender_mb": memory >> 20,
                "rabbitmq_mb": broker >> 20,
                "p50_ms": round(_quantile(quick.waits, 0.5), 2),
                "p99_ms": round(_quantile(quick.waits, 0.99), 2),
            }
        )
        sys.stdout.write(json.dumps(self.rows[-1]) + "\n")
        sys.stdout.flush()

    async def fill(self, messages: int, limit: float, through: int) -> int:
        """Put so many messages there, or as many as time allows, until all are parked.

        The first `through` go by way of the sender.
        """
        fill, home = self._scene.fill, home_of(lane_of(self._closed))
        deadline, done = time.monotonic() + limit, 0
        while done < messages and time.monotonic() < deadline:
            number = min(_MOST_AHEAD, messages - done)
            queue = home if done < through else self._queue
            await fill.fill((f"u{done + n}@{SLOW}" for n in range(number)), queue)
            done += number
            while (  # noqa: ASYNC110 - what another process does is looked at
                await depths(self._servers, home) > _MOST_AHEAD and time.monotonic() < deadline
            ):
                await asyncio.sleep(_LOOK_EVERY)
        deadline += _LAST_SECONDS
        while await depths(self._servers, home) > 0 and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY)
        return done

    async def left(self) -> int:
        """How many messages still wait anywhere; the sender must have ended."""
        return await depths(self._servers, self._queue, *SHARDS, *_TIERS)

    async def flows(self, seconds: float) -> float:
        """Open the destination; seconds until its first message, at most `seconds`."""
        await _pause(self._servers, lane_of(self._closed), paused=False)
        began = time.monotonic()
        while self._closed.total == 0 and time.monotonic() - began < seconds:  # noqa: ASYNC110
            await asyncio.sleep(_TURN)
        return time.monotonic() - began


async def wait(servers: Servers, folder: Path, options: argparse.Namespace) -> bool:
    """Run the second part; return whether nothing was lost."""
    async with AsyncExitStack() as stack:
        quick = await stack.enter_async_context(receiving(Manner.QUICK))
        closed = await stack.enter_async_context(receiving(Manner.CLOSED))
        closed.keeps = True
        fill = await stack.enter_async_context(filler(servers))
        lane = lane_of(closed)
        await _pause(servers, lane, paused=True)
        sender_process = running_sender(servers, routes(quick, closed), folder)
        async with sender_process as sender:
            scene = Scene(fill, quick, home_of(lane), options.rate)
            await scene.half(options.seconds)
            waiting = Waiting(servers, scene, sender, closed)
            await waiting.phase("before", asyncio.sleep(8))
            through = options.messages if options.through is None else options.through
            filling = asyncio.ensure_future(
                waiting.fill(options.messages, options.limit * 0.7, through)
            )
            await waiting.phase("filling", filling)
            sent = filling.result()
            await waiting.phase("at rest", asyncio.sleep(15))
            opening = asyncio.ensure_future(waiting.flows(30.0))
            await waiting.phase("opening", opening)
            await waiting.phase("flowing", asyncio.sleep(15))
            async with asyncio.timeout(_LAST_SECONDS):
                while quick.total < scene.sent:  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(_LOOK_EVERY)
        left, came = await waiting.left(), len(closed.messages)
        result = {
            "row": "sum",
            "sent": sent,
            "seconds_to_flow": round(opening.result(), 2),
            "delivered": came,
            "twice": closed.total - came,
            "left": left,
            "lost": sent - came - left,
        }
        sys.stdout.write(json.dumps(result) + "\n")
        return sent == came + left


async def _run(options: argparse.Namespace) -> bool:
    async with scratch() as folder:
        if options.rounds:
            async with running_servers(folder / "first") as servers:
                for word in options.manners:
                    say(f"beside {word} …")
                    row = await beside(servers, folder, Manner(word), options)
                    sys.stdout.write(json.dumps(row) + "\n")
                    sys.stdout.flush()
        if not options.messages:
            return True
        # all is counted: with queues of its own, where nothing is left over
        async with running_servers(folder / "second") as servers:
            return await wait(servers, folder, options)


def main() -> None:
    """Measure and print; exit code 1 if it cannot be done or mail was lost."""
    options = arguments()
    try:
        complete = running.run(_run(options))
    except (StackError, BrokerAway, TimeoutError) as error:
        sys.stderr.write(f"bench: {str(error) or type(error).__name__}\n")
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
