"""Processes that work for a service, as a service starts them: on its event loop."""

import asyncio
import os
from collections.abc import Callable

import pytest
import uvloop

from postroad_common.processes.pool import WorkerProcess


async def led_group_and_session() -> tuple[bool, bool]:
    """Return whether a worker leads a process group, and whether it is in our session."""
    worker = await WorkerProcess.start("tokenize")
    try:
        return os.getpgid(worker.pid) == worker.pid, os.getsid(worker.pid) == os.getsid(0)
    finally:
        await worker.end()


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_worker_leads_a_group_in_the_session_of_its_service(
    loop: Callable[[], asyncio.AbstractEventLoop],
):
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(led_group_and_session()) == (True, True)
