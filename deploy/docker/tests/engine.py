"""A container engine for the tests: the one that answers, or one of our own, started as root."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SOCKET_SECONDS = 60.0
_INSTALL = ("apt-get", "install", "-y", "-q", "--no-install-recommends")


class Engine:
    """What runs `docker` against one engine. `network` are arguments that its builds need."""

    def __init__(self, host: str | None, *, own: bool) -> None:
        self.own = own
        self._environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        if host is not None:
            self._environment["DOCKER_HOST"] = host

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to know to use this engine."""
        return dict(self._environment)

    def run(self, *command: str, timeout: float = 600.0, **environment: str) -> str:
        """Return what a command prints. Raises AssertionError with its output if it fails."""
        done = subprocess.run(
            command,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
        return done.stdout

    def has(self, image: str) -> bool:
        """Say whether the image is here, or can be had."""
        for command in (("docker", "image", "inspect", image), ("docker", "pull", "-q", image)):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.run(*command, timeout=120)
                return True
        return False


def _answers(host: str | None) -> bool:
    environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["docker", "version", "--format", "{{.Server.Version}}"]
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=20, check=False
        )
        return done.returncode == 0
    return False


def install(program: str, package: str) -> None:
    """Install a package of the distribution if its program is missing, or skip the test."""
    if shutil.which(program):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"{program} is missing, and only root on Debian or Ubuntu installs it")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (("apt-get", "update", "-q"), (*_INSTALL, package)):
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=300, check=False
        )
    if done.returncode:
        pytest.skip(f"{package} cannot be installed: {done.stderr.decode()[-300:]}")


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Yield an engine; one that was started here is ended again. Skips where none can run."""
    if _answers(None):
        yield Engine(None, own=False)
        return
    if os.geteuid() != 0:
        pytest.skip("no container engine answers, and only root can start one")
    install("dockerd", "docker.io")
    # The distribution's client before any other: it builds without a plug-in.
    os.environ["PATH"] = f"/usr/bin:{os.environ['PATH']}"
    host = f"unix://{folder}/docker.sock"
    script = (
        f"mount --make-rprivate / && exec dockerd --host {host} --data-root {folder}/data"
        f" --exec-root {folder}/exec --pidfile {folder}/docker.pid --iptables=false --bridge=none"
        " --default-ulimit nofile=10000:10000"
    )
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SOCKET_SECONDS
        while not _answers(host):
            if process.poll() is not None or time.monotonic() > deadline:
                text = (folder / "dockerd.log").read_text(errors="replace")
                pytest.skip(f"no container engine can run here: {text[-600:]}")
            time.sleep(0.3)
        yield Engine(host, own=True)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
