"""Templates of heavy mail, made in processes that are kept warm, bounded in time and memory.

The first starts with the first heavy mail: who sends none pays nothing. A login holds one process
less than there are, so that its mail delays only itself. One whose mail has been given up several
times within a minute gets less time, and then none for the rest of it.
"""

import asyncio
import time
from dataclasses import dataclass

import structlog

from postroad_common.caching import Cache
from postroad_common.errors import Transient
from postroad_common.processes.pool import WorkerProcesses
from postroad_common.schemas.submission import Submission
from postroad_transformer import metrics
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import Template
from postroad_transformer.fairness import FairTurns
from postroad_transformer.workers.messages import Request, WorkerAnswer, pack, unpack_answer

_MODULE = "postroad_transformer.workers.process"
_SHORTER = 3  # times given up within a minute, after which a login gets a tenth of the time
_NONE = 10  # the same, after which it gets none
_MINUTE = 60.0
_MAX_LOGINS = 1_000

_log = structlog.get_logger("workers")


@dataclass(frozen=True, slots=True)
class HtmlBounds:
    """What heavy mail may take: processes, octets of memory, seconds of processor.

    `patience` is how many seconds an answer may take on a machine with other work.
    """

    processes: int = 2
    memory: int = 400 << 20
    cpu_seconds: float = 1.5
    patience: float = 60.0


class GivenUpError(Exception):
    """The mail took too much; the message is the reason for the timeline."""


class UnansweredError(Transient):
    """No process came to it: that says nothing about the mail, and the same may succeed later."""


class WorkerPool:
    """Makes templates, for every login in its turn."""

    def __init__(self, bounds: HtmlBounds | None = None) -> None:
        self._bounds = bounds or HtmlBounds()
        processes = self._bounds.processes
        self._turns = FairTurns(processes, max(1, processes - 1))
        self.processes = WorkerProcesses(_MODULE, str(self._bounds.memory))
        self._given_up: Cache[str, int] = Cache(_MAX_LOGINS, seconds=_MINUTE)

    async def make_template(
        self, login: str, raw: bytes, submission: Submission, rules: Rules
    ) -> Template:
        """Return the template of the message `raw`.

        Raises:
            GivenUpError: it takes too much of a processor, or too much memory.
            UnansweredError: the machine is too busy to tell.
        """
        async with self._turns.take(login):
            times = self._given_up.get(login, 0)
            if times >= _NONE:
                metrics.GIVEN_UP.labels("crowded").inc()
                raise GivenUpError("too much of this login's mail took too long within a minute")
            seconds = self._bounds.cpu_seconds * (0.1 if times >= _SHORTER else 1.0)
            began = time.perf_counter()
            try:
                return await self._ask(Request(raw, submission, rules, seconds))
            except GivenUpError as error:
                self._given_up.put(login, self._given_up.get(login, 0) + 1)
                _log.warning("heavy mail given up", submission=submission.id, reason=str(error))
                raise
            finally:
                metrics.HEAVY_SECONDS.observe(time.perf_counter() - began)

    async def _ask(self, request: Request) -> Template:
        try:
            worker = await self.processes.take()
        except OSError as error:
            raise UnansweredError("no process can be started for it") from error
        try:
            async with asyncio.timeout(self._bounds.patience):
                answer = unpack_answer(await worker.ask(pack(request)))
        except TimeoutError:
            await worker.end()
            text = f"no answer in {self._bounds.patience:g} s: the machine is too busy"
            raise UnansweredError(text) from None
        except (OSError, EOFError):
            await worker.end()
            answer = WorkerAnswer(None, "memory")
        except BaseException:
            await worker.end()
            raise
        else:
            await self.processes.put_back(worker)
        return _template_of(answer, request.seconds)

    async def close(self) -> None:
        """End the processes."""
        await self.processes.close()


def _template_of(answer: WorkerAnswer, seconds: float) -> Template:
    if answer.template is not None:
        return answer.template
    if answer.cause == "error":
        raise RuntimeError(answer.error)
    metrics.GIVEN_UP.labels(answer.cause).inc()
    if answer.cause == "time":
        raise GivenUpError(f"it takes more than {seconds:g} s of a processor")
    raise GivenUpError("it takes too much memory")
