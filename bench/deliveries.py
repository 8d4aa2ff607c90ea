"""How fast the sender is, from filled queues to a fast sink: `python -m bench.deliveries`.

Its shards are filled while there is no sender; then one process starts. A row says what it did
between a tenth and nine tenths of the messages: deliveries per second, and the processor time per
delivery of the sender and of RabbitMQ. Each row has another number of destinations, each of which
is a lane with connections of its own; the sink is the same for all.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import running
from bench.receivers import ReceiverError, Sink, running_sink
from bench.report import say
from bench.shards import Servers, filler, running_sender, running_servers, scratch
from bench.stack import StackError
from bench.usage import Watch
from postroad_stack.certificates import ensure_certificates

_FIRST, _LAST = 0.1, 0.9  # of the messages
_LOOK_EVERY = 0.05  # seconds
_STALLED_SECONDS = 60.0
_SINK = "sink"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit with 2 and a message if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.deliveries",
        description="Measures the sender from filled queues. See bench/README.md.",
    )
    parser.add_argument("--messages", type=int, default=15_000, help="per row (default 15000)")
    parser.add_argument("--size", type=int, default=1000, help="octets of a message (default 1000)")
    parser.add_argument(
        "--destinations", default="1,1000", help="a row for each (default 1,1000; at most 1000)"
    )
    options = parser.parse_args(words)
    try:
        options.destinations = [int(word) for word in options.destinations.split(",")]
    except ValueError:
        parser.error("--destinations must be numbers")
    if not all(1 <= number <= 1000 for number in options.destinations):
        parser.error("--destinations must be between 1 and 1000")
    if options.messages < 100 or options.size < 300:
        parser.error("--messages must be 100 at least, --size 300")
    return options


def routes_to(destinations: int, port: int) -> list[dict[str, Any]]:
    """Routes that give each of the domains `d0.test`, `d1.test`, … a lane to the same port.

    Lanes differ by their source address: all of 127.0.0.0/8 is ours.
    """
    return [
        {
            "domain": f"d{number}.test",
            "host": "127.0.0.1",
            "port": port,
            "tls": "none",
            "source": f"127.1.{number // 250}.{number % 250 + 1}",
        }
        for number in range(destinations)
    ]


def addresses(messages: int, destinations: int) -> Iterator[str]:
    """Recipients, the destinations in turn."""
    return (f"u{number}@d{number % destinations}.test" for number in range(messages))


async def measure(
    servers: Servers, sink: Sink, folder: Path, *, messages: int, size: int, destinations: int
) -> dict[str, Any]:
    """One row.

    Raises:
        ReceiverError: the messages do not come, or more than there are.
    """
    say(f"{destinations} destinations: filling the queues")
    await sink.begin()
    async with filler(servers, size) as fill:
        await fill.fill(addresses(messages, destinations))
    say(f"{destinations} destinations: delivering")
    routes = routes_to(destinations, sink.smtp_port)
    async with running_sender(servers, routes, folder) as pid:
        groups = {**servers.pids, "sender": [pid], _SINK: [sink.pid]}
        watch = Watch(groups)
        began, first, before = await _reach(sink, watch, int(messages * _FIRST))
        ended, last, after = await _reach(sink, watch, int(messages * _LAST))
        await _reach(sink, watch, messages)
        used = {name: 1000 * (after[name] - before[name]) / (last - first) for name in after}
    total, _ = await sink.delivered()
    if total != messages:
        raise ReceiverError(f"{total} messages came of {messages}")
    return {
        "row": f"{destinations} destinations",
        "messages": messages,
        "deliveries_per_s": round((last - first) / (ended - began)),
        "sender_cpu_ms": round(used["sender"], 3),
        "rabbitmq_cpu_ms": round(used["rabbitmq"], 3),
        "sink_cpu_ms": round(used[_SINK], 3),
        "per_core_s": round(1000 / used["sender"]),
    }


async def _reach(sink: Sink, watch: Watch, count: int) -> tuple[float, int, Mapping[str, float]]:
    """Wait until so many were delivered: the time, how many were, processor seconds so far."""
    seen, moved = -1, time.monotonic()
    while True:
        delivered, _ = await sink.delivered()
        now = time.monotonic()
        if delivered >= count:
            return now, delivered, watch.read().cpu
        if delivered > seen:
            seen, moved = delivered, now
        elif gone := watch.missing():
            raise ReceiverError(f"ended while it was measured: {', '.join(gone)}")
        elif now - moved > _STALLED_SECONDS:
            raise ReceiverError(f"nothing came for {_STALLED_SECONDS:.0f} s, after {delivered}")
        await asyncio.sleep(_LOOK_EVERY)


async def _run(options: argparse.Namespace) -> None:
    async with scratch() as folder:
        (folder / "tls").mkdir()
        files = ensure_certificates(folder / "tls", ["127.0.0.1"])
        async with (
            running_servers(folder / "servers") as servers,
            running_sink(files.certificate, files.key) as sink,
        ):
            for destinations in options.destinations:
                row = await measure(
                    servers,
                    sink,
                    folder,
                    messages=options.messages,
                    size=options.size,
                    destinations=destinations,
                )
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()


def main() -> None:
    """Measure and print; exit code 1 if it cannot be done or mail was lost or doubled."""
    options = arguments()
    try:
        running.run(_run(options))
    except (StackError, ReceiverError) as error:
        sys.stderr.write(f"bench: {error}\n")
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)


if __name__ == "__main__":
    main()
