"""Fills templates in processes of their own, kept warm and bounded in number, time and memory.

The first process starts with the first template that is used: who uses none pays nothing.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

import structlog

from postroad_common.errors import Transient
from postroad_common.processes.pool import WorkerProcess, WorkerProcesses
from postroad_ingress_http.templating.engine import Escaping
from postroad_ingress_http.templating.problems import Problem, TemplateError

_log = structlog.get_logger(__name__)
_MODULE = "postroad_ingress_http.templating.worker"
_BATCH = 50  # mails that one question holds, so that no answer keeps the event loop busy for long


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A text with places to fill: the field it stands in, and how values are put in there."""

    field: str
    text: str
    escaping: Escaping


@dataclass(frozen=True, slots=True)
class FillBounds:
    """What filling may take: octets of one text and of all, seconds of processor and of waiting."""

    max_octets: int = 4 << 20
    room: int = 64 << 20
    cpu_seconds: float = 5.0
    patience: float = 20.0
    workers: int = 2


class NoWorkerError(Transient):
    """Raised where no process can take the work now."""


class Renderer:
    """Fills texts; an account holds one process at a time, so that it delays only itself."""

    def __init__(self, bounds: FillBounds | None = None) -> None:
        self._bounds = bounds or FillBounds()
        self._places = asyncio.Semaphore(self._bounds.workers)
        self._processes = WorkerProcesses(_MODULE, str(self._bounds.max_octets))
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def check(self, account: str, sources: Sequence[TemplateSource]) -> None:
        """Read the texts without filling them.

        Raises:
            TemplateError: one cannot be read.
            NoWorkerError: nobody can tell now.
        """
        await self.fill(account, sources, ())

    async def fill(
        self, account: str, sources: Sequence[TemplateSource], mails: Sequence[Mapping[str, Any]]
    ) -> list[list[str]]:
        """Return for each mail's data the filled texts, in the order of `sources`.

        Raises:
            TemplateError: a text cannot be read or filled, or takes too much.
            NoWorkerError: no process is free for a long time, or none can be started.
        """
        if not sources:
            return [[] for _ in mails]
        try:
            async with asyncio.timeout(self._bounds.patience):
                turn = self._turns.setdefault(account, asyncio.Lock())
                await turn.acquire()
        except TimeoutError:
            raise NoWorkerError("this account's templates take long") from None
        try:
            return await self._fill(sources, mails)
        finally:
            turn.release()

    async def _fill(
        self, sources: Sequence[TemplateSource], mails: Sequence[Mapping[str, Any]]
    ) -> list[list[str]]:
        try:
            async with asyncio.timeout(self._bounds.patience):
                await self._places.acquire()
        except TimeoutError:
            raise NoWorkerError("no process is free to fill templates") from None
        try:
            worker = await self._worker()
            found: list[list[str]] = []
            room = self._bounds.room
            for start in range(0, max(1, len(mails)), _BATCH):
                filled = await self._ask(worker, sources, mails[start : start + _BATCH], start)
                room -= sum(len(text) for mail in filled for text in mail)
                if room < 0:
                    raise _beyond(sources, "all mails together become too large; send fewer")
                found += filled
            await self._processes.put_back(worker)
            return found
        finally:
            self._places.release()

    async def _worker(self) -> WorkerProcess:
        try:
            return await self._processes.take()
        except OSError as error:
            raise NoWorkerError(f"no process can be started: {error}") from error

    async def _ask(
        self,
        worker: WorkerProcess,
        sources: Sequence[TemplateSource],
        mails: Sequence[Mapping[str, Any]],
        start: int,
    ) -> list[list[str]]:
        """Have a batch filled, whose first mail is number `start`; a failure ends the process."""
        question = {
            "texts": [[source.field, source.text, source.escaping] for source in sources],
            "mails": mails,
            "cpu_seconds": self._bounds.cpu_seconds,
        }
        try:
            async with asyncio.timeout(self._bounds.patience):
                answer = json.loads(
                    await worker.ask(json.dumps(question, separators=(",", ":")).encode())
                )
        except (TimeoutError, OSError, EOFError):
            await worker.end()
            _log.warning("a process that filled templates was ended", pid=worker.pid)
            raise _beyond(sources, "it takes too much time or memory") from None
        except BaseException:
            await worker.end()
            raise
        if "problem" in answer:
            await self._processes.put_back(worker)
            problem = Problem(**answer["problem"])
            mail = None if problem.mail is None else problem.mail + start
            raise TemplateError(replace(problem, mail=mail))
        filled: list[list[str]] = answer["mails"]
        return filled

    async def close(self) -> None:
        """End the processes."""
        await self._processes.close()


def _beyond(sources: Sequence[TemplateSource], message: str) -> TemplateError:
    return TemplateError(Problem("too_large", message, sources[0].field))
