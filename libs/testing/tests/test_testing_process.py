"""A process of ours: what it logs is read, and it does not outlive its test."""

import signal
from pathlib import Path

import pytest

from postroad_testing.process import ServiceProcess

SLEEPER = """
import json, os, signal
print(json.dumps({"event": "started", "greeting": os.environ["POSTROAD_GREETING"]}), flush=True)
signal.pause()
"""


async def test_process_is_started_killed_and_started_again_with_a_log_per_life(tmp_path: Path):
    with ServiceProcess("sleeper", tmp_path / "log", code=SLEEPER) as process:
        process.start(GREETING="one")
        assert (await process.logged("started"))["greeting"] == "one"
        first = process.pid
        assert await process.end(signal.SIGTERM) == -signal.SIGTERM
        process.start(GREETING="two")
        assert process.wait_logged("started")["greeting"] == "two"
        assert process.pid != first
        assert len(process.entries()) == 1
    assert process.exit_code == -signal.SIGKILL


async def test_waiting_for_the_log_of_a_dead_process_fails_at_once_with_what_it_said(
    tmp_path: Path,
):
    with ServiceProcess("loser", tmp_path / "log", code="raise SystemExit('no luck')") as process:
        process.start()
        with pytest.raises(AssertionError, match="no luck"):
            await process.logged("started")


def test_settings_of_the_surroundings_do_not_reach_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POSTROAD_SURROUNDING", "yes")
    code = "import os; raise SystemExit(3 if 'POSTROAD_SURROUNDING' in os.environ else 4)"
    with ServiceProcess("reader", tmp_path / "log", code=code) as process:
        assert process.start().wait() == 4
