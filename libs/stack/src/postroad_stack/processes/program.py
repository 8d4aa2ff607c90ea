"""A program of the stack: what to run and how to tell that it is ready.

How it is run is in `child` (a process of this machine) and `container` (Docker); `monitor` starts
it again when it ends.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FIRST = -10
"""The niceness of what clients wait for."""

BEHIND = 5
"""The niceness of what works behind that, where nothing may go before others."""


@dataclass(frozen=True)
class Program:
    """One program to keep running.

    Attributes:
        name: service or server; `replica` counts from 0.
        argv: command line; with `image` the same command inside the container.
        env: its whole environment; nothing is inherited.
        log: file that takes its output.
        ready: returns when it answers; raises NotReadyError, and takes a few seconds at most.
        patience: seconds it may need from start to ready.
        grace: seconds between SIGTERM and SIGKILL.
        image: container image to run it in, None for this machine.
        folder: what a container sees of this machine, at the same path.
        niceness: how far it gives way to the others where processors are short (nice(2)), once it
            is ready; below 0, it goes before them from the start, if that is allowed. Not with
            `image`.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    ready: Callable[[], Awaitable[None]]
    patience: float
    grace: float
    folder: Path
    replica: int = 0
    image: str | None = None
    niceness: int = 0

    @property
    def label(self) -> str:
        """The name, with the number of the replica where it is not the first."""
        return f"{self.name}.{self.replica}" if self.replica else self.name


class Running(Protocol):
    """A started program."""

    @property
    def pid(self) -> int:
        """Process id on this machine."""

    async def wait(self) -> int:
        """Return the exit code once it has ended (negative: the signal that ended it)."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
