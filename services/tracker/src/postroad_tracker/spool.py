"""The spool: every hit is on disk before its reader is answered, and gone when it is safe.

Lines are appended to a segment file as they come, without waiting for the disk: they survive the
death of the process, not that of the machine. Sealed segments are handed on oldest first and
deleted when the broker has confirmed them; what an earlier process left behind is found at the
start. The lines of young segments are also kept in memory, so that on a good day nothing is read
back. The disk space is bounded: what does not fit is refused, and counted by the caller.

The format of a line is the business of `hits`; a line torn by a crash is the last of its file
and is not returned.
"""

import fcntl
import os
import time
from collections import deque
from pathlib import Path

_SUFFIX = ".visits"  # files of older versions have this name too
_SLOTS = 64
_SEGMENT_BYTES = 256 * 1024
_MEMORY_BYTES = 8 * 1024 * 1024


class SpoolBusyError(Exception):
    """Too many processes use the folder."""


class Segment:
    """Some consecutive lines. `size` in bytes; `lines` is None when they are on disk only."""

    def __init__(self, path: Path, size: int = 0, *, in_memory: bool = True) -> None:
        self.path = path
        self.size = size
        self.lines: list[bytes] | None = [] if in_memory else None
        self.on_disk = True
        self.rest_until = 0.0
        """Until when its lines may still be amended (monotonic seconds); set by who amends."""

    def read(self) -> list[bytes]:
        """All complete lines.

        Raises:
            OSError: the file cannot be read.
        """
        if self.lines is not None:
            return list(self.lines)
        lines = self.path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        return lines


class Spool:
    """The segments in a subfolder of `directory`, at most `max_bytes` together.

    Without a directory, or while it cannot be written, lines are kept in memory up to 8 MiB.
    """

    def __init__(self, directory: Path | None, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._sealed: deque[Segment] = deque()
        self._current: Segment | None = None
        self._file = -1
        self._lock = -1
        self._sequence = 0
        self.bytes = 0
        """In all segments together."""
        self._memory = 0
        self.error: str | None = None
        """Why the disk could not be written, until it can be written again."""

    def open(self) -> int:
        """Take a slot of the folder and what lies in it; return the number of bytes found.

        Raises:
            SpoolBusyError: all slots are taken.
            OSError: the folder cannot be made or read.
        """
        if self._directory is None:
            return 0
        self._directory = self._take_slot(self._directory)
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            segment = Segment(path, path.stat().st_size, in_memory=False)
            self._sealed.append(segment)
            self.bytes += segment.size
        return self.bytes

    def _take_slot(self, directory: Path) -> Path:
        """Lock and return the first subfolder that no living process has.

        So processes may share the folder, and what one leaves behind is found by its successor.
        """
        for number in range(_SLOTS):
            slot = directory / str(number)
            slot.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(slot / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
            else:
                self._lock = lock
                return slot
        raise SpoolBusyError(f"{directory} is in use by {_SLOTS} processes")

    def close(self) -> None:
        """Release the folder; its content stays."""
        self.seal()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return self._current is None and not self._sealed

    def age(self) -> float:
        """How many seconds ago the segment that has waited longest was begun; 0 for an empty one.

        It stands in the name of the file, so that it survives the process.
        """
        segment = self._sealed[0] if self._sealed else self._current
        if segment is None:
            return 0.0
        begun = segment.path.name.partition("-")[0]
        return max(0.0, time.time() - int(begun) / 1000) if begun.isdigit() else 0.0

    def append(self, line: bytes) -> Segment | None:
        """Keep one line (ending in a line feed); return where, or None when there is no room."""
        if self.bytes + len(line) > self._max_bytes:
            return None
        segment = self._current
        if segment is None:
            segment = self._begin()
        if segment.on_disk:
            self._write(segment, line)
        if not segment.on_disk and self._memory + len(line) > _MEMORY_BYTES:
            return None
        assert segment.lines is not None  # noqa: S101 - only sealed segments leave memory
        segment.lines.append(line)
        self._account(segment, len(line))
        if segment.size >= _SEGMENT_BYTES:
            self.seal()
        return segment

    def amend(self, segment: Segment, line: bytes) -> None:
        """Add a line to a segment that may be sealed but has not been removed."""
        if segment.on_disk:
            try:
                with segment.path.open("ab", buffering=0) as file:
                    file.write(line)
            except OSError as error:
                self.error = str(error)
        if segment.lines is not None:
            segment.lines.append(line)
        self._account(segment, len(line))

    def _account(self, segment: Segment, size: int) -> None:
        segment.size += size
        self.bytes += size
        if segment.lines is not None:
            self._memory += size

    def _begin(self) -> Segment:
        self._sequence += 1
        name = f"{time.time_ns() // 1_000_000:013d}-{self._sequence:08d}{_SUFFIX}"
        segment = Segment((self._directory or Path()) / name)
        segment.on_disk = False
        if self._directory is not None:
            try:
                self._file = os.open(
                    segment.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600
                )
            except OSError as error:
                self.error = str(error)
            else:
                segment.on_disk = True
        self._current = segment
        return segment

    def _write(self, segment: Segment, line: bytes) -> None:
        try:
            if os.write(self._file, line) == len(line):
                self.error = None
                return
            self.error = "disk full"
        except OSError as error:
            self.error = str(error)
        # From here on this segment lives in memory only. What is on disk of it would come back
        # after a crash; events have ids, so told twice is told once.
        os.close(self._file)
        self._file = -1
        segment.on_disk = False

    def seal(self) -> None:
        """End the current segment, so that `oldest` can return it."""
        segment = self._current
        if segment is None:
            return
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._current = None
        self._sealed.append(segment)
        for old in self._sealed:
            if self._memory <= _MEMORY_BYTES // 2:
                break
            if old.on_disk and old.lines is not None:
                self._memory -= old.size
                old.lines = None

    def oldest(self) -> Segment | None:
        """Return the sealed segment that has waited longest."""
        return self._sealed[0] if self._sealed else None

    def remove(self, segment: Segment) -> None:
        """Forget a sealed segment: its lines are safe elsewhere."""
        self._sealed.remove(segment)
        self.bytes -= segment.size
        if segment.lines is not None:
            self._memory -= segment.size
        if self._directory is not None:
            try:
                segment.path.unlink(missing_ok=True)
            except OSError as error:
                self.error = str(error)
