"""What `make` does first, on machines that lack something: it says what, or does without."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "bootstrap.sh"


class Machine:
    """A clone with nothing but the script, and the programs that its PATH begins with."""

    def __init__(self, root: Path) -> None:
        self.clone = root / "a clone"
        self.programs = root / "bin"
        for folder in (self.clone / "scripts", self.programs):
            folder.mkdir(parents=True)
        shutil.copy(SCRIPT, self.clone / "scripts")

    def program(self, name: str, text: str) -> None:
        """Put a shell script on the PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def set_up(self, **environment: str) -> str:
        """Run the script, which must fail; return what it says."""
        done = subprocess.run(
            ["bash", "scripts/bootstrap.sh"],
            cwd=self.clone,
            env={"PATH": f"{self.programs}:/usr/bin:/bin", "PIP_NO_INDEX": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Make a machine with the Python of the tests, and a uv that fetches nothing."""
    made = Machine(tmp_path)
    (made.programs / "python3").symlink_to(sys.executable)
    made.program("uv", '[ "$1" != --version ] || exec echo uv 0.9.1\nenv\nexit 1')
    return made


def kept(said: str) -> str:
    """Return where uv was told to keep packages, '' when it was not."""
    names = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return names.get("UV_CACHE_DIR", "")


def test_user_with_a_home_has_packages_in_it(machine: Machine, tmp_path: Path) -> None:
    said = machine.set_up(HOME=str(tmp_path))
    assert "check the network" in said
    assert kept(said) == ""


@pytest.mark.parametrize("home", [{}, {"HOME": os.devnull}], ids=["none", "not to be written"])
def test_user_without_a_home_has_packages_below_the_clone(
    machine: Machine, home: dict[str, str]
) -> None:
    assert kept(machine.set_up(**home)) == str(machine.clone / ".cache" / "packages")


def test_folder_that_cannot_be_written_is_called_so(machine: Machine) -> None:
    (machine.clone / ".cache").write_text("in the way, for root too")
    said = machine.set_up()
    assert f"cannot write into {machine.clone}" in said
    assert "sudo chown" in said


def test_python_without_venv_names_the_package_to_install(machine: Machine) -> None:
    (machine.programs / "python3").unlink()
    bare = machine.clone.parent / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True, timeout=60)
    (packages,) = bare.glob("lib/python3*/site-packages")
    (packages / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    machine.program("python3", f"exec '{bare}/bin/python' \"$@\"")
    for name in ("uv", "apt-get", "sudo"):
        machine.program(name, "exit 1")
    assert "sudo apt-get install python3-venv" in machine.set_up()


@pytest.mark.parametrize("moved", [False, True])
def test_environment_of_a_clone_that_was_moved_is_made_anew(
    machine: Machine, *, moved: bool
) -> None:
    clone = machine.clone
    shutil.copy(ROOT / "Makefile", clone)
    for name in ("uv.lock", "pyproject.toml"):
        (clone / name).touch()
    (clone / ".venv").mkdir()
    ready = clone / ".venv" / ".postroad-ready"
    ready.write_text(f"{'/where it/was' if moved else clone.resolve()}\n")
    done = subprocess.run(
        ["make", "--dry-run", "setup"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ("scripts/bootstrap.sh" in done.stdout) == moved
    assert ("was made in /where it/was" in done.stdout) == moved
    assert ready.exists() != moved
