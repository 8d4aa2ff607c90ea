"""Processes that do work which may freeze or bloat: kept warm, and ended when they do.

A question goes to a process's standard input and its answer comes from its standard output, each
as octets behind their length (four octets, big endian). What the octets are is between the module
that the process runs and whoever asks it. How many may work at once is for whoever asks to bound.
"""

import asyncio
import contextlib
import os
import signal
import sys

from postroad_common.processes.frames import LENGTH, frame


class WorkerProcess:
    """One process; it leads a process group of its own, so that its children end with it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.served = 0

    @property
    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self._process.returncode is None

    @classmethod
    async def start(cls, module: str, *arguments: str) -> "WorkerProcess":
        """Run `module` in a process without an environment.

        Raises:
            OSError: no process can be started.
        """
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-m",
                module,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={},
                preexec_fn=os.setpgrp,  # uvloop knows no `process_group`
            )
        )

    async def ask(self, question: bytes) -> bytes:
        """Return the answer to one question; after any exception the process is to be ended.

        Raises:
            OSError: the process takes nothing more.
            EOFError: it ended before it had answered.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise EOFError
        self.served += 1
        stdin.write(frame(question))
        await stdin.drain()
        length = LENGTH.unpack(await stdout.readexactly(LENGTH.size))[0]
        return await stdout.readexactly(length)

    async def end(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()


class WorkerProcesses:
    """Processes of one `module`, of which the idle ones wait for the next question.

    A process that has answered `most` questions is ended: what has leaked goes with it.
    """

    def __init__(self, module: str, *arguments: str, most: int = 1_000) -> None:
        self._module = module
        self._arguments = arguments
        self._most = most
        self.idle: list[WorkerProcess] = []

    async def take(self) -> WorkerProcess:
        """Return a process that lives; it is the caller's until it is put back or ended.

        Raises:
            OSError: none is idle and none can be started.
        """
        while self.idle:
            process = self.idle.pop()
            if process.lives:
                return process
        return await WorkerProcess.start(self._module, *self._arguments)

    async def put_back(self, process: WorkerProcess) -> None:
        """Keep a process, which has answered, for the next question."""
        if process.served < self._most:
            self.idle.append(process)
        else:
            await process.end()

    async def close(self) -> None:
        """End the processes that are idle."""
        while self.idle:
            await self.idle.pop().end()
