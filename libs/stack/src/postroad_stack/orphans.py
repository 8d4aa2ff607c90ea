"""Ends what a killed supervisor may have left running."""

from postroad_stack.processes.child import end_process
from postroad_stack.state_dir import StateDir


def end_orphans(state: StateDir) -> None:
    """End the processes noted in the status, should the kernel not have ended them already."""
    status = state.read_status()
    if status is None:
        return
    for process in status.processes:
        end_process(process.pid, process.born)
