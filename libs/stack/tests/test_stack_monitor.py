import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from postroad_stack.errors import NotReadyError, StartFailedError
from postroad_stack.processes.child import same_process
from postroad_stack.processes.monitor import ProcessMonitor
from postroad_stack.processes.program import Program
from postroad_stack.status import ProcessState, ProcessStatus
from postroad_testing.waiting import until

Make = Callable[..., Program]


@pytest.fixture
def program(tmp_path: Path) -> Make:
    """Return what makes a program of Python code, ready once it wrote its `ready` file."""

    def make(
        code: str, *, patience: float = 20.0, grace: float = 10.0, niceness: int = 0
    ) -> Program:
        async def ready() -> None:
            if not (tmp_path / "ready").exists():
                raise NotReadyError("no ready file yet")

        return Program(
            name="example",
            argv=(sys.executable, "-c", f"import pathlib, signal, sys, time\n{code}"),
            env={"PATH": os.environ["PATH"]},
            log=tmp_path / "example.log",
            ready=ready,
            patience=patience,
            grace=grace,
            folder=tmp_path,
            niceness=niceness,
        )

    return make


STEADY = "print('hello', flush=True)\npathlib.Path('ready').touch()\nsignal.pause()"


class Watched:
    """A monitor whose changes can be waited for."""

    def __init__(self, program: Program) -> None:
        self._event = asyncio.Event()
        self.monitor = ProcessMonitor(program, self._event.set)

    async def until(self, condition: Callable[[ProcessStatus], bool]) -> None:
        async with asyncio.timeout(90):
            while not condition(self.monitor.status):
                self._event.clear()
                await self._event.wait()


@contextlib.asynccontextmanager
async def kept(program: Program) -> AsyncIterator[Watched]:
    watched = Watched(program)
    watched.monitor.start()
    try:
        yield watched
    finally:
        await watched.monitor.stop()


def session_nice(pid: int) -> int | None:
    """Return how far a process's session gives way; None where sessions are not weighed."""
    enabled = Path("/proc/sys/kernel/sched_autogroup_enabled")
    if not enabled.exists() or enabled.read_text() != "1\n":
        return None
    return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])


def may_be(niceness: int) -> bool:
    tried = subprocess.run(
        [sys.executable, "-c", f"import os; os.nice({niceness})"], capture_output=True, check=False
    )
    return tried.returncode == 0


@pytest.mark.parametrize("niceness", [-5, 0, 7])
async def test_program_gives_way_as_far_as_it_should(program: Make, niceness: int):
    allowed = niceness if may_be(niceness) else max(0, niceness)
    async with kept(program(STEADY, niceness=niceness)) as watched:
        await watched.monitor.ready()
        pid = watched.monitor.status.pid
        assert pid is not None
        own = psutil.Process().nice()
        await until(lambda: psutil.Process(pid).nice() == own + allowed)
        await until(lambda: session_nice(pid) in {None, allowed})


