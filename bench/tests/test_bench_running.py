"""A measurement that is ended stops what it has started."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, signal, sys
from bench import running

async def work():
    try:
        print("began", flush=True)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        print("stopped", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
try:
    running.run(work())
except (KeyboardInterrupt, asyncio.CancelledError):
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_measurement_ended_by_a_signal_runs_its_clean_up(number: signal.Signals):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"began\n"
            process.send_signal(number)
            assert process.communicate(timeout=200)[0] == b"stopped\n"
        finally:
            process.kill()
    assert process.returncode == 130


def test_measurement_returns_what_came_of_it():
    program = "from bench import running\nasync def w(): return 7\nprint(running.run(w()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=200
    )
    assert done.stdout == b"7\n"
