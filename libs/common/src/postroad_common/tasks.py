"""Background tasks: kept so that they are not collected, logged when they fail, ended together.

The event loop holds tasks weakly only; a task that nobody holds may vanish before it has run. So
each object that starts some keeps them here.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
CANCEL_AGAIN = 0.5  # seconds
CANCELLATIONS = 10

_log = structlog.get_logger("tasks")


class BackgroundTasks:
    """Tasks that run beside the object that keeps them.

    A failure is logged with its traceback under `what`, but for those in `expected`, which are
    logged as a warning; then `failed` is called with the task.
    """

    def __init__(
        self,
        what: str = "background task",
        *,
        expected: tuple[type[Exception], ...] = (),
        failed: Callable[["asyncio.Task[Any]"], None] | None = None,
    ) -> None:
        self._what = what
        self._expected = expected
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """Count those that have not ended."""
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> "asyncio.Task[T]":
        """Run `work`. The task may be awaited or given callbacks like any other."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> None:
        """Ask all to end; returns at once."""
        for task in self._tasks:
            task.cancel()

    async def join(self) -> None:
        """Wait until all have ended by themselves, those started meanwhile included.

        Their failures are logged and not raised.
        """
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Cancel all and wait until they have ended, ten seconds at most.

        A library that is just connecting may take a cancellation for a lost connection and swallow
        it: so it is repeated.
        """
        left = set(self._tasks)
        for _ in range(CANCELLATIONS):
            if not left:
                return
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN)
        if left:
            names = sorted(task.get_name() for task in left)
            _log.error(f"{self._what} does not end", tasks=names)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, self._expected):
            _log.warning(f"{self._what} cut short", task=task.get_name(), error=str(error))
        else:
            _log.error(f"{self._what} failed", task=task.get_name(), exc_info=error)
        if self._failed is not None:
            self._failed(task)