@pytest.mark.parametrize("privileged", [True, False])
def test_whether_others_may_go_first_is_found_out_and_leaves_nothing(*, privileged: bool):
    if os.geteuid() != 0 and privileged:
        pytest.skip("only root may let others go first: make test as root tries it")
    code = (
        "import os\n"
        "from postroad_stack.processes.child import may_go_first\n"
        f"os.geteuid() == 0 and not {privileged} and os.setuid(65534)\n"
        "before = os.getpriority(os.PRIO_PROCESS, 0)\n"
        "print(may_go_first(-10), os.getpriority(os.PRIO_PROCESS, 0) == before)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = privileged and may_be(-10)  # in a container root may not either
    assert run.stdout.split() == [str(allowed), "True"]


async def test_program_gives_way_only_when_it_is_ready(program: Make, tmp_path: Path):
    slow = "while not pathlib.Path('go').exists(): time.sleep(0.02)\n" + STEADY
    async with kept(program(slow, niceness=7)) as watched:
        await watched.until(lambda status: status.state is ProcessState.STARTING)
        pid = watched.monitor.status.pid
        assert pid is not None
        own = psutil.Process().nice()
        assert psutil.Process(pid).nice() == own
        (tmp_path / "go").touch()
        await until(lambda: psutil.Process(pid).nice() == own + 7)


async def test_killed_program_is_started_again_and_counted(program: Make):
    async with kept(program(STEADY)) as watched:
        await watched.monitor.ready()
        first = watched.monitor.status
        os.kill(first.pid or 0, signal.SIGKILL)
        await watched.until(lambda status: status.pid not in {None, first.pid})
        await watched.until(lambda status: status.state is ProcessState.READY)
        assert watched.monitor.status.restarts == 1
        assert not same_process(first.pid, first.born)


async def test_output_of_every_run_is_appended_to_the_log(program: Make, tmp_path: Path):
    async with kept(program(STEADY)) as watched:
        await watched.monitor.ready()
        (tmp_path / "ready").unlink()
        os.kill(watched.monitor.status.pid or 0, signal.SIGKILL)
        await watched.until(
            lambda status: status.restarts == 1 and status.state is ProcessState.READY
        )
    assert (tmp_path / "example.log").read_text() == "hello\nhello\n"


async def test_refused_settings_end_the_start_at_once_with_the_log_lines(program: Make):
    code = "print('POSTROAD_FOO: no such setting', file=sys.stderr)\nsys.exit(2)"
    async with kept(program(code)) as watched:
        with pytest.raises(StartFailedError) as caught:
            await watched.monitor.ready()
        assert watched.monitor.status.restarts == 0
        assert caught.value.failure.tail == ("POSTROAD_FOO: no such setting",)
        assert "exit code 2" in caught.value.failure.reason


async def test_program_that_keeps_dying_at_start_is_given_up_after_three_tries(program: Make):
    async with kept(program("print('cannot', flush=True)\nsys.exit(1)")) as watched:
        with pytest.raises(StartFailedError) as caught:
            await watched.monitor.ready()
        assert watched.monitor.status.restarts == 2
        assert caught.value.failure.tail == ("cannot",)


async def test_program_that_never_becomes_ready_fails_with_what_was_missing(program: Make):
    async with kept(program("signal.pause()", patience=0.5)) as watched:
        with pytest.raises(StartFailedError, match="no ready file yet"):
            await watched.monitor.ready()


async def test_program_that_is_not_there_fails_with_the_reason(program: Make, tmp_path: Path):
    missing = program("")
    missing = Program(**{**vars(missing), "argv": (str(tmp_path / "missing"),)})
    async with kept(missing) as watched:
        with pytest.raises(StartFailedError, match="could not be started"):
            await watched.monitor.ready()


async def test_stop_lets_the_program_finish_within_its_grace_time(program: Make, tmp_path: Path):
    code = (
        "def end(*_):\n    pathlib.Path('drained').touch()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n" + STEADY
    )
    async with kept(program(code)) as watched:
        await watched.monitor.ready()
    assert (tmp_path / "drained").exists()
    assert watched.monitor.status.state is ProcessState.STOPPED


async def test_stop_kills_a_program_that_ignores_sigterm(program: Make):
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STEADY
    async with kept(program(code, grace=0.3)) as watched:
        await watched.monitor.ready()
        running = watched.monitor.status
    assert not same_process(running.pid, running.born)


async def test_readiness_check_that_swallows_its_cancellation_does_not_keep_it_running(
    program: Make,
):
    async def stubborn() -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            raise NotReadyError("swallowed") from None

    plain = program("signal.pause()")
    async with asyncio.timeout(90), kept(Program(**{**vars(plain), "ready": stubborn})) as watched:
        await watched.until(lambda status: status.pid is not None)
    assert watched.monitor.status.state is ProcessState.STOPPED


async def test_stop_right_after_the_start_leaves_nothing_running(program: Make):
    watched = Watched(program(STEADY))
    watched.monitor.start()
    async with asyncio.timeout(90):
        await watched.monitor.stop()
    assert watched.monitor.status.state is ProcessState.STOPPED
    assert watched.monitor.status.pid is None


async def test_stop_at_once_does_not_wait_for_a_program_that_takes_its_time(program: Make):
    slow = "signal.signal(signal.SIGTERM, lambda *_: time.sleep(600))\n" + STEADY
    watched = Watched(program(slow, grace=600.0))
    watched.monitor.start()
    await watched.monitor.ready()
    async with asyncio.timeout(90):
        await watched.monitor.stop(at_once=True)
    assert watched.monitor.status.state is ProcessState.STOPPED


def test_child_dies_when_its_supervisor_is_killed(tmp_path: Path):
    # A supervisor of its own process: it starts a child, says its pid, and is killed.
    script = f"""
import asyncio, pathlib
from postroad_stack.processes.child import Child
from postroad_stack.processes.program import Program

async def main():
    async def ready(): pass
    folder = pathlib.Path({str(tmp_path)!r})
    child = await Child.start(Program(
        name="orphan", argv=("sleep", "600"), env={{"PATH": "/usr/bin:/bin"}},
        log=folder / "orphan.log", ready=ready, patience=1.0, grace=1.0, folder=folder,
    ))
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""
    with subprocess.Popen((sys.executable, "-c", script), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        orphan = psutil.Process(int(parent.stdout.readline()))
        assert orphan.is_running()
        parent.kill()
    orphan.wait(timeout=90)
    assert not orphan.is_running()
