import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from postroad_common.tokens import LinkKind
from postroad_tracker.forwarder import events_of
from postroad_tracker.hits import Amendment, Hit, clip
from postroad_tracker.spool import Spool


def emptied(spool: Spool) -> list[bytes]:
    spool.seal()
    lines: list[bytes] = []
    while (segment := spool.oldest()) is not None:
        lines += segment.read()
        spool.remove(segment)
    return lines


def opened(directory: Path, max_bytes: int = 10_000_000) -> Spool:
    spool = Spool(directory, max_bytes)
    spool.open()
    return spool


def test_lines_come_back_in_order_and_leave_nothing_behind(tmp_path: Path):
    spool = opened(tmp_path)
    lines = [b"%d\n" % number for number in range(100)]
    for line in lines:
        assert spool.append(line) is not None
    assert emptied(spool) == lines
    assert spool.empty
    assert spool.bytes == 0
    assert list(tmp_path.rglob("*.visits")) == []


def test_a_killed_process_leaves_its_lines_to_the_next(tmp_path: Path):
    script = (
        "import pathlib, sys, time\n"
        "from postroad_tracker.spool import Spool\n"
        "spool = Spool(pathlib.Path(sys.argv[1]), 10**7)\n"
        "spool.open()\n"
        "for number in range(50): spool.append(b'%d\\n' % number)\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(  # noqa: S603 - this interpreter, this file's own script
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    other = opened(tmp_path)
    assert other.bytes == 0
    other.close()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    spool = opened(tmp_path)
    assert spool.bytes > 0
    assert emptied(spool) == [b"%d\n" % number for number in range(50)]


def test_a_torn_last_line_is_left_out(tmp_path: Path):
    slot = tmp_path / "0"
    slot.mkdir()
    (slot / "0000000000001-00000001.visits").write_bytes(b"one\ntwo\nthr")
    assert emptied(opened(tmp_path)) == [b"one\n", b"two\n"]


def test_the_disk_space_is_bounded_and_what_was_kept_stays(tmp_path: Path):
    spool = opened(tmp_path, max_bytes=1000)
    kept = [spool.append(b"x" * 99 + b"\n") is not None for _ in range(20)]
    assert kept == [True] * 10 + [False] * 10
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.visits")) == 1000
    assert len(emptied(spool)) == 10
    assert spool.append(b"again\n") is not None


def test_long_absence_of_the_broker_does_not_fill_the_memory(tmp_path: Path):
    spool = opened(tmp_path, max_bytes=40_000_000)
    line = b"y" * 9_999 + b"\n"
    for _ in range(3000):
        assert spool.append(line) is not None
    assert spool._memory <= 9_000_000
    assert len(emptied(spool)) == 3000
    assert spool._memory == 0


def test_without_a_folder_lines_are_kept_in_bounded_memory():
    spool = Spool(None, 10**9)
    spool.open()
    assert spool.append(b"line\n") is not None
    assert emptied(spool) == [b"line\n"]
    line = b"z" * 99_999 + b"\n"
    accepted = sum(spool.append(line) is not None for _ in range(200))
    assert 70 < accepted < 100


def test_a_folder_that_cannot_be_written_costs_no_line(tmp_path: Path):
    folder = tmp_path / "spool"
    spool = opened(folder)
    # Even root cannot make files in a folder that is no more.
    shutil.rmtree(folder)
    assert spool.append(b"line\n") is not None
    assert spool.error is not None
    assert emptied(spool) == [b"line\n"]


def test_an_amendment_reaches_a_sealed_segment_in_memory_and_on_disk(tmp_path: Path):
    spool = opened(tmp_path)
    hit = Hit("id1", LinkKind.CLICK, "m", 0, 1.0, "192.0.2.1", url="https://example.com")
    segment = spool.append(hit.to_line())
    assert segment is not None
    spool.seal()
    spool.amend(segment, Amendment("id1", "links-within-a-second").to_line())
    segment_path = segment.path
    from_disk = events_of(segment_path.read_bytes().splitlines(keepends=True))
    from_memory = events_of(emptied(spool))
    assert from_disk == from_memory
    assert from_memory[0].facts["machine"] is True
    assert from_memory[0].facts["reason"] == "links-within-a-second"
    assert not segment_path.exists()


def test_an_unreadable_line_costs_only_itself():
    hit = Hit("id1", LinkKind.OPEN, "m", 0, 1.0, "192.0.2.1")
    lines = [b"rubbish\n", b"{}\n", b"[]\n", b'{"kind":7}\n', hit.to_line(), b"\xff\xfe\n"]
    assert [event.id for event in events_of(lines)] == ["id1"]


@given(st.binary(max_size=3000), st.binary(max_size=3000), st.text(max_size=100))
def test_a_visit_with_any_strings_survives_its_line(agent: bytes, referer: bytes, url: str):
    hit = Hit(
        "id1",
        LinkKind.CLICK,
        "m",
        5,
        12.345,
        "2001:db8::1",
        url=url,
        user_agent=clip(agent, 512),
        referer=clip(referer, 1024),
        machine="scanner",
    )
    line = hit.to_line()
    assert line.count(b"\n") == 1
    assert Hit.from_line(line) == hit
    assert len(hit.user_agent) <= 512
    assert hit.user_agent.isprintable() or hit.user_agent == ""


def test_files_are_for_their_owner_only(tmp_path: Path):
    spool = opened(tmp_path)
    spool.append(b"line\n")
    modes = [os.stat(path).st_mode & 0o077 for path in tmp_path.rglob("*.visits")]  # noqa: PTH116
    assert modes == [0]


def test_the_age_of_what_waits_survives_the_process(tmp_path: Path):
    spool = opened(tmp_path)
    assert spool.age() == 0.0
    spool.append(b"1\n")
    spool.close()
    (segment,) = tmp_path.rglob("*.visits")
    begun, _, rest = segment.name.partition("-")
    segment.rename(segment.with_name(f"{int(begun) - 90_000:013d}-{rest}"))
    again = opened(tmp_path)
    assert again.age() >= 90.0
    emptied(again)
    assert again.age() == 0.0
