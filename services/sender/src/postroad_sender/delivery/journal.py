"""The memory of what was delivered, so that a message the broker brings again is not sent again.

A line is written to a file right after the server's `250`, before anything else is told: it
survives the death of this process (not of the machine, which is why there is no fsync). Only as
much is kept as the broker can bring again: what one process held unacknowledged, and a margin.
"""

import contextlib
import json
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from postroad_sender.delivery.facts import AttemptFacts

KEEP = 20_000  # entries, in memory and in each of the two files

_REPORT_DUE = "report_due"

_log = structlog.get_logger("journal")


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A delivery: the `facts` of its event, and whether its sender is due a success DSN."""

    facts: AttemptFacts
    report_due: bool = False


class Journal:
    """One per process. Without a folder it remembers only while the process lives."""

    def __init__(self, folder: Path | None = None, keep: int = KEEP) -> None:
        self._keep = keep
        self._known: OrderedDict[str, JournalEntry | None] = OrderedDict()
        self._path = None if folder is None else folder / "delivered.journal"
        self._file = -1
        self._is_open = False
        self._lines = 0
        self._sizes = [0, 0]  # of the old file and of this one, in octets

    @property
    def octets(self) -> int:
        """The size of its files together."""
        return sum(self._sizes)

    def open(self) -> None:
        """Read what an earlier process wrote, and get ready to write.

        Raises:
            OSError: the folder cannot be used.
        """
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate((self._old, self._path)):
            self._lines = self._read(path)
            self._sizes[number] = path.stat().st_size if path.exists() else 0
        self._file = self._append_to()
        self._is_open = True

    def close(self) -> None:
        """Write no more."""
        self._is_open = False
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def delivered(self, recipient: str, entry: JournalEntry) -> None:
        """Note that the message with the id `recipient` was taken, and what is to be told of it."""
        self._note(recipient, entry)

    def handed_on(self, key: str) -> None:
        """Note that what was left to do for this try of a message is safe elsewhere."""
        self._note(key, None)

    def find(self, recipient: str) -> JournalEntry | None:
        """Return what is to be told of the message, if it was delivered."""
        return self._known.get(recipient)

    def was_handed_on(self, key: str) -> bool:
        """Whether nothing is left to do for this try."""
        return key in self._known

    @property
    def _old(self) -> Path:
        assert self._path is not None  # noqa: S101 - asked only where there is a folder
        return self._path.with_suffix(".old")

    def _note(self, key: str, entry: JournalEntry | None) -> None:
        self._remember(key, entry)
        if not self._is_open:
            return
        data = {} if entry is None else entry.facts.to_data()
        if entry is not None and entry.report_due:
            data[_REPORT_DUE] = True
        line = json.dumps([key, data], separators=(",", ":")).encode() + b"\n"
        try:
            if self._file < 0:  # it could not be opened the last time
                self._file = self._append_to()
            written = os.write(self._file, line)
            self._lines += 1
            self._sizes[1] += written
            if written < len(line):  # the disk is full; what comes next begins on a line of its own
                self._sizes[1] += os.write(self._file, b"\n")
            if self._lines >= self._keep:
                self._rotate()
        except OSError as error:
            _log.error("the journal cannot be written; restarts may repeat mail", error=str(error))

    def _rotate(self) -> None:
        assert self._path is not None  # noqa: S101 - there is a file
        os.close(self._file)
        self._file = -1
        self._lines = 0
        self._path.replace(self._old)
        self._sizes = [self._sizes[1], 0]
        self._file = self._append_to()

    def _append_to(self) -> int:
        assert self._path is not None  # noqa: S101 - there is a file
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _remember(self, key: str, entry: JournalEntry | None) -> None:
        self._known[key] = entry
        if len(self._known) > self._keep:
            self._known.popitem(last=False)

    def _read(self, path: Path) -> int:
        count = 0
        with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
            for line in lines:
                try:
                    key, data = json.loads(line)
                except ValueError:
                    continue  # the last line of a process that was killed while it wrote
                if isinstance(key, str) and isinstance(data, dict):
                    self._remember(key, _entry_of(data))
                    count += 1
        return count


def _entry_of(data: dict[str, Any]) -> JournalEntry | None:
    """Return what was noted with a key; None if that was only that it is dealt with."""
    if not data:
        return None
    return JournalEntry(AttemptFacts.from_data(data), data.get(_REPORT_DUE) is True)
