"""The log files of a stack: bounded in size, and their last lines for error messages."""

import os
import shutil
from pathlib import Path

LARGEST = 16 * 1024 * 1024
_TAIL_BYTES = 64 * 1024


def bound(log: Path, largest: int = LARGEST) -> bool:
    """Move the content of a log that has grown too large to `<log>.1`; True if it was.

    The file itself stays, for the process that appends to it; a line written between the copy
    and the cut is lost, which is the price of handing processes the file instead of a pipe.
    """
    try:
        if log.stat().st_size < largest:
            return False
        shutil.copyfile(log, log.with_name(log.name + ".1"))
        os.truncate(log, 0)
    except FileNotFoundError:
        return False
    return True


def size(log: Path) -> int:
    """Return the size of a log in bytes, 0 when there is none."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def tail(log: Path, lines: int = 15, *, since: int = 0) -> tuple[str, ...]:
    """Return the last lines of a log, from byte `since` on; nothing when there is none."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, since if since <= end else 0, end - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[-lines:]
