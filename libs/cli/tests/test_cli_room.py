"""A start says before it begins that the disk has too little room for the broker."""

import os
from pathlib import Path

import pytest

from postroad_cli.local.starting import too_little_room
from postroad_stack.plan import LEAST_ROOM_MB
from postroad_stack.state_dir import StateDir


@pytest.mark.parametrize(
    ("room_mb", "said"), [(18, True), (LEAST_ROOM_MB, True), (3 * LEAST_ROOM_MB, False)]
)
def test_disk_on_which_the_broker_takes_no_mail_is_told(
    tmp_path: Path, room_mb: int, *, said: bool
):
    warning = too_little_room(tmp_path, room_mb)
    assert (f"only {room_mb} MB are free in {tmp_path}: make room" in warning) == said
    assert bool(warning) == said


def test_room_of_a_state_dir_is_told_in_megabytes(tmp_path: Path):
    found = os.statvfs(tmp_path)
    most = found.f_frsize * found.f_blocks // 1_000_000
    assert 0 <= StateDir(tmp_path).room_mb() <= most
