"""Starts one program, waits until it is ready, and starts it again whenever it ends."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from postroad_stack import logs
from postroad_stack.errors import NotReadyError, StartFailedError
from postroad_stack.processes.child import Child, born, weigh
from postroad_stack.processes.program import Program, Running
from postroad_stack.status import Failure, ProcessState, ProcessStatus

log = logging.getLogger(__name__)

REFUSED_SETTINGS = 2
_PAUSE_SECONDS = (0.1, 0.5, 1.0, 2.0, 4.0)
_STEADY_SECONDS = 15.0
_FIRST_TRIES = 3
_POLL_SECONDS = 0.1
_POLL_LONGEST_SECONDS = 0.4


async def launch(program: Program) -> Running:
    """Start a program where it belongs: in a container when it has an image, else here.

    Raises:
        OSError: it could not be started.
    """
    if program.image is None:
        return await Child.start(program)
    from postroad_stack.processes.container import Container  # noqa: PLC0415  (imports all of Docker's SDK)

    return await Container.start(program)


@dataclass(frozen=True)
class Ending:
    """How one run of a program ended; `code` is None when it could not even be started."""

    code: int | None
    words: str


class ProcessMonitor:
    """Runs one program until `stop`.

    Args:
        program: what to run.
        changed: called after each change of `status`.
    """

    def __init__(self, program: Program, changed: Callable[[], None]) -> None:
        self.program = program
        self.status = ProcessStatus(name=program.name, replica=program.replica)
        self._changed = changed
        self._stopping = asyncio.Event()
        self._first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._running: Running | None = None
        self._log_start = 0

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name=f"run {self.program.label}")

    async def ready(self) -> None:
        """Return when the program was ready for the first time.

        Raises:
            StartFailedError: it ended too often before, or took too long.
        """
        try:
            async with asyncio.timeout(self.program.patience):
                await asyncio.shield(self._first_ready)
        except TimeoutError:
            seconds = f"{self.program.patience:.0f}"
            missing = f": {self.status.note}" if self.status.note else ""
            raise self._failed(f"was not ready after {seconds} seconds{missing}") from None

    async def stop(self, *, at_once: bool = False) -> None:
        """End the program: SIGTERM, and SIGKILL after its grace time, or `at_once`."""
        self._stopping.set()
        if self._running is not None:
            if at_once:
                self._running.kill()
            else:
                self._running.terminate()
        if self._task is None:
            return
        try:
            async with asyncio.timeout(self.program.grace):
                await asyncio.shield(self._task)
        except TimeoutError:
            log.warning("%s did not end in %.0f s; killed", self._label, self.program.grace)
            if self._running is not None:
                self._running.kill()
            await self._task

    @property
    def _label(self) -> str:
        return self.program.label

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            ending = await self._run_once()
            if self._stopping.is_set():
                break
            failures = 0 if time.monotonic() - began > _STEADY_SECONDS else failures + 1
            if self._hopeless(ending, failures):
                break
            pause = _PAUSE_SECONDS[min(max(failures - 1, 0), len(_PAUSE_SECONDS) - 1)]
            log.warning("%s %s; starting it again in %.1f s", self._label, ending.words, pause)
            self._note(
                state=ProcessState.DOWN,
                pid=None,
                born=None,
                restarts=self.status.restarts + 1,
                note=ending.words,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
        self._note(state=ProcessState.STOPPED, pid=None, born=None)

    async def _run_once(self) -> Ending:
        self._log_start = logs.size(self.program.log)
        try:
            self._running = await launch(self.program)
        except OSError as error:
            return Ending(None, f"could not be started: {error}")
        if self._stopping.is_set():
            self._running.terminate()
        pid = self._running.pid
        self._note(
            state=ProcessState.STARTING, pid=pid, born=born(pid), started=time.time(), note=""
        )
        log.info("%s started, pid %d", self._label, pid)
        if self.program.niceness < 0:
            await self._weigh(self._running)
        checking = asyncio.create_task(self._poll_ready(self._running), name=f"ready {self._label}")
        code = await self._running.wait()
        self._running = None
        checking.cancel()
        # Bounded: a library that is asked whether the program answers may swallow the cancellation;
        # the polling itself ends when it sees that this run is over.
        await asyncio.wait({checking}, timeout=_POLL_SECONDS)
        return Ending(code, _describe(code))

    async def _poll_ready(self, run: Running) -> None:
        began = time.monotonic()
        pause = _POLL_SECONDS
        while True:
            try:
                await self.program.ready()
                break
            except NotReadyError as error:
                if self._running is run and str(error) != self.status.note:
                    self._note(note=str(error))
            if self._running is not run:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, _POLL_LONGEST_SECONDS)
        if self._running is not run:
            return
        log.info("%s ready after %.1f s", self._label, time.monotonic() - began)
        self._note(state=ProcessState.READY, ready=time.time(), note="")
        if not self._first_ready.done():
            self._first_ready.set_result(None)
        if self.program.niceness > 0:  # not before: nobody could wait for it where all is busy
            await self._weigh(run)

    async def _weigh(self, run: Running) -> None:
        if self.program.image is None:
            await weigh(run.pid, self.program.niceness)

    def _hopeless(self, ending: Ending, failures: int) -> bool:
        """Give up on a program that never became ready: at once when it refused its settings."""
        if self._first_ready.done():
            return False
        if ending.code != REFUSED_SETTINGS and failures < _FIRST_TRIES:
            return False
        advice = ""
        if ending.code == REFUSED_SETTINGS:
            advice = "correct the setting (in --env or in the environment) and start again"
        self._first_ready.set_exception(self._failed(ending.words, advice))
        self._first_ready.exception()  # seen here, should nobody wait for it any more
        return True

    def _failed(self, reason: str, advice: str = "") -> StartFailedError:
        return StartFailedError(
            Failure(
                process=self._label,
                reason=reason,
                log=str(self.program.log),
                tail=logs.tail(self.program.log, since=self._log_start),
                advice=advice,
            )
        )

    def _note(self, **changes: object) -> None:
        self.status = self.status.model_copy(update=changes)
        self._changed()


def _describe(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
