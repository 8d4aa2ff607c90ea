"""A storm of returned mail: how long it takes, what it costs, and how other mail fares meanwhile.

`python -m bench.returns --returns 100000` starts a Postroad of its own, puts that many returns on
the queue of the bounce-processor, and prints one JSON line. Every return answers a message of its
own (`storm`). Ordinary mail is handed in over SMTP all the time, before the storm and in it.
"""

import argparse
import asyncio
import itertools
import json
import re
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from bench import running
from bench.mails import Mail
from bench.receivers import Sink, running_sink
from bench.smtp import Client, Server
from bench.storm import Storm
from bench.usage import Watch
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.store.database import Database
from postroad_stack.certificates import ensure_certificates
from postroad_stack.stack import Stack

_CALM_EVERY = 0.1  # seconds between two ordinary mails
_CALM_BEFORE = 6.0  # seconds of ordinary mail without a storm
_CALM_AFTER = 20.0  # seconds that the last ordinary mail has to arrive
_LOOK_EVERY = 0.5  # seconds
_STALLED_SECONDS = 60.0
_RETURNS = "postroad_bounce_processor_returns_total"
_EVENTS = "postroad_feedback_events_total"


class Calm:
    """Ordinary mail, one at a time; knows when each was handed in (Unix time, by subject)."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sent: dict[str, float] = {}

    async def run(self, until: asyncio.Event) -> None:
        """Send at a steady pace until told to stop."""
        for number in itertools.count():
            if until.is_set():
                return
            subject = f"calm {number}"
            wire = b"Subject: %s\r\n\r\nHello.\r\n.\r\n" % subject.encode()
            moment = time.time()
            answer = await self._client.send(Mail("ann@shop.test", "bob@calm.test", wire))
            if answer.code == 250:
                self._sent[subject] = moment
            await asyncio.sleep(_CALM_EVERY)

    async def waits(self, sink: Sink, first: float, last: float) -> list[float]:
        """Seconds from submission to the receiving server, of what was sent from first to last."""
        query = {"wait": _CALM_AFTER, "at_least": len(self._sent)}
        found = (await sink.http.get("/messages", params=query, timeout=60)).json()
        arrived = {message["subject"]: message["time"] for message in found}
        return [
            arrived.get(subject, float("inf")) - moment
            for subject, moment in self._sent.items()
            if first <= moment < last
        ]


async def _counted(pages: Sequence[str], name: str) -> int:
    """Return the sum of a counter over processes and labels."""
    line = re.compile(rf"^{name}\{{[^}}]*\}} (\S+)$", re.MULTILINE)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        texts = [(await http.get(page)).text for page in pages]
    return int(sum(float(value) for text in texts for value in line.findall(text)))


async def _understood(pages: Sequence[str], size: int) -> tuple[float, int]:
    """When all returns were dealt with (Unix time), and how many were; asks the processes."""
    done, changed = 0, time.monotonic()
    while done < size and time.monotonic() - changed < _STALLED_SECONDS:
        await asyncio.sleep(_LOOK_EVERY)
        now = await _counted(pages, _RETURNS)
        if now != done:
            done, changed = now, time.monotonic()
    return time.time(), done


async def _measure(options: argparse.Namespace, system: Stack, calm_sink: Sink) -> dict[str, Any]:
    document = system.document
    login = system.api().post("/v1/credentials", {"name": "bench", "forward_bounces": False})
    storm = Storm(size=options.returns, senders=options.senders, forward=not options.no_forward)
    database = Database(document.mongodb)
    link = BrokerLink(document.amqp, "storm")
    publisher = Publisher(link)
    link.start()
    stop = asyncio.Event()
    try:
        await asyncio.wait_for(link.up.wait(), 30)
        await storm.prepare(database)
        listener = document.smtp
        assert listener is not None  # noqa: S101 - the whole stack runs
        tls = ssl.create_default_context(cafile=document.ca)
        server = Server(listener.host, listener.port, tls, login["username"], login["password"])
        calm = Calm(await Client.connect(server))
        sending = asyncio.create_task(calm.run(stop))
        calm_from = time.time()
        await asyncio.sleep(_CALM_BEFORE)
        watch = Watch(document.pids)
        feedback = document.metrics["feedback"]
        events = -await _counted(feedback, _EVENTS)
        before, began = watch.begin(), time.time()
        blowing = asyncio.create_task(storm.blow(publisher, options.seconds))
        ended, done = await _understood(document.metrics["bounce-processor"], options.returns)
        after = watch.read()
        events += await _counted(feedback, _EVENTS)
        stop.set()
        await asyncio.gather(blowing, sending)
        quiet = await calm.waits(calm_sink, calm_from, began)
        stormy = await calm.waits(calm_sink, began, ended)
    finally:
        await link.close()
        await database.close()
    cpu = {name: after.cpu[name] - before.cpu[name] for name in after.cpu}
    return {
        "row": f"returns, {options.replicas} bounce-processor(s)",
        "returns": done,
        "seconds": round(ended - began, 1),
        "per_s": round(done / (ended - began)),
        "cpu_ms_per_return": round(1000 * cpu["bounce-processor"] / max(done, 1), 3),
        "cpu_s": {name: round(seconds, 1) for name, seconds in cpu.items() if seconds >= 0.5},
        "events": events,
        "events_per_core_s": round(events / max(cpu["feedback"], 0.01)),
        "peak_mib": after.peak["bounce-processor"] >> 20,
        "calm_ms": _shares(quiet),
        "storm_ms": _shares(stormy),
        "problem": "" if done == options.returns else f"{options.returns - done} are missing",
    }


def _shares(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits)
    found = {
        name: round(1000 * ordered[int(share * (len(ordered) - 1))])
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        if ordered and ordered[-1] != float("inf")
    }
    return {"mails": len(ordered), **found}


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postroad-bench-")))
        (folder / "tls").mkdir()
        files = ensure_certificates(folder / "tls", ["127.0.0.1", "localhost"])
        ends = [
            await stack.enter_async_context(
                running_sink(files.certificate, files.key, discard=discard)
            )
            for discard in (False, True)
        ]
        calm, rest = ends
        routes = [
            {"domain": domain, "host": "127.0.0.1", "port": end.smtp_port, "tls": "none"}
            for domain, end in (("calm.test", calm), ("*", rest))
        ]
        system = await asyncio.to_thread(
            Stack.start,
            folder / "stack",
            env={"POSTROAD_ROUTES": json.dumps(routes)},
            replicas={"bounce-processor": options.replicas},
            sink=False,
        )
        stack.callback(system.stop, wipe=True)
        return await _measure(options, system, calm)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.returns",
        description="Measures a storm of returned mail. See bench/README.md.",
    )
    parser.add_argument("--returns", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="in which they arrive; 0: at once (default 60)"
    )
    parser.add_argument("--replicas", type=int, default=1, help="of the bounce-processor")
    parser.add_argument("--senders", type=int, default=200, help="that mail came from")
    parser.add_argument("--no-forward", action="store_true", help="returns are not passed on")
    return parser.parse_args()


def main() -> None:
    """Measure; exit code 1 if returns were lost."""
    try:
        result = running.run(_run(_arguments()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    print(json.dumps(result))
    sys.exit(1 if result["problem"] else 0)


if __name__ == "__main__":
    main()
