"""Processor time and memory of groups of processes, with all their threads and descendants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Usage:
    """By group: seconds of processor time used so far, and bytes of memory at the peak."""

    cpu: dict[str, float]
    peak: dict[str, int]

    @property
    def cpu_total(self) -> float:
        """Seconds of all groups."""
        return sum(self.cpu.values())


class Watch:
    """Watches the processes with the given ids, by group, and everything they started.

    A process belongs to the nearest of its ancestors that was named, so a supervisor that is named
    too does not count for what it supervises.
    """

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._named = {pid: group for group, pids in groups.items() for pid in pids}
        self._groups = list(groups)

    def begin(self) -> Usage:
        """Let the peaks of memory begin anew; the processor time used until now."""
        for pid in self._processes():
            try:
                # 5 resets the "high water mark", see proc(5).
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                # It ended, or is not ours; then its peak is that of its whole life.
                continue
        return self.read()

    def read(self) -> Usage:
        """Return what was used until now."""
        cpu = dict.fromkeys(self._groups, 0.0)
        peak = dict.fromkeys(self._groups, 0)
        for pid, group in self._processes().items():
            try:
                times = psutil.Process(pid).cpu_times()
                memory = _high_water_mark(pid)
            except (psutil.Error, OSError):
                continue
            # Children that ended count for the parent that waited for them.
            cpu[group] += times.user + times.system + times.children_user + times.children_system
            peak[group] += memory
        return Usage(cpu, peak)

    def missing(self) -> list[str]:
        """Return the groups that lost a process."""
        return sorted({group for pid, group in self._named.items() if not psutil.pid_exists(pid)})

    def _processes(self) -> dict[int, str]:
        """Every process that counts, and its group."""
        parents = {
            process.info["pid"]: process.info["ppid"]
            for process in psutil.process_iter(["pid", "ppid"])
        }
        found = {}
        for pid in parents:
            ancestor: int | None = pid
            while ancestor and ancestor not in self._named:
                ancestor = parents.get(ancestor)
            if ancestor:
                found[pid] = self._named[ancestor]
        return found


def _high_water_mark(pid: int) -> int:
    """Bytes of memory at the peak (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
