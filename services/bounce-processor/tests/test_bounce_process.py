"""The service as a process of its own: killed in mid-work, drained, and refused wrong settings."""

from pathlib import Path
from typing import TYPE_CHECKING

from postroad_common.broker.topology import RETURNS
from postroad_testing.process import ServiceProcess

if TYPE_CHECKING:
    from conftest import Bench  # the service's own, beside this file

HARD = (Path(__file__).parent / "data" / "postfix-user-unknown.eml").read_bytes()


async def test_nothing_is_lost_when_the_process_is_killed_in_mid_work(
    bench: "Bench", process: ServiceProcess
):
    messages = [await bench.message(forward_bounces=False) for _ in range(10)]
    returns = [await bench.returned(messages[number % 10], HARD) for number in range(200)]
    expected = {f"{item.message_id}.bounced.{item.id}" for item in returns}
    process.start()
    await bench.until(lambda: len(bench.events) > 0)
    await process.kill()
    process.start()
    await bench.until(lambda: {event.id for event in bench.events} == expected)
    assert await process.end() == 0
    assert await bench.count(RETURNS.name) == 0


async def test_a_wrong_setting_stops_the_start_with_a_clear_line(tmp_path: Path):
    with ServiceProcess("bounce-processor", tmp_path / "log", BOUNCE_DOMIAN="x") as process:
        assert await process.start().ended() == 2
    assert "POSTROAD_BOUNCE_DOMIAN" in process.text()
