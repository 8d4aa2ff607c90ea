"""Where all relays deliver: counts each message by its recipient, so that losses and copies show.

`python -m bench.peers.sink` prints its port as JSON, and answers lines on standard input:
`begin FIRST LAST` counts anew, messages of these numbers only; `counts` prints a line of JSON.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

from bench.mails import number_of
from bench.receiver import Manner, Receiver, receiving_with

_START_SECONDS = 20.0


@dataclass(frozen=True)
class Counts:
    """What has come: different messages, copies beyond the first, others, Unix time of the last."""

    messages: int
    copies: int
    strays: int
    last: float | None


class Tally(Receiver):
    """A quick receiver that counts the messages of a range of numbers."""

    def __init__(self) -> None:
        super().__init__(Manner.QUICK)
        self.begin(range(0))

    def begin(self, numbers: range) -> None:
        """Count anew."""
        self._numbers = numbers
        self._seen: Counter[int] = Counter()
        self._strays = 0
        self._last: float | None = None

    def note(self, recipient: str, head: bytes, now: float) -> None:
        """Note that a message was taken."""
        del head, now
        try:
            number = number_of(recipient)
        except ValueError:  # a bounce, or whatever else a relay sends by itself
            number = -1
        if number not in self._numbers:
            self._strays += 1
            return
        self._seen[number] += 1
        self._last = time.time()

    def counts(self) -> Counts:
        """Return what has come until now."""
        messages = len(self._seen)
        return Counts(messages, self._seen.total() - messages, self._strays, self._last)


@dataclass(frozen=True)
class CountingSink:
    """The running program."""

    pid: int
    port: int
    process: asyncio.subprocess.Process

    async def begin(self, numbers: range) -> None:
        """Count anew, messages of these numbers."""
        await self._ask(f"begin {numbers.start} {numbers.stop}")

    async def counts(self) -> Counts:
        """Return what has come since."""
        return Counts(**await self._ask("counts"))

    async def _ask(self, line: str) -> dict[str, Any]:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the sink has no standard input")
        self.process.stdin.write(f"{line}\n".encode())
        answer: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return answer


@asynccontextmanager
async def running_counting_sink() -> AsyncIterator[CountingSink]:
    """Run the sink as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.peers.sink",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the sink has no standard output")
        async with asyncio.timeout(_START_SECONDS):
            port = json.loads(await process.stdout.readline())["port"]
        yield CountingSink(process.pid, port, process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _serve() -> None:
    tally = Tally()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async with receiving_with(tally):
        print(json.dumps({"port": tally.port}), flush=True)
        async for line in reader:
            verb, *numbers = line.decode().split()
            if verb == "begin":
                tally.begin(range(*map(int, numbers)))
            print(json.dumps(vars(tally.counts())), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
