"""The folder that holds everything of one stack: data, logs, ports, secrets, certificates.

Here: where things are, atomic writes, and the lock that tells whether a supervisor is alive.
What stands in the files is described where it is used (`plan`, `secrets`, `ports`, `status`).
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from postroad_stack.errors import StackError

if TYPE_CHECKING:
    from postroad_stack.status import StackStatus

DEFAULT = Path(".postroad")
_MARK = "postroad-stack"
_LOCK_TRIES = 20


class StateDir:
    """Paths inside one state dir. Only its owner may read it: it holds secrets."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.plan = self.root / "plan.json"
        self.secrets = self.root / "identity.json"  # its name since the first version
        self.ports = self.root / "ports.json"
        self.status = self.root / "status.json"
        self.lock = self.root / "supervisor.lock"
        self.launch_lock = self.root / "launch.lock"
        self.tls = self.root / "tls"
        self.logs = self.root / "logs"
        self.rabbitmq = self.root / "rabbitmq"
        self.mongodb = self.root / "mongodb"
        self.spool = self.root / "spool"
        self._held: os.stat_result | None = None

    def create(self) -> None:
        """Make the folder and mark it as ours.

        Raises:
            StackError: the folder holds something else, or cannot be written.
        """
        mark = self.root / _MARK
        try:
            if self.root.is_dir() and not mark.exists() and any(self.root.iterdir()):
                raise StackError(
                    f"{self.root} is not empty and holds no Postroad stack",
                    advice="choose another folder with --state-dir",
                )
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.root.chmod(0o700)
            mark.touch()
            for folder in (self.tls, self.logs, self.rabbitmq, self.mongodb, self.spool):
                folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StackError(
                f"cannot use {self.root} as the state dir: {error.strerror}",
                advice="choose another folder with --state-dir",
            ) from error

    def is_default(self) -> bool:
        """Tell whether this is the folder that commands use when none is named."""
        return self.root == DEFAULT.resolve()

    def exists(self) -> bool:
        """Tell whether a stack was ever started here."""
        return (self.root / _MARK).exists()

    def room_mb(self) -> int:
        """Return how many megabytes are free on the disk of the folder."""
        return shutil.disk_usage(self.root).free // 1_000_000

    def wipe(self) -> None:
        """Remove the folder with all data; only when it is one of ours."""
        if self.exists():
            shutil.rmtree(self.root)

    def log_of(self, label: str) -> Path:
        """Return the log file of one process."""
        return self.logs / f"{label}.log"

    def read_status(self) -> "StackStatus | None":
        """Return what the supervisor wrote last, None when nothing readable is there."""
        from postroad_stack.status import StackStatus  # noqa: PLC0415 -- pydantic takes 100 ms

        with contextlib.suppress(OSError, ValueError):
            return StackStatus.model_validate_json(self.status.read_bytes())
        return None

    def supervised(self) -> bool:
        """Tell whether a supervisor holds this state dir at this moment."""
        try:
            with self.lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the state dir as its supervisor.

        Raises:
            StackError: another supervisor holds it.
        """
        with self.lock.open("ab") as file:
            # Somebody who just asks `supervised()` holds it for a blink: try for a second.
            for _ in range(_LOCK_TRIES):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(1 / _LOCK_TRIES)
            else:
                raise StackError(f"another supervisor runs the stack in {self.root}")
            self._held = os.fstat(file.fileno())
            yield

    def still_held(self) -> bool:
        """Tell its supervisor whether the folder is still there, and the one that it holds."""
        with contextlib.suppress(OSError):
            return self._held is not None and os.path.samestat(self.lock.stat(), self._held)
        return False

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Say in words that what is written within cannot be.

        Raises:
            StackError: no room, or no right to.
        """
        try:
            yield
        except OSError as error:
            raise StackError(
                f"cannot write into {self.root}: {error.strerror}",
                advice="make room there, or choose another folder with --state-dir",
            ) from error

    @contextlib.contextmanager
    def launching(self) -> Iterator[None]:
        """Hold the right to start or stop the supervisor; waits for whoever has it."""
        with self.launch_lock.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step; readers see the old text or the new, and only the owner may."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
