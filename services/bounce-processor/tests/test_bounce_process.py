"""The service as a process of its own: killed in mid-work, drained, and refused wrong settings."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from postroad_common.broker.topology import RETURNS

if TYPE_CHECKING:
    from conftest import Bench  # the service's own, beside this file

HARD = (Path(__file__).parent / "data" / "postfix-user-unknown.eml").read_bytes()
COMMAND = [sys.executable, "-m", "postroad_bounce_processor"]


async def test_nothing_is_lost_when_the_process_is_killed_in_mid_work(
    bench: "Bench", start: Callable[[], subprocess.Popen[bytes]]
):
    messages = [await bench.message(forward_bounces=False) for _ in range(10)]
    returns = [await bench.returned(messages[number % 10], HARD) for number in range(200)]
    expected = {f"{item.message_id}.bounced.{item.id}" for item in returns}
    process = start()
    await bench.until(lambda: len(bench.events) > 0)
    process.kill()
    process.wait(10)
    process = start()
    await bench.until(lambda: {event.id for event in bench.events} == expected)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert await bench.count(RETURNS.name) == 0


def test_a_wrong_setting_stops_the_start_with_a_clear_line():
    environment = {**os.environ, "POSTROAD_BOUNCE_DOMIAN": "x", "POSTROAD_METRICS_PORT": "0"}
    ended = subprocess.run(  # noqa: S603 - our own service
        COMMAND, env=environment, capture_output=True, timeout=200, check=False
    )
    assert ended.returncode == 2
    assert b"POSTROAD_BOUNCE_DOMIAN" in ended.stderr
