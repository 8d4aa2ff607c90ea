"""RabbitMQ from the distribution: found where its package puts it, installed when it may be.

The package's own system service is never started: the stack runs the program itself, with data and
ports of its own.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from postroad_stack.errors import StackError

PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_POLICY = Path("/usr/sbin/policy-rc.d")
_LIMIT = 900.0
COMMAND = "apt-get install -y --no-install-recommends rabbitmq-server"


def installed() -> Path | None:
    """Return the packaged broker's program, None when the package is not installed."""
    return PROGRAM if PROGRAM.exists() else None


def install(say: Callable[[str], None]) -> Path:
    """Install the package with apt-get, as root or by sudo.

    Raises:
        StackError: not a Debian, no rights, or apt-get failed.
    """
    if shutil.which("apt-get") is None:
        raise StackError(
            "RabbitMQ is not installed, and this is no Debian or Ubuntu",
            advice="start Docker, install rabbitmq-server, or set POSTROAD_AMQP_URL",
        )
    prefix = _privilege()
    with _no_service_start(prefix):
        say("apt-get update")
        _apt(prefix, "update")
        say(COMMAND)
        _apt(prefix, "install", "-y", "--no-install-recommends", "rabbitmq-server")
    if not PROGRAM.exists():
        raise StackError(
            f"rabbitmq-server was installed, but {PROGRAM} is not there",
            advice="start Docker, or set POSTROAD_AMQP_URL",
        )
    return PROGRAM


def _privilege() -> tuple[str, ...]:
    if os.geteuid() == 0:
        return ()
    advice = f"run: sudo {COMMAND} (or start Docker, or set POSTROAD_AMQP_URL)"
    sudo = shutil.which("sudo")
    if sudo is None:
        raise StackError("RabbitMQ is not installed, and installing it needs root", advice=advice)
    # With a terminal sudo may ask for the password; without one it must work without.
    asking = () if os.isatty(0) else ("-n",)
    if subprocess.run((sudo, *asking, "-v"), check=False, capture_output=not asking).returncode:
        raise StackError("RabbitMQ is not installed, and sudo lets us not in", advice=advice)
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
            advice=f"make it work, then: {COMMAND}",
        )
