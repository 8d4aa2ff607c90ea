"""Runs a measurement so that whatever ends it, what it has started is stopped."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in a loop of its own; SIGTERM and SIGHUP cancel it, as Ctrl-C does.

    Raises:
        asyncio.CancelledError: it was cancelled; its context managers have ended.
        KeyboardInterrupt: by Ctrl-C, likewise.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_cancellable(work))


async def _cancellable(work: Coroutine[Any, Any, T]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    return await task
