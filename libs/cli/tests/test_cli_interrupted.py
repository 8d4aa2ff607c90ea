"""A start that is interrupted leaves nothing running, whenever that is."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from postroad_stack.state_dir import StateDir
from postroad_testing.interrupting import interrupts_count
from postroad_testing.waiting import wait_until

POSTROAD = Path(sys.executable).parent / "postroad"


def running_in(folder: Path) -> list[list[str]]:
    """Return the command lines of all processes that name `folder`."""
    lines = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_that_is_interrupted_before_the_supervisor_says_who_it_is_leaves_nothing(
    tmp_path: Path, number: signal.Signals
):
    state = StateDir(tmp_path / "stack")
    command = [str(POSTROAD), "up", "--detach", "--only", "sink", "--state-dir", str(state.root)]
    with (
        interrupts_count(),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
    ):
        wait_until(state.log_of("supervisor").exists)  # it was just started
        process.send_signal(number)
        said = process.communicate(timeout=200)[0].decode()
    assert process.returncode == 130
    assert "stopping" in said
    assert running_in(state.root) == []
