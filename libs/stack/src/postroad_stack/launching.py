"""Starts and stops the supervisor of a state dir, and waits for what it reports.

Used by the command and by the fixtures; the supervisor itself is in `supervisor`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

from postroad_stack.errors import StackError, StartFailedError
from postroad_stack.interrupts import interrupts_held
from postroad_stack.logs import tail
from postroad_stack.orphans import end_orphans
from postroad_stack.plan import StackPlan
from postroad_stack.processes.child import end_process, same_process
from postroad_stack.state_dir import StateDir, write_atomically
from postroad_stack.status import Failure, StackPhase, StackStatus

FOR_GOOD = signal.SIGUSR1
"""Asks the supervisor to stop like SIGTERM; the servers need not put their data in order."""

_POLL = 0.1
_START_LIMIT = 300.0
_STOP_LIMIT = 120.0
_APPEAR_LIMIT = 60.0

Watch = Callable[[StackStatus], None]


def start(state: StateDir, plan: StackPlan, *, follow_parent: bool = False) -> None:
    """Start the supervisor; returns once it runs. Does nothing when it runs already.

    Args:
        state: state dir, created before.
        plan: what to run.
        follow_parent: stop the stack when this process ends, however it ends.

    Raises:
        StackError: it ended at once.
    """
    with state.launching():
        if state.supervised():
            return
        end_orphans(state)
        with state.writing():
            write_atomically(state.plan, plan.model_dump_json(indent=1))
            state.status.unlink(missing_ok=True)
        process = None
        try:
            with state.log_of("supervisor").open("ab") as log, interrupts_held():
                process = _spawn(state, log, follow_parent=follow_parent)
            _await_first_status(state, process)
        except BaseException:  # Ctrl-C, too: `stop` cannot find one that has not said who it is
            if process is not None:
                process.terminate()
                process.wait(_STOP_LIMIT)
                end_orphans(state)
            raise


def _spawn(state: StateDir, log: BinaryIO, *, follow_parent: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (
            *(sys.executable, "-m", "postroad_stack"),
            *("--state-dir", str(state.root)),
            *(("--parent", str(os.getpid())) if follow_parent else ()),
        ),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=state.root,
        start_new_session=True,
    )


def _await_first_status(state: StateDir, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _APPEAR_LIMIT
    while not (state.supervised() and state.read_status()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise _unexpected_end(state)
        time.sleep(_POLL / 2)


def wait_ready(
    state: StateDir, watch: Watch | None = None, *, limit: float = _START_LIMIT
) -> StackStatus:
    """Return the status once everything is ready.

    Args:
        state: state dir with a running supervisor.
        watch: called with each new status.
        limit: seconds.

    Raises:
        StackError: it did not become ready; StartFailedError where the log tells why.
    """
    deadline = time.monotonic() + limit
    seen = 0.0
    while True:
        status = state.read_status()
        if status is not None and status.written != seen:
            seen = status.written
            if watch is not None:
                watch(status)
            if status.phase is StackPhase.READY:
                return status
            if status.failure is not None:
                _await_end(state, status)
                raise StartFailedError(status.failure)
        if not state.supervised():
            raise _unexpected_end(state)
        if time.monotonic() > deadline:
            raise StackError(
                f"the stack was not ready after {limit:.0f} s", advice=f"see {state.logs}"
            )
        time.sleep(_POLL)


def stop(state: StateDir, *, limit: float = _STOP_LIMIT, wipe: bool = False) -> bool:
    """Stop the stack; return whether one was running.

    Args:
        state: state dir.
        limit: seconds until the supervisor is killed, and its children with it.
        wipe: remove the data, too.
    """
    if not state.exists():
        return False
    with state.launching():
        running = state.supervised()
        status = state.read_status()
        if running and status is not None and same_process(status.supervisor, status.born):
            os.kill(status.supervisor, FOR_GOOD if wipe else signal.SIGTERM)
            deadline = time.monotonic() + limit
            while same_process(status.supervisor, status.born) and time.monotonic() < deadline:
                time.sleep(_POLL / 2)
            end_process(status.supervisor, status.born)
        end_orphans(state)
    if wipe:
        state.wipe()
    return running


def _await_end(state: StateDir, status: StackStatus) -> None:
    """Let a supervisor that failed finish stopping what it had started."""
    deadline = time.monotonic() + _STOP_LIMIT
    while same_process(status.supervisor, status.born) and time.monotonic() < deadline:
        if not state.supervised():
            return
        time.sleep(_POLL / 2)


def _unexpected_end(state: StateDir) -> StackError:
    status = state.read_status()
    if status is not None and status.failure is not None:
        return StartFailedError(status.failure)
    log = state.log_of("supervisor")
    return StartFailedError(
        Failure(
            process="supervisor",
            reason="ended unexpectedly",
            log=str(log),
            tail=tail(log),
            advice="run the same command again; the data are kept",
        )
    )
