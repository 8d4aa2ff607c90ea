"""One service as a process of its own: started, killed, started again, and gone with the test.

Its settings are given by name without the prefix; the environment of the tests has no other
influence. Where the kernel can, the process dies with the tests even if those are killed.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from postroad_testing.waiting import PATIENCE, until, wait_until

SECRET = "a secret of these tests long enough"  # noqa: S105 - it opens nothing


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with these settings, given without their prefix, and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")}
    return kept | {f"POSTROAD_{name}": value for name, value in settings.items()}


def command(service: str) -> list[str]:
    """Return the command that runs a service, by its name with dashes."""
    return [sys.executable, "-m", f"postroad_{service.replace('-', '_')}"]


class ServiceProcess:
    """A service that can be started over and over with the same settings.

    Args:
        service: its name with dashes; or any word, with `code`.
        log: the file for what it writes, kept over its lives.
        code: a Python program to run instead of the service's own `main`.
        python: the Python to run it with, of another release perhaps.
        settings: values by name without the prefix. A secret is there, and the operations port is
            any free one.
    """

    def __init__(
        self,
        service: str,
        log: Path,
        *,
        code: str | None = None,
        python: str = sys.executable,
        **settings: str,
    ) -> None:
        self.service = service
        self.log = log
        self.settings = {"SECRET": SECRET, "METRICS_PORT": "0", **settings}
        self._command = [python, *(command(service)[1:] if code is None else ("-c", code))]
        self._process: subprocess.Popen[bytes] | None = None
        self._read_from = 0

    def start(self, **settings: str) -> Self:
        """Start the process, with `settings` in addition from now on."""
        self.settings |= settings
        self._read_from = self.log.stat().st_size if self.log.exists() else 0
        with_tests = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own service
                [*with_tests, *self._command],
                env=environment(self.settings),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def pid(self) -> int:
        """The process id of the life that was started last."""
        return self._started().pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs; negative: the signal that ended it."""
        return self._started().poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone already does not mind."""
        with contextlib.suppress(ProcessLookupError):
            self._started().send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and return the exit code."""
        return self._started().wait(seconds)

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end, without holding the event loop up, and return the exit code."""
        await until(lambda: self.exit_code is not None, seconds, f"{self.service} has ended")
        return self.wait()

    async def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = PATIENCE) -> int:
        """Send a signal, wait for the end of the process and return its exit code."""
        self.send(number)
        return await self.ended(seconds)

    async def kill(self) -> None:
        """Kill the process, and wait until it is gone."""
        await self.end(signal.SIGKILL)

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        """Return the process, which is not started by this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def text(self) -> str:
        """Return what this life of the process has written until now."""
        return self.log.read_bytes()[self._read_from :].decode(errors="replace")

    def entries(self, event: str = "") -> list[dict[str, Any]]:
        """Return the log entries of this life, all or those of one event."""
        found = []
        for line in self.text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if isinstance(entry, dict) and event in {"", entry.get("event")}:
                    found.append(entry)
        return found

    def wait_logged(self, event: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Return the first log entry of this event, as soon as there is one."""
        wait_until(lambda: self._has_logged(event), seconds, f"{self.service} logged {event!r}")
        return self.entries(event)[0]

    async def logged(self, event: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Return the first log entry of this event, as soon as there is one; for event loops."""
        await until(lambda: self._has_logged(event), seconds, f"{self.service} logged {event!r}")
        return self.entries(event)[0]

    def operations(self, path: str) -> httpx.Response:
        """Ask the operations listener, as soon as it is there, for `path`."""
        port = self.wait_logged("started")["operations_port"]
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE, trust_env=False)

    def is_ready(self) -> bool:
        """Say whether the service says that it is ready."""
        try:
            return self.operations("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def metric(self, name: str) -> float:
        """Return a metric's value, by name and labels as they are written; 0.0 without it."""
        for line in self.operations("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def resident_octets(self) -> int:
        """Return the memory in use, in octets."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _has_logged(self, event: str) -> bool:
        if self.entries(event):
            return True
        if self.exit_code is not None:
            raise AssertionError(f"{self.service} ended with {self.exit_code}:\n{self.text()}")
        return False

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.service} was not started")
        return self._process
