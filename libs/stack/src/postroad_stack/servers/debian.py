"""What comes from the distribution: RabbitMQ, found where its package puts it, and libraries.

Installed by apt-get when it may be. The broker's own system service is never started: the stack
runs the program itself, with data and ports of its own.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from postroad_stack.errors import StackError

BROKER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_POLICY = Path("/usr/sbin/policy-rc.d")
_LIMIT = 900.0
_OTHER_WAYS = "start Docker, or set POSTROAD_AMQP_URL and POSTROAD_MONGODB_URI"


def missing(*, broker_needed: bool, wheel_needed: bool) -> tuple[str, ...]:
    """Return the packages that are still to be installed.

    Args:
        broker_needed: whether RabbitMQ comes from its package.
        wheel_needed: whether MongoDB comes from the wheel, whose server wants libcurl.
    """
    packages = []
    if broker_needed and not BROKER.exists():
        packages.append("rabbitmq-server")
    if wheel_needed:
        try:
            ctypes.CDLL("libcurl.so.4")
        except OSError:
            packages.append("libcurl4")
    return tuple(packages)


def install(packages: tuple[str, ...], say: Callable[[str], None]) -> None:
    """Install packages with apt-get, as root or by sudo.

    Args:
        packages: their names.
        say: told what is being done.

    Raises:
        StackError: not a Debian, no rights, or apt-get failed.
    """
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise StackError(
            f"{names} is not installed, and this is no Debian or Ubuntu",
            advice=f"install it, or {_OTHER_WAYS}",
        )
    prefix = _privilege(names)
    with _no_service_start(prefix):
        say("apt-get update")
        _apt(prefix, "update")
        say(f"apt-get install {names}")
        _apt(prefix, "install", "-y", "--no-install-recommends", *packages)
    if "rabbitmq-server" in packages and not BROKER.exists():
        raise StackError(
            f"rabbitmq-server was installed, but {BROKER} is not there", advice=_OTHER_WAYS
        )


def _privilege(names: str) -> tuple[str, ...]:
    if os.geteuid() == 0:
        return ()
    advice = f"run: sudo apt-get install --no-install-recommends {names} (or {_OTHER_WAYS})"
    sudo = shutil.which("sudo")
    if sudo is None:
        raise StackError(f"{names} must be installed, which needs root", advice=advice)
    # With a terminal sudo may ask for the password; without one it must work without.
    asking = () if os.isatty(0) else ("-n",)
    if subprocess.run((sudo, *asking, "-v"), check=False, capture_output=not asking).returncode:
        raise StackError(f"{names} must be installed, and sudo does not let us", advice=advice)
    return (sudo,)


@contextlib.contextmanager
def _no_service_start(prefix: tuple[str, ...]) -> Iterator[None]:
    """Forbid packages to start services meanwhile (invoke-rc.d asks policy-rc.d: 101 is no)."""
    if _POLICY.exists():  # the machine has a rule of its own; the guard below covers systemd
        yield
        return
    subprocess.run(
        (*prefix, "sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' >{_POLICY}; chmod 755 {_POLICY}"),
        check=True,
        timeout=_LIMIT,
    )
    try:
        yield
    finally:
        subprocess.run((*prefix, "rm", "-f", str(_POLICY)), check=False, timeout=_LIMIT)


def _apt(prefix: tuple[str, ...], *arguments: str) -> None:
    command = (*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-q")
    wait = ("-o", "DPkg::Lock::Timeout=300")
    done = subprocess.run(
        (*command, *wait, *arguments), capture_output=True, text=True, check=False, timeout=_LIMIT
    )
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise StackError(
            f"apt-get {arguments[0]} failed: " + " / ".join(lines[-3:]),
            advice=f"make it work, then try again; or {_OTHER_WAYS}",
        )
