"""Programs of the distribution that tests need: mail clients, relays, a browser.

Root on Debian or Ubuntu installs what is not there; otherwise the test is skipped and says why.
"""

import os
import shutil
import subprocess
from typing import NamedTuple

import pytest


class Packages(NamedTuple):
    """What to install for a program, within so many seconds; it may have several `names`."""

    packages: tuple[str, ...]
    seconds: float = 100.0
    names: tuple[str, ...] = ()


# With what a bare Debian lacks of their recommendations: the mechanisms of SASL, TLS for Perl.
_PROGRAMS = {
    "postfix": Packages(("postfix", "libsasl2-modules")),
    "swaks": Packages(("swaks", "libnet-ssleay-perl")),
    "msmtp": Packages(("msmtp",)),
    "curl": Packages(("curl",)),
    "chromium": Packages(
        ("chromium",), 300.0, ("chromium-browser", "google-chrome", "google-chrome-stable")
    ),
}


def find_program(name: str) -> str:
    """Return the path of a program, or skip the test.

    Packages come from the distribution. Postfix is installed without any configuration, and
    without that it does not start.
    """
    wanted = _PROGRAMS[name]
    found = _which(name, *wanted.names)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(wanted)
        found = _which(name, *wanted.names)
    if found is None:
        pytest.skip(f"{name} is not installed, and only root on Debian or Ubuntu installs it")
    return found


def _which(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def _install(wanted: Packages) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    unconfigured = "postfix postfix/main_mailer_type select No configuration\n"
    # Other processes of tests may be installing something at this moment.
    get = ["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={wanted.seconds:.0f}"]
    install = [*get, "install", "-y", "--no-install-recommends", *wanted.packages]
    try:
        if "postfix" in wanted.packages:
            subprocess.run(
                ["debconf-set-selections"],  # noqa: S607 - where the distribution has it
                input=unconfigured.encode(),
                check=True,
                timeout=wanted.seconds,
            )
        for command in (install, [*get, "update"], install):
            done = subprocess.run(  # noqa: S603 - of the table above
                command,
                check=False,
                env=environment,
                capture_output=True,
                timeout=wanted.seconds,
            )
            if done.returncode == 0 and command is install:
                return
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{wanted.packages[0]} cannot be installed: {error}")
