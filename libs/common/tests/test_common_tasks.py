"""Background tasks: kept, logged, ended."""

import asyncio
from typing import Any

import structlog.testing

from postroad_common.errors import StoreAway
from postroad_common.tasks import BackgroundTasks


async def test_a_failure_is_logged_with_its_name_and_told():
    failed: list[str] = []

    def note(task: "asyncio.Task[Any]") -> None:
        failed.append(task.get_name())

    tasks = BackgroundTasks("look-up", failed=note)

    async def fail() -> None:
        raise ValueError("broken")

    with structlog.testing.capture_logs() as logs:
        tasks.spawn(fail(), "mx")
        await tasks.join()
    assert failed == ["mx"]
    assert [(entry["event"], entry["task"], entry["log_level"]) for entry in logs] == [
        ("look-up failed", "mx", "error")
    ]
    assert isinstance(logs[0]["exc_info"], ValueError)


async def test_an_expected_failure_is_a_warning():
    tasks = BackgroundTasks("turn", expected=(StoreAway,))

    async def fail() -> None:
        raise StoreAway("away")

    with structlog.testing.capture_logs() as logs:
        tasks.spawn(fail())
        await tasks.join()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("turn cut short", "warning")
    ]


async def test_join_waits_for_tasks_that_tasks_have_started_and_the_result_can_be_awaited():
    tasks = BackgroundTasks()
    done: list[str] = []

    async def second() -> None:
        done.append("second")

    async def first() -> int:
        tasks.spawn(second())
        done.append("first")
        return 7

    task = tasks.spawn(first())
    assert len(tasks) == 1
    await tasks.join()
    assert (await task, done, len(tasks)) == (7, ["first", "second"], 0)


async def test_close_repeats_a_cancellation_that_was_swallowed_and_no_failure_is_told():
    failed: list[object] = []
    tasks = BackgroundTasks(failed=failed.append)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed += 1
        await asyncio.Event().wait()

    task = tasks.spawn(stubborn())
    await asyncio.sleep(0)
    await tasks.close()
    assert (swallowed, task.cancelled(), len(tasks), failed) == (1, True, 0, [])
