"""How a process ends, whatever is left in it."""

import subprocess
import sys

_CODE = """
import asyncio
from postroad_common.service import run_to_end

async def work():
    condition = asyncio.Condition()

    async def wait():
        async with condition:
            await condition.wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    await condition.acquire()  # and nobody lets go of it: the waiter cannot be cancelled
    print("stopped")
    return False

run_to_end(work())
"""


def test_process_ends_though_a_task_waits_for_a_lock_that_is_lost() -> None:
    done = subprocess.run(  # noqa: S603 - the code above
        (sys.executable, "-c", _CODE), capture_output=True, text=True, check=False, timeout=90
    )
    assert (done.returncode, done.stdout) == (1, "stopped\n")


def test_process_whose_work_has_come_to_its_end_goes_on_with_what_it_does_then() -> None:
    code = _CODE.replace("return False", "condition.release(); return True") + "print('end')"
    done = subprocess.run(  # noqa: S603 - the code above
        (sys.executable, "-c", code), capture_output=True, text=True, check=False, timeout=90
    )
    assert (done.returncode, done.stdout) == (0, "stopped\nend\n")
