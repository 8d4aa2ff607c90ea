"""Runs a program as a child process that cannot outlive its supervisor."""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable
from typing import IO

import psutil

from postroad_stack.processes.program import Program

_PR_SET_PDEATHSIG = 1
_AUTOGROUP_TRIES = 20
_AUTOGROUP_PAUSE = 0.1  # seconds
_libc = ctypes.CDLL(None, use_errno=True)


async def weigh(pid: int, niceness: int) -> None:
    """Let a process, which leads a session, give way to others, or go before them, by nice(2).

    Who may not go before others stays their equal. Where sessions are weighed against each other
    (sched(7), "The autogroup feature"), that is what counts, not the niceness of processes.
    """
    for thread in _threads(pid):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
    for _ in range(_AUTOGROUP_TRIES):
        try:
            with open(f"/proc/{pid}/autogroup", "w") as file:  # noqa: ASYNC230, PTH123 - kernel
                file.write(str(niceness))
        except BlockingIOError:  # all users but root share ten turns a second
            await asyncio.sleep(_AUTOGROUP_PAUSE)
        except OSError:
            return
        else:
            return


def may_go_first(niceness: int) -> bool:
    """Return whether this process may let others have `niceness`, which is below its own."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, own + niceness)
    except OSError:
        return False
    os.setpriority(os.PRIO_PROCESS, 0, own)
    return True


def _threads(pid: int) -> list[int]:
    try:
        return [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    except OSError:
        return []


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return what a fresh child calls so that the kernel signals it when its parent ends.

    See prctl(2), PR_SET_PDEATHSIG. Called between fork and exec, so it only makes system calls.
    """
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return prepare


class Child:
    """A running child process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: Program) -> "Child":
        """Start the program in a session of its own; its output is appended to its log.

        Raises:
            OSError: the program is not there or cannot be run.
        """
        with _append(program) as log:
            process = await asyncio.create_subprocess_exec(
                *program.argv,
                env=dict(program.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
                cwd=program.folder,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        return await self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


def _append(program: Program) -> IO[bytes]:
    # Append mode: the log may be cut behind the child's back (see `logs`), and goes on at its end.
    return program.log.open("ab")


def born(pid: int) -> float | None:
    """Return when a process was created (unix time), None if it is gone.

    The pair of pid and birth names one process for good; the pid alone is used again.
    """
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return float(process.create_time())
    return None


def same_process(pid: int | None, birth: float | None) -> bool:
    """Tell whether the process that was noted down as (pid, birth) still runs."""
    if pid is None or birth is None:
        return False
    now = born(pid)
    return now is not None and abs(now - birth) < 1.0


def end_process(pid: int | None, birth: float | None, *, patience: float = 5.0) -> None:
    """Kill a process left behind, if it still is the one that was noted down, and wait for it."""
    if pid is None or not same_process(pid, birth):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while same_process(pid, birth) and time.monotonic() < deadline:
        time.sleep(0.02)
