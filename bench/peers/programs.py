"""Programs of peers: installed once, started on free ports, and ended by their own process id."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from bench.peers.peer import PeerError
from bench.report import say

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_FOLLOW_SECONDS = 3.0
_LOOK_EVERY = 0.1  # seconds
_LOG_TAIL = 300  # characters of a log that an error shows


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def absent(*names: str) -> str:
    """Return which of these programs are not on the PATH, separated by commas."""
    return ", ".join(name for name in names if shutil.which(name, path=_search_path()) is None)


def program(name: str) -> str:
    """Return the path of a program, those for administrators included.

    Raises:
        PeerError: it is not installed.
    """
    found = shutil.which(name, path=_search_path())
    if found is None:
        raise PeerError(f"{name} is not installed")
    return found


def _search_path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def apt_install(packages: Sequence[str], answers: str = "") -> None:
    """Install packages of Debian; `answers` are for debconf.

    Raises:
        PeerError: we are not root, this is no Debian, or apt-get failed.
    """
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise PeerError(f"install {' '.join(packages)} as root (apt-get install)")
    say(f"apt-get install {' '.join(packages)}")
    if answers:
        call("debconf-set-selections", given=answers)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    call("apt-get", "install", "-qq", "--no-install-recommends", *packages, env=environment)


def npm_install(folder: Path, manifest: str) -> None:
    """Install what a package.json names into a folder of its own.

    Raises:
        PeerError: there is no npm, or it failed.
    """
    say(f"npm install in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(manifest)
    call(program("npm"), "install", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)


def call(
    *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, given: str = ""
) -> None:
    """Run a command to its end.

    Raises:
        PeerError: it failed; with the end of what it said.
    """
    try:
        done = subprocess.run(
            words, cwd=cwd, env=env, input=given, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise PeerError(f"{words[0]}: {error}") from error
    if done.returncode != 0:
        raise PeerError(
            f"{Path(words[0]).name} failed: {(done.stderr or done.stdout)[-_LOG_TAIL:]}"
        )


@asynccontextmanager
async def running(
    words: Sequence[str], log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """Run a program that stays in the foreground; yield its process id, and end it."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process that we started and all that it started, and wait for them."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
    except (psutil.NoSuchProcess, ProcessLookupError):
        family = []
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    for one in await asyncio.to_thread(_left, family):
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue


def _left(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not followed their parent within some seconds."""
    _, left = psutil.wait_procs(family, timeout=_FOLLOW_SECONDS)
    return list(left)


async def await_port(port: int, log: Path, *, greets: bool = True) -> None:
    """Wait until a server accepts connections, and says 220 if it `greets`.

    Raises:
        PeerError: it does not within a minute.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(_LOOK_EVERY)
            continue
        try:
            if not greets:
                return
            async with asyncio.timeout(5):
                greeting = await reader.readline()
            if greeting.startswith(b"220"):
                writer.write(b"QUIT\r\n")
                return
        except (OSError, TimeoutError):
            pass
        finally:
            writer.close()
        await asyncio.sleep(_LOOK_EVERY)
    raise PeerError(f"nothing answers on port {port}: {await asyncio.to_thread(_tail, log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_LOG_TAIL:] if log.exists() else ""
