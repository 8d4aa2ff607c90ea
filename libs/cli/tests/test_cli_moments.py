"""Moments as people write them, and the completion of shells."""

import datetime as dt
import time

import pytest
from click.testing import CliRunner

from postroad_cli.main import postroad
from postroad_cli.moments import Direction, Moment, read_moment

ZONE = dt.timezone(dt.timedelta(hours=2))
NOW = dt.datetime(2026, 11, 29, 13, 30, 15, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("text", "direction", "expected"),
    [
        ("2h", "ago", "2026-11-29T09:30:15Z"),
        ("2h", "ahead", "2026-11-29T13:30:15Z"),
        ("in 2 hours", "ago", "2026-11-29T13:30:15Z"),
        ("+90s", "ago", "2026-11-29T11:31:45Z"),
        ("30 min ago", "ahead", "2026-11-29T11:00:15Z"),
        ("5m", "ago", "2026-11-29T11:25:15Z"),
        ("1w", "ago", "2026-11-22T11:30:15Z"),
        ("3 days", "ago", "2026-11-26T11:30:15Z"),
        ("now", "ago", "2026-11-29T11:30:15Z"),
        ("yesterday", "ago", "2026-11-27T22:00:00Z"),
        ("Today 9:05", "ago", "2026-11-29T07:05:00Z"),
        ("tomorrow 23:59", "ahead", "2026-11-30T21:59:00Z"),
        ("tomorrow 24:00", "ahead", "tomorrow 24:00"),
        ("2026-11-21", "ago", "2026-11-21"),
        ("1795000000", "ago", "1795000000"),
        ("soon", "ago", "soon"),
    ],
)
def test_moment_is_what_people_mean(text: str, direction: Direction, expected: str):
    assert read_moment(text, NOW, direction) == expected


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_day_of_statistics_is_one_of_utc_wherever_the_command_runs(
    zone: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        before = dt.datetime.now(dt.UTC).date()
        found = Moment(utc=True).convert("yesterday", None, None)
        after = dt.datetime.now(dt.UTC).date()
    finally:
        monkeypatch.undo()
        time.tzset()
    day = dt.timedelta(days=1)
    assert found in {f"{before - day}T00:00:00Z", f"{after - day}T00:00:00Z"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shell_is_given_what_completes_commands_and_options(shell: str):
    runner = CliRunner()
    printed = runner.invoke(postroad, ["completion", shell]).output
    assert f"_POSTROAD_COMPLETE={shell}_complete" in printed
    words = {"COMP_WORDS": "postroad sup", "COMP_CWORD": "1"}
    environment = {"_POSTROAD_COMPLETE": f"{shell}_complete", **words}
    found = runner.invoke(postroad, [], prog_name="postroad", env=environment).output
    assert "suppressions" in found.replace(",", "\n").split("\n")
