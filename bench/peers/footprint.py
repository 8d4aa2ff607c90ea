"""The memory of processes, each shared page counted once, sampled from a process of its own.

`python -m bench.peers.footprint PID ...` samples the processes and all that they started once a
second until its standard input ends, then prints the most that they had at once, in bytes.
Postfix's hundred processes share most of their pages, so the sum of their peaks would be unfair.
"""

import asyncio
import select
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 1.0


class Peak:
    """The most memory until now, in bytes."""

    def __init__(self) -> None:
        self.octets = 0


@asynccontextmanager
async def sampled(pids: Sequence[int]) -> AsyncIterator[Peak]:
    """Sample the processes meanwhile; the peak is known afterwards."""
    words = ("-m", "bench.peers.footprint", *map(str, pids))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=pipe, stdout=pipe)
    peak = Peak()
    try:
        yield peak
    finally:
        output, _ = await process.communicate(b"")  # closes its input, too
        peak.octets = int(output or 0)


def proportional_set_size(pids: Sequence[int]) -> int:
    """Return the bytes that the processes and all that they started have in memory (PSS)."""
    family: set[int] = set()
    for pid in pids:
        try:
            first = psutil.Process(pid)
            family |= {pid, *(child.pid for child in first.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return sum(_pss(pid) for pid in family)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended, or is not ours
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _main() -> None:
    pids, most = [int(word) for word in sys.argv[1:]], 0
    while True:
        most = max(most, proportional_set_size(pids))
        if select.select([sys.stdin], [], [], _SAMPLE_SECONDS)[0]:
            break
    print(most)


if __name__ == "__main__":
    _main()
