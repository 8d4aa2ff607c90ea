"""The supervisor as a program: `python -m postroad_stack --state-dir DIR`."""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path

import postroad_common.lean  # noqa: F401 - before any other import
from postroad_stack.errors import StackError
from postroad_stack.plan import StackPlan
from postroad_stack.state_dir import StateDir, write_atomically
from postroad_stack.status import Failure, StackPhase, StackStatus
from postroad_stack.supervisor import Supervisor

log = logging.getLogger("postroad_stack.supervisor")


def main() -> None:
    """Run the supervisor of the state dir named on the command line."""
    parser = argparse.ArgumentParser(prog="postroad-supervisor", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--parent", type=int, help="process to end with")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    for chatty in ("httpx", "aiormq", "aio_pika", "pymongo"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    state = StateDir(arguments.state_dir)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(_supervise(state, arguments.parent))


def _supervise(state: StateDir, parent: int | None) -> int:
    try:
        with state.held():
            plan = StackPlan.model_validate_json(state.plan.read_bytes())
            return asyncio.run(_run(state, plan, parent))
    except StackError as error:
        log.error("%s", error)  # noqa: TRY400  (the message is the whole story)
        _write_failure(state, error)
        return 1


async def _run(state: StateDir, plan: StackPlan, parent: int | None) -> int:
    with state.writing():
        supervisor = Supervisor(state, plan, parent)
    return await supervisor.run()


def _write_failure(state: StateDir, error: StackError) -> None:
    now = time.time()
    status = StackStatus(
        phase=StackPhase.FAILED,
        supervisor=os.getpid(),
        born=now,
        since=now,
        written=now,
        failure=Failure(process="postroad", reason=str(error), log="", advice=error.advice),
    )
    with contextlib.suppress(OSError):  # the log has it, too
        write_atomically(state.status, status.model_dump_json())


if __name__ == "__main__":
    main()
